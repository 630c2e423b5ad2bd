"""Decode a real stream, print it, encode it again, and compare the bytes.

The stream has 24 storage commitment reports of an Orthanc server, and the responses of a listener.
Each file contains one direction of 24 associations, handshakes included.

    python examples/real_stream.py
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fastdimse import N_EVENT_REPORT, DecodedEvents, decode_events, encode_events, events

HERE = Path(__file__).parent
STREAM = "orthanc-storage-commitment"


def show(title: str, decoded: DecodedEvents) -> None:
    """Print a row for each event."""
    table = Table(title=title)
    for column in ("", "Message ID", "Event Type", "Status", "Data set"):
        table.add_column(column, justify="left" if column in ("Event Type", "Status") else "right")
    for number, event in enumerate(decoded):
        table.add_row(str(number), *cells(event))
    Console().print(table)


def cells(event: N_EVENT_REPORT) -> list[str]:
    """Return the cells of an event's row."""
    responds = event.MessageIDBeingRespondedTo is not None
    sop_class, data_set = event.AffectedSOPClassUID, event.EventReply
    name = events.event_type(sop_class or "", event.EventTypeID or 0)
    return [
        str(event.MessageIDBeingRespondedTo if responds else event.MessageID),
        "-" if event.EventTypeID is None else f"{event.EventTypeID} {name or ''}",
        "-" if event.Status is None else str(events.status(event.Status)),
        "-" if data_set is None else f"{len(data_set.getvalue())} bytes",
    ]


def p_data(stream: bytes) -> bytes:
    """Return only the P-DATA-TF PDUs of a stream (PS3.8 9.3.5)."""
    found, at = [], 0
    while at < len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        if stream[at] == 0x04:
            found.append(stream[at:end])
        at = end
    return b"".join(found)


def main() -> int:
    """Process both directions; return 0 if the encoded bytes are those of the stream."""
    expected = json.loads((HERE / f"{STREAM}.expected.json").read_text())
    good = True
    for direction in ("requests", "responses"):
        stream = (HERE / f"{STREAM}.{direction}.bin").read_bytes()
        decoded = decode_events(stream)
        show(f"{direction}: {len(decoded)} events in {len(stream)} bytes", decoded)
        skipped = ", ".join(f"{count} {name}" for name, count in decoded.skipped.items())
        encoded = encode_events(decoded)
        same = bytes(encoded) == p_data(stream)
        print(f"{len(decoded)} of {len(expected[direction])} expected events; skipped: {skipped}")
        print(f"encoded again: {encoded.nbytes} bytes, identical: {same}\n")
        good &= same and len(decoded) == len(expected[direction])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
