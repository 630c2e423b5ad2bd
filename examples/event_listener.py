"""Receive events, and write each as a line of NDJSON.

The listener accepts N-EVENT-REPORT of Storage Commitment (PS3.4 J.3.3), Modality Performed
Procedure Step Notification (F.9), UPS Event (CC.2.4), Print Job and Printer (H.4.5, H.4.6). A line
has the fields of the message by keyword, and the data set as DICOM JSON (PS3.18 Annex F).

    python examples/event_listener.py --port 11113 --output events.ndjson
"""

import argparse
import json
import signal
import sys
import threading
from typing import TextIO

from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStepNotification,
    Printer,
    PrintJob,
    StorageCommitmentPushModel,
    UnifiedProcedureStepEvent,
    Verification,
)

import fastdimse.pynetdicom

SOP_CLASSES = [
    StorageCommitmentPushModel,
    ModalityPerformedProcedureStepNotification,
    UnifiedProcedureStepEvent,
    PrintJob,
    Printer,
]


class Journal:
    """Writes the events of all associations, one at a time."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def write(self, event: evt.Event) -> tuple[int, None]:
        """Write an event, and return the Status of the response.

        If the event cannot be decoded or written, the exception makes pynetdicom respond with
        0110H, so that the sender keeps the event.
        """
        request = event.request
        line = json.dumps(
            {
                "Received": event.timestamp.astimezone().isoformat(),
                "CallingAETitle": event.assoc.requestor.ae_title.strip(),
                "MessageID": request.MessageID,
                "AffectedSOPClassUID": request.AffectedSOPClassUID,
                "AffectedSOPInstanceUID": request.AffectedSOPInstanceUID,
                "EventTypeID": request.EventTypeID,
                # Optional: notifications of procedure steps have no data set.
                "EventInformation": event.event_information.to_json_dict() or None,
            }
        )
        with self._lock:
            self._output.write(f"{line}\n")
            self._output.flush()
        return 0x0000, None


def listen(address: tuple[str, int], ae_title: str, output: TextIO) -> None:
    """Listen until SIGINT or SIGTERM is received."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ae = AE(ae_title)
    ae.add_supported_context(Verification)
    for sop_class in SOP_CLASSES:
        # The sender of events is the SCP, even as the association requestor (PS3.7 D.3.3.4).
        ae.add_supported_context(sop_class, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, Journal(output).write)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    host, port = server.socket.getsockname()[:2]
    print(f"{ae_title} listens on {host}:{port}", file=sys.stderr, flush=True)
    ended.wait()
    ae.shutdown()


def main() -> None:
    """Parse the command line, and listen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=11113, help="port to listen on; 0: any free port (%(default)s)"
    )
    parser.add_argument("--ae-title", default="LISTENER", help="local AE title (%(default)s)")
    parser.add_argument("--output", default="-", help="file to append to (standard output)")
    arguments = parser.parse_args()
    fastdimse.pynetdicom.install()
    address = (arguments.host, arguments.port)
    if arguments.output == "-":
        listen(address, arguments.ae_title, sys.stdout)
        return
    with open(arguments.output, "a", encoding="utf-8") as output:
        listen(address, arguments.ae_title, output)


if __name__ == "__main__":
    main()
