"""Fork a process that has an outbox: a program for a test that kills the parent.

    python tests/outbox_forks.py OUTBOX NAME

The child writes its process id and what its delivery tells it, and stays.
"""

import os
import sys
import time

from fastdimse import Delivery, Peer
from outbox_sender import numbered


def told(delivery: Delivery) -> list[str]:
    """Use a delivery of the parent, and return what came of it."""
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
    """Fork."""
    delivery = Delivery(Peer("127.0.0.1", 1, name=name), outbox=outbox)
    delivery.put(numbered(3))
    if os.fork() == 0:
        print(f"child {os.getpid()}", flush=True)
        print(f"told {'; '.join(told(delivery))}", flush=True)
    time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
