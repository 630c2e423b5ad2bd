"""Take events in and let them go, in a process of its own.

    python benches/receiver.py

It tells its port, and at the end of its standard input prints JSON: how many events came, and the
most bytes in memory before anything was imported, with fastdimse, and at the end.
"""

import json
import sys
import threading

from peak_memory import most_memory


def main() -> None:
    """Take them."""
    interpreter = most_memory()
    import fastdimse

    imported, events = most_memory(), 0

    def take() -> None:
        nonlocal events
        for received in listener:
            events += len(received)

    listener = fastdimse.listen(0, host="127.0.0.1")
    taking = threading.Thread(target=take)
    taking.start()
    print(listener.port, flush=True)
    sys.stdin.read()
    listener.close()
    taking.join()
    found = {"interpreter": interpreter, "imported": imported, "peak": most_memory()}
    print(json.dumps({**found, "events": events, "failures": listener.take_failures()}))


if __name__ == "__main__":
    main()
