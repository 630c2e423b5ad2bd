"""A listener that answers events and writes each as a line of NDJSON.

It takes N-EVENT-REPORT of Storage Commitment (PS3.4 J.3.3), of Modality Performed Procedure Step
Notification (F.9), of UPS Event (CC.2.4), and of Print Job and Printer (H.4.5, H.4.6). A line has
the fields of the message by keyword, the data set as DICOM JSON (PS3.18 Annex F).

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
    """Writes events of many associations, one after the other."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._lock = threading.Lock()

    def write(self, event: evt.Event) -> tuple[int, None]:
        """Write an event, then answer it.

        What can't be read or written raises, and pynetdicom answers 0110H: the sender learns that
        its event was not kept.
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
                # It is optional; a procedure step's notification has none.
                "EventInformation": event.event_information.to_json_dict() or None,
            }
        )
        with self._lock:
            self._output.write(f"{line}\n")
            self._output.flush()
        return 0x0000, None


def listen(address: tuple[str, int], ae_title: str, output: TextIO) -> None:
    """Listen until SIGINT or SIGTERM comes."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ae = AE(ae_title)
    ae.add_supported_context(Verification)
    for sop_class in SOP_CLASSES:
        # Who sends events is the SCP, also where it requests the association (PS3.7 D.3.3.4).
        ae.add_supported_context(sop_class, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, Journal(output).write)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    host, port = server.socket.getsockname()[:2]
    print(f"{ae_title} listens on {host}:{port}", file=sys.stderr, flush=True)
    ended.wait()
    ae.shutdown()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=11113, help="0: any (%(default)s)")
    parser.add_argument("--ae-title", default="LISTENER", help="(%(default)s)")
    parser.add_argument("--output", default="-", help="a file to append to (standard output)")
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
