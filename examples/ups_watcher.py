"""A watcher of Unified Procedure Steps.

It subscribes to all of an SCP's procedure steps, or to one (N-ACTION, UPS Watch SOP Class, PS3.4
CC.2.3), prints the events that come (N-EVENT-REPORT, UPS Event SOP Class, CC.2.4), and ends its
subscription when it ends. The SCP must know where the watcher's AE title listens.

    python examples/ups_watcher.py 127.0.0.1 11112 --listen-port 11113
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    UPSGlobalSubscriptionInstance,
)
from pynetdicom.status import UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS as MEANINGS

import fastdimse.pynetdicom

SUBSCRIBE, UNSUBSCRIBE = 3, 4  # action types, PS3.4 Table CC.2.3-1
EVENT_TYPES = {  # PS3.4 Table CC.2.4-1
    1: "UPS State Report",
    2: "UPS Cancel Requested",
    3: "UPS Progress Report",
    4: "SCP Status Change",
    5: "UPS Assigned",
}


class Watcher:
    """Prints events, until enough have come or it is told to end."""

    def __init__(self, count: int | None) -> None:
        self.ended = threading.Event()
        self._left = count
        self._lock = threading.Lock()

    def show(self, event: evt.Event) -> tuple[int, None]:
        """Print an event, and answer it."""
        name = EVENT_TYPES.get(event.event_type)
        if name is None:
            return 0x0113, None  # no such event type, PS3.7 10.1.1.1.8
        lines = [f"{name} of {event.request.AffectedSOPInstanceUID}"]
        lines += described(event.event_information, "  ")
        with self._lock:
            print("\n".join(lines), flush=True)
            if self._left is not None:
                self._left -= 1
                if self._left <= 0:
                    self.ended.set()
        return 0x0000, None


def described(data_set: Dataset, indent: str) -> Iterator[str]:
    """Yield a line for each attribute, sequences by their items."""
    for element in data_set:
        if element.VR != "SQ":
            yield f"{indent}{element.name}: {element.value}"
            continue
        yield f"{indent}{element.name}:"
        for number, item in enumerate(element.value, 1):
            yield f"{indent}  {number}."
            yield from described(item, f"{indent}    ")


def act(ae: AE, arguments: argparse.Namespace, action_type: int) -> None:
    """Subscribe or unsubscribe our AE title, on an association of its own."""
    information = Dataset()
    information.ReceivingAE = arguments.ae_title
    if action_type == SUBSCRIBE:
        information.DeletionLock = "TRUE" if arguments.deletion_lock else "FALSE"
    peer = f"{arguments.called_ae_title} at {arguments.host}:{arguments.port}"
    association = ae.associate(arguments.host, arguments.port, ae_title=arguments.called_ae_title)
    if not association.is_established:
        raise SystemExit(f"{peer} doesn't accept an association")
    try:
        # Every UPS is of the Push SOP Class, whatever was negotiated (PS3.4 CC.3.1).
        status, _ = association.send_n_action(
            information,
            action_type,
            UnifiedProcedureStepPush,
            arguments.instance,
            meta_uid=UnifiedProcedureStepWatch,
        )
    except ValueError as error:
        raise SystemExit(f"{peer}: {error}") from None
    finally:
        if association.is_established:
            association.release()
    if "Status" not in status:
        raise SystemExit(f"{peer} doesn't answer")
    category, meaning = MEANINGS.get(status.Status, ("Failure", "unknown status"))
    if category != "Success":
        print(f"{peer}: {category} {status.Status:04X}H, {meaning}", file=sys.stderr, flush=True)
    if category == "Failure":
        raise SystemExit(1)


def main() -> None:
    """Read the command line, and watch."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("host", help="the SCP's")
    parser.add_argument("port", type=int)
    parser.add_argument("--called-ae-title", default="ANY-SCP", help="(%(default)s)")
    parser.add_argument("--ae-title", default="WATCHER", help="(%(default)s)")
    parser.add_argument("--listen-host", default="127.0.0.1", help="(%(default)s)")
    parser.add_argument("--listen-port", type=int, default=11113, help="0: any (%(default)s)")
    parser.add_argument("--instance", default=UPSGlobalSubscriptionInstance, help="one UPS (all)")
    parser.add_argument("--deletion-lock", action="store_true", help="keep what we watch")
    parser.add_argument("--count", type=int, help="end after so many events")
    arguments = parser.parse_args()
    fastdimse.pynetdicom.install()

    watcher = Watcher(arguments.count)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: watcher.ended.set())
    ae = AE(arguments.ae_title)
    ae.connection_timeout = 10
    ae.add_requested_context(UnifiedProcedureStepWatch)
    # We are the SCU of events, on associations that the SCP requests (PS3.7 D.3.3.4).
    ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
    # First: the SCP sends the present states at once, it may be before it answers.
    address = (arguments.listen_host, arguments.listen_port)
    handlers = [(evt.EVT_N_EVENT_REPORT, watcher.show)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    try:
        host, port = server.socket.getsockname()[:2]
        print(f"{arguments.ae_title} listens on {host}:{port}", file=sys.stderr, flush=True)
        act(ae, arguments, SUBSCRIBE)
        watcher.ended.wait()
        act(ae, arguments, UNSUBSCRIBE)
        # The last event's answer is on its way, and the SCP then ends its association.
        end = time.monotonic() + 2
        while server.active_associations and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        ae.shutdown()


if __name__ == "__main__":
    main()
