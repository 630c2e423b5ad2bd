"""Delivery of numbered events from an outbox, for tests that kill the process.

    python tests/outbox_sender.py PORT OUTBOX COUNT

The process prints a line when it begins, and one when all events are delivered.
"""

import sys
from collections.abc import Iterator
from typing import Any

from fastdimse import Delivery, Peer

COMMITMENT = "1.2.840.10008.1.20.1"


def numbered(count: int) -> Iterator[dict[str, Any]]:
    """Yield events with distinct instances."""
    for number in range(count):
        yield {
            "AffectedSOPClassUID": COMMITMENT,
            "AffectedSOPInstanceUID": f"1.2.{number}",
            "EventTypeID": 1,
            "EventInformation": {"TransactionUID": f"1.2.3.{number}"},
        }


def main(port: str, outbox: str, count: str) -> None:
    """Deliver the events."""
    print("begins", flush=True)
    with Delivery(Peer("127.0.0.1", int(port)), outbox=outbox, longest_delay=0.5) as delivery:
        delivery.put(numbered(int(count)), source="numbered")
    print("delivered", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
