"""Delivery of numbered events to three peers, for tests that kill the process.

    python tests/peers_sender.py PORT OUTBOX COUNT

The process prints a line when it begins, and one when all events are delivered. It appends the
outcomes that it takes to a file next to the outbox.
"""

import sys
from pathlib import Path
from typing import Any

from fastdimse import Delivery, Peer
from outbox_sender import numbered


def main(port: str, outbox: str, count: str) -> None:
    """Deliver the events."""
    print("begins", flush=True)
    peers = [Peer("127.0.0.1", int(port), called_ae=f"P{n}", name=f"P{n}") for n in range(3)]
    with Path(f"{outbox}.taken").open("a") as taken:

        def note(outcomes: dict[str, list[Any]]) -> None:
            pairs = zip(outcomes["Peer"], outcomes["Event"], strict=True)
            taken.write("".join(f"{peer}:{event}\n" for peer, event in pairs))
            taken.flush()

        with Delivery(peers, outbox=outbox, longest_delay=0.5, on_outcomes=note) as delivery:
            events = enumerate(numbered(int(count)))
            delivery.put(
                ({**event, "Peer": f"P{number % 3}"} for number, event in events),
                source="numbered",
            )
    print("delivered", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
