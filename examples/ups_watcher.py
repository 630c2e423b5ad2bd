"""Watch Unified Procedure Steps.

The watcher subscribes to all procedure steps of an SCP, or to one (N-ACTION, UPS Watch SOP Class,
PS3.4 CC.2.3). It prints received events (N-EVENT-REPORT, UPS Event SOP Class, CC.2.4), and
unsubscribes when it ends. The SCP must be configured with the address of the watcher's AE title.

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
    """Prints events, and sets `ended` after `count` of them."""

    def __init__(self, count: int | None) -> None:
        self.ended = threading.Event()
        self._left = count
        self._lock = threading.Lock()

    def show(self, event: evt.Event) -> tuple[int, None]:
        """Print an event, and return the Status of the response."""
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
    """Yield a line for each attribute, and for the attributes of items."""
    for element in data_set:
        if element.VR != "SQ":
            yield f"{indent}{element.name}: {element.value}"
            continue
        yield f"{indent}{element.name}:"
        for number, item in enumerate(element.value, 1):
            yield f"{indent}  {number}."
            yield from described(item, f"{indent}    ")


def act(ae: AE, arguments: argparse.Namespace, action_type: int) -> None:
    """Subscribe or unsubscribe the local AE title, on a new association."""
    information = Dataset()
    information.ReceivingAE = arguments.ae_title
    if action_type == SUBSCRIBE:
        information.DeletionLock = "TRUE" if arguments.deletion_lock else "FALSE"
    peer = f"{arguments.called_ae_title} at {arguments.host}:{arguments.port}"
    association = ae.associate(arguments.host, arguments.port, ae_title=arguments.called_ae_title)
    if not association.is_established:
        raise SystemExit(f"{peer} doesn't accept an association")
    try:
        # The SOP class of a UPS is UPS Push on every presentation context (PS3.4 CC.3.1).
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
        raise SystemExit(f"{peer} sends no response")
    category, meaning = MEANINGS.get(status.Status, ("Failure", "unknown status"))
    if category != "Success":
        print(f"{peer}: {category} {status.Status:04X}H, {meaning}", file=sys.stderr, flush=True)
    if category == "Failure":
        raise SystemExit(1)


def main() -> None:
    """Parse the command line, and watch."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("host", help="address of the SCP")
    parser.add_argument("port", type=int, help="port of the SCP")
    parser.add_argument(
        "--called-ae-title", default="ANY-SCP", help="AE title of the SCP (%(default)s)"
    )
    parser.add_argument("--ae-title", default="WATCHER", help="local AE title (%(default)s)")
    parser.add_argument(
        "--listen-host", default="127.0.0.1", help="address to listen on (%(default)s)"
    )
    parser.add_argument(
        "--listen-port",
        type=int,
        default=11113,
        help="port to listen on; 0: any free port (%(default)s)",
    )
    parser.add_argument(
        "--instance",
        default=UPSGlobalSubscriptionInstance,
        help="SOP Instance UID of the step to watch (all)",
    )
    parser.add_argument(
        "--deletion-lock", action="store_true", help="request that the SCP keeps watched steps"
    )
    parser.add_argument("--count", type=int, help="end after this number of events")
    arguments = parser.parse_args()
    fastdimse.pynetdicom.install()

    watcher = Watcher(arguments.count)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: watcher.ended.set())
    ae = AE(arguments.ae_title)
    ae.connection_timeout = 10
    ae.add_requested_context(UnifiedProcedureStepWatch)
    # The watcher is the SCU of events, on associations that the SCP requests (PS3.7 D.3.3.4).
    ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=False, scp_role=True)
    # Listen before subscribing: the SCP may send the current states before its response.
    address = (arguments.listen_host, arguments.listen_port)
    handlers = [(evt.EVT_N_EVENT_REPORT, watcher.show)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    try:
        host, port = server.socket.getsockname()[:2]
        print(f"{arguments.ae_title} listens on {host}:{port}", file=sys.stderr, flush=True)
        act(ae, arguments, SUBSCRIBE)
        watcher.ended.wait()
        act(ae, arguments, UNSUBSCRIBE)
        # Let the SCP read the last response and release its association.
        end = time.monotonic() + 2
        while server.active_associations and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        ae.shutdown()


if __name__ == "__main__":
    main()
