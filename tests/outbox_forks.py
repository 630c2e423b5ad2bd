"""A process with an open outbox that forks, for a test that kills the parent.

    python tests/outbox_forks.py OUTBOX NAME

The child prints its process ID and the results of calls of its delivery, and keeps running.
"""

import os
import sys
import time

from fastdimse import Delivery, Peer
from outbox_sender import numbered


def results_of_calls(delivery: Delivery) -> list[str]:
    """Call methods of the parent's delivery, and return their results."""
    found = []
    try:
        delivery.put(numbered(1))
    except OSError as error:
        found.append(f"put {type(error).__name__}")
    try:
        delivery.wait()
    except OSError as error:
        found.append(f"wait {type(error).__name__}")
    delivery.close()
    return [*found, "closed"]


def main(outbox: str, name: str) -> None:
    """Open the outbox and fork."""
    delivery = Delivery(Peer("127.0.0.1", 1, name=name), outbox=outbox)
    delivery.put(numbered(3))
    if os.fork() == 0:
        print(f"child {os.getpid()}", flush=True)
        print(f"results {'; '.join(results_of_calls(delivery))}", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
