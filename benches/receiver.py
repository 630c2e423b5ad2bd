"""A receiver that discards its events, as a process.

    python benches/receiver.py [MAX_CONNECTIONS]

It prints its port. When its standard input is closed, it prints JSON: the number of events, and
the peak memory in bytes before any import, after the import of fastdimse, and at the end.
"""

import json
import sys
import threading

from peak_memory import peak_memory


def main() -> None:
    """Run the receiver."""
    interpreter = peak_memory()
    import fastdimse

    imported, events = peak_memory(), 0

    def receive() -> None:
        nonlocal events
        for received in listener:
            events += len(received)

    most = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    listener = fastdimse.listen(0, host="127.0.0.1", max_connections=most)
    receiving = threading.Thread(target=receive)
    receiving.start()
    print(listener.port, flush=True)
    sys.stdin.read()
    listener.close()
    receiving.join()
    found = {"interpreter": interpreter, "imported": imported, "peak": peak_memory()}
    print(json.dumps({**found, "events": events, "failures": listener.take_failures()}))


if __name__ == "__main__":
    main()
