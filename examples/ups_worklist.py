"""A worklist of Unified Procedure Steps.

pynetdicom provides the worklist: it creates, changes, finds and returns steps (N-CREATE, N-SET,
N-ACTION, C-FIND, N-GET, PS3.4 Annex CC). `fastdimse.ups.Subscriptions` responds to subscriptions
(CC.2.3), and `fastdimse.Delivery` sends the events to the subscribers (CC.2.4). Steps,
subscriptions and events that are due are in the folder, and survive a restart.

    python examples/ups_worklist.py FOLDER --port 11112 --peer WATCHER 127.0.0.1 11113
"""

import argparse
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)

from fastdimse import Delivery, Peer, events, ups

CHANGE_STATE, REQUEST_CANCEL = 1, 2  # action types, PS3.4 CC.2.1 and CC.2.2
FINAL_STATES = ("COMPLETED", "CANCELED")


class Worklist:
    """The steps, each in a file of a folder."""

    def __init__(self, folder: Path, peers: list[Peer]) -> None:
        self._folder = folder / "steps"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._steps = {
            path.stem: Dataset.from_json(path.read_text()) for path in self._folder.glob("*.json")
        }
        # pynetdicom calls the handlers of each association in a thread of its own.
        self._lock = threading.RLock()
        titles = {peer.called_ae for peer in peers}
        self._subscriptions = ups.Subscriptions(folder / "ups.subscriptions", receiving_aes=titles)
        self._delivery = Delivery(peers, outbox=folder / "ups.outbox")
        self._begin()

    def _begin(self) -> None:
        """Bring the subscriptions up to date with the steps, and report the restart."""
        for uid, step in self._steps.items():
            if uid in self._subscriptions:
                self._report(self._subscriptions.change_instance(uid, step))
            else:
                self._report(self._subscriptions.add_instance(uid, step))
        restarted = events.ups_scp_status_change(
            ups.GLOBAL_SUBSCRIPTION,
            scp_status="RESTARTED",
            subscription_list_status="WARM START",
            unified_procedure_step_list_status="WARM START",
        )
        # For all peers: the standard requires it for AE titles without a subscription, too.
        self._delivery.put([restarted])

    def _report(self, rows: list[dict[str, Any]]) -> None:
        """Send events to their subscribers, and the initial events of new subscriptions."""
        self._subscriptions.put(self._delivery, rows)

    def _save(self, uid: str, step: Dataset) -> None:
        path = self._folder / f"{uid}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(step.to_json_dict()))
        os.replace(part, path)
        self._steps[uid] = step

    # ------------------------------------------------- handlers of pynetdicom

    def create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-CREATE: create a step (PS3.4 CC.2.5)."""
        step = event.attribute_list
        uid = event.request.AffectedSOPInstanceUID or generate_uid()
        if step.get("ProcedureStepState") != "SCHEDULED":
            return 0xC309, None
        if not step.get("InputReadinessState"):
            return 0x0120, None  # missing attribute
        with self._lock:
            if uid in self._steps:
                return 0x0111, None  # duplicate SOP instance
            step.SOPInstanceUID = uid
            step.SOPClassUID = UnifiedProcedureStepPush
            self._save(uid, step)
            self._report(self._subscriptions.add_instance(uid, step))
        return 0x0000, step

    def change(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-SET: change attributes of a step (CC.2.6)."""
        changes = event.modification_list
        uid = event.request.RequestedSOPInstanceUID
        with self._lock:
            step = self._steps.get(uid)
            if step is None:
                return 0xC307, None
            if step.ProcedureStepState in FINAL_STATES:
                return 0xC300, None
            if step.get("TransactionUID") != changes.get("TransactionUID"):
                return 0xC301, None
            step.update(changes)
            self._save(uid, step)
            self._report(self._subscriptions.change_instance(uid, changes))
        return 0x0000, changes

    def act(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-ACTION: change the state, request cancellation, subscribe (CC.2.1 to CC.2.3)."""
        with self._lock:
            if event.action_type == CHANGE_STATE:
                return self._change_state(event), None
            if event.action_type == REQUEST_CANCEL:
                return self._request_cancel(event), None
            response = self._subscriptions.handle_pynetdicom(event)
            self._report([])
            return response

    def _change_state(self, event: evt.Event) -> int:
        wanted = event.action_information
        uid = event.request.RequestedSOPInstanceUID
        step = self._steps.get(uid)
        if step is None:
            return 0xC307
        state, transaction = wanted.ProcedureStepState, wanted.TransactionUID
        if step.ProcedureStepState in FINAL_STATES:
            return 0xC300
        if state == "IN PROGRESS":
            if step.ProcedureStepState == state:
                return 0xC302
            step.TransactionUID = transaction
        elif step.ProcedureStepState == "SCHEDULED":
            return 0xC310
        elif step.TransactionUID != transaction:
            return 0xC301
        step.ProcedureStepState = state
        self._save(uid, step)
        self._report(self._subscriptions.change_instance(uid, {"ProcedureStepState": state}))
        return 0x0000

    def _request_cancel(self, event: evt.Event) -> int:
        uid = event.request.RequestedSOPInstanceUID
        if uid not in self._steps:
            return 0xC307
        information = event.action_information if event.request.ActionInformation else Dataset()
        requested = events.ups_cancel_requested(
            uid,
            requesting_ae=event.assoc.requestor.ae_title,
            reason_for_cancellation=information.get("ReasonForCancellation"),
        )
        self._report([requested])
        return 0x0000

    def get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """N-GET: return attributes of a step (CC.2.7)."""
        with self._lock:
            step = self._steps.get(event.request.RequestedSOPInstanceUID)
            if step is None:
                return 0xC307, None
            wanted = Dataset()
            for tag in event.attribute_identifiers or step.keys():
                # The Transaction UID is the key of the performer (CC.2.7.3).
                if tag in step and step[tag].keyword != "TransactionUID":
                    wanted.add(step[tag])
        return 0x0000, wanted

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """C-FIND: find steps, with the matching of the filters of subscriptions (CC.2.8)."""
        with self._lock:
            found = [step for step in self._steps.values() if ups.matches(event.identifier, step)]
        for step in found:
            match = Dataset()
            for element in event.identifier:
                if element.tag in step and element.keyword != "TransactionUID":
                    match.add(step[element.tag])
            yield 0xFF00, match

    def close(self) -> None:
        """Stop the delivery. Events that are due are sent after the next start."""
        self._delivery.close()
        self._subscriptions.close()


def main() -> None:
    """Parse the command line, and provide the worklist."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", type=Path, help="folder of steps, subscriptions and events")
    parser.add_argument("--ae-title", default="UPS-SCP", help="local AE title (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=11112, help="port to listen on; 0: any free port (%(default)s)"
    )
    parser.add_argument(
        "--peer",
        nargs=3,
        action="append",
        default=[],
        metavar=("AE", "HOST", "PORT"),
        help="AE title and address of a subscriber; repeatable",
    )
    arguments = parser.parse_args()
    peers = [
        Peer(
            host,
            int(port),
            called_ae=title,
            calling_ae=arguments.ae_title,
            sop_classes=[ups.EVENT],
        )
        for title, host, port in arguments.peer
    ]
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    worklist = Worklist(arguments.folder, peers)
    ae = AE(arguments.ae_title)
    for sop_class in (
        UnifiedProcedureStepPush,
        UnifiedProcedureStepPull,
        UnifiedProcedureStepWatch,
        UnifiedProcedureStepQuery,
    ):
        ae.add_supported_context(sop_class)
    handlers = [
        (evt.EVT_N_CREATE, worklist.create),
        (evt.EVT_N_SET, worklist.change),
        (evt.EVT_N_ACTION, worklist.act),
        (evt.EVT_N_GET, worklist.get),
        (evt.EVT_C_FIND, worklist.find),
    ]
    address = (arguments.host, arguments.port)
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    host, port = server.socket.getsockname()[:2]
    print(f"{arguments.ae_title} listens on {host}:{port}", flush=True)
    try:
        ended.wait()
    finally:
        ae.shutdown()
        worklist.close()


if __name__ == "__main__":
    main()
