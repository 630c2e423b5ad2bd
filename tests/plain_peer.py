"""A peer with pynetdicom alone: it requests storage commitment and sends events.

The process prints its port, and a line of JSON for each received event and for each response. Each
line of JSON on standard input is a command.
"""

import json
import sys
import threading
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from turns import TURNS

HOST = "127.0.0.1"


def say(**what: Any) -> None:
    """Print a line of JSON in one write."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Peer:
    """Executes the commands."""

    def __init__(self, ae_title: str) -> None:
        self._ae = AE(ae_title)
        self._ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        self._event_seen = threading.Event()
        self._handlers = [(evt.EVT_N_EVENT_REPORT, self._event)]
        server = self._ae.start_server((HOST, 0), block=False, evt_handlers=self._handlers)
        print(f"{ae_title} listens on {HOST}:{server.socket.getsockname()[1]}", file=sys.stderr)

    def _event(self, event: Any) -> tuple[int, None]:
        requestor = event.assoc.requestor
        roles = requestor.role_selection.get(StorageCommitmentPushModel)
        say(
            requestor=requestor.ae_title,
            roles=roles and [roles.scu_role, roles.scp_role],
            instance=event.request.AffectedSOPInstanceUID,
            event_type=event.event_type,
            information=event.event_information.to_json_dict(),
        )
        self._event_seen.set()
        return 0x0000, None

    def ask(self, port: int, action_type: int, instance: str, information: Any, wait: bool) -> None:
        """Request storage commitment; with `wait`, wait for the event on the same association."""
        self._event_seen.clear()
        self._ae.requested_contexts = []
        self._ae.add_requested_context(StorageCommitmentPushModel)
        received: list[str] = []
        handlers = [
            *self._handlers,
            TURNS,
            (evt.EVT_DIMSE_RECV, lambda event: received.append(type(event.message).__name__)),
        ]
        association = self._ae.associate(HOST, port, evt_handlers=handlers)
        status, _ = association.send_n_action(
            Dataset.from_json(information), action_type, StorageCommitmentPushModel, instance
        )
        if wait:
            self._event_seen.wait(30)
        association.release()
        say(status=status.get("Status"), received=received)

    def report(self, port: int, context: str, events: list[Any]) -> None:
        """Send events on one association, as association requestor in the role of SCP."""
        self._ae.requested_contexts = []
        self._ae.add_requested_context(context)
        roles = [build_role(context, scp_role=True)]
        association = self._ae.associate(HOST, port, ext_neg=roles)
        say(as_scp=[accepted.as_scp for accepted in association.accepted_contexts])
        for number, (sop_class, instance, event_type, information) in enumerate(events, 1):
            status, _ = association.send_n_event_report(
                None if information is None else Dataset.from_json(information),
                event_type,
                sop_class,
                instance,
                msg_id=number,
                meta_uid=context,
            )
            say(status=status.get("Status"))
        association.release()


def main() -> None:
    """Execute the commands until standard input ends."""
    peer = Peer(sys.argv[1])
    for line in sys.stdin:
        command = json.loads(line)
        getattr(peer, command.pop("verb"))(**command)
    peer._ae.shutdown()


if __name__ == "__main__":
    main()
