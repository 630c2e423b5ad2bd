"""The main job on a real stream: decode it, show it, encode it again, compare the bytes.

The stream is what an Orthanc server sent, and what a listener answered, in 24 storage-commitment
reports; each file holds one direction of 24 associations, handshakes included.

    python examples/real_stream.py
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from fastdimse import N_EVENT_REPORT, DecodedEvents, decode_events, encode_events

HERE = Path(__file__).parent
STREAM = "orthanc-storage-commitment"


def show(title: str, events: DecodedEvents) -> None:
    """Print a row for each event."""
    table = Table(title=title)
    for column in ("", "Message ID", "SOP Class", "Event Type", "Status", "Data set"):
        table.add_column(column, justify="left" if column == "SOP Class" else "right")
    for number, event in enumerate(events):
        table.add_row(str(number), *cells(event))
    Console().print(table)


def cells(event: N_EVENT_REPORT) -> list[str]:
    """Return the cells of an event's row."""
    responds = event.MessageIDBeingRespondedTo is not None
    data_set = event.EventReply
    return [
        str(event.MessageIDBeingRespondedTo if responds else event.MessageID),
        event.AffectedSOPClassUID.name if event.AffectedSOPClassUID else "-",
        "-" if event.EventTypeID is None else str(event.EventTypeID),
        "-" if event.Status is None else f"0x{event.Status:04X}",
        "-" if data_set is None else f"{len(data_set.getvalue())} bytes",
    ]


def p_data(stream: bytes) -> bytes:
    """Return the P-DATA-TF PDUs of a stream (PS3.8 9.3.5), without all others."""
    found, at = [], 0
    while at < len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        if stream[at] == 0x04:
            found.append(stream[at:end])
        at = end
    return b"".join(found)


def main() -> int:
    """Do it for both directions; return 0 if every byte came out as it went in."""
    expected = json.loads((HERE / f"{STREAM}.expected.json").read_text())
    good = True
    for direction in ("requests", "responses"):
        stream = (HERE / f"{STREAM}.{direction}.bin").read_bytes()
        events = decode_events(stream)
        show(f"{direction}: {len(events)} events in {len(stream)} bytes", events)
        stepped_over = ", ".join(f"{count} {name}" for name, count in events.stepped_over.items())
        encoded = encode_events(events)
        same = bytes(encoded) == p_data(stream)
        print(f"{len(events)} of {len(expected[direction])} expected, and {stepped_over}")
        print(f"encoded again: {encoded.nbytes} bytes, the same bytes: {same}\n")
        good &= same and len(events) == len(expected[direction])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
