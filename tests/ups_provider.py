"""A provider of Unified Procedure Steps with pynetdicom alone.

It has a list of steps and the ports of AE titles, manages subscriptions (PS3.4 CC.2.3), and sends
events to subscribers (CC.2.4). The process prints its port, and a line of JSON for each request and
each response. Each line of JSON on standard input is an event to send.
"""

import argparse
import json
import sys
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    UPSGlobalSubscriptionInstance,
)

HOST = "127.0.0.1"
UNSUBSCRIBE = 4
STATE_REPORT = 1


def say(**what: Any) -> None:
    """Print a line of JSON in one write."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Provider:
    """Stores subscriptions of AE titles to one step or to all steps."""

    def __init__(self, steps: list[str], listeners: dict[str, int], locks: bool) -> None:
        self._steps, self._listeners, self._locks = steps, listeners, locks
        self._subscriptions: set[tuple[str, str]] = set()
        self._ae = AE("UPS-SCP")
        self._ae.add_supported_context(UnifiedProcedureStepWatch)
        self._ae.add_requested_context(UnifiedProcedureStepEvent)
        handlers = [(evt.EVT_N_ACTION, self._action)]
        server = self._ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
        print(f"UPS-SCP listens on {HOST}:{server.socket.getsockname()[1]}", file=sys.stderr)

    def _action(self, event: Any) -> tuple[int, None]:
        information, instance = event.action_information, event.request.RequestedSOPInstanceUID
        status = self._subscribe(event.action_type, instance, information)
        say(
            action_type=event.action_type,
            sop_class=event.request.RequestedSOPClassUID,
            instance=instance,
            information=information.to_json_dict(),
        )
        return status, None

    def _subscribe(self, action_type: int, instance: str, information: Dataset) -> int:
        receiver = information.ReceivingAE
        if instance not in (*self._steps, UPSGlobalSubscriptionInstance):
            return 0xC307
        if receiver not in self._listeners:
            return 0xC308
        if action_type == UNSUBSCRIBE:
            self._subscriptions.discard((receiver, instance))
            return 0x0000
        self._subscriptions.add((receiver, instance))
        lock = information.DeletionLock == "TRUE"
        if instance in self._steps or lock:
            # The receiver gets the current states, here before the response to its request.
            state = Dataset()
            state.ProcedureStepState = "SCHEDULED"
            state.InputReadinessState = "READY"
            for step in [instance] if instance in self._steps else self._steps:
                self._send(receiver, step, STATE_REPORT, state)
        return 0xB301 if lock and not self._locks else 0x0000

    def report(self, instance: str, event_type: int, information: Any) -> None:
        """Send an event to all of its subscribers."""
        of = (instance, UPSGlobalSubscriptionInstance)
        receivers = sorted({receiver for receiver, step in self._subscriptions if step in of})
        event = Dataset.from_json(information)
        statuses = [self._send(receiver, instance, event_type, event) for receiver in receivers]
        say(receivers=receivers, statuses=statuses)

    def _send(self, receiver: str, instance: str, event_type: int, event: Dataset) -> Any:
        roles = [build_role(UnifiedProcedureStepEvent, scp_role=True)]
        port = self._listeners[receiver]
        association = self._ae.associate(HOST, port, ae_title=receiver, ext_neg=roles)
        # A step has the Push SOP Class with every negotiated class (PS3.4 CC.2.4.3).
        status, _ = association.send_n_event_report(
            event,
            event_type,
            UnifiedProcedureStepPush,
            instance,
            meta_uid=UnifiedProcedureStepEvent,
        )
        association.release()
        return status.get("Status")


def main() -> None:
    """Send the events until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", action="append", required=True)
    parser.add_argument("--listener", nargs=2, action="append", required=True)
    parser.add_argument("--no-locks", action="store_true")
    arguments = parser.parse_args()
    listeners = {ae_title: int(port) for ae_title, port in arguments.listener}
    provider = Provider(arguments.step, listeners, not arguments.no_locks)
    for line in sys.stdin:
        provider.report(**json.loads(line))
    provider._ae.shutdown()


if __name__ == "__main__":
    main()
