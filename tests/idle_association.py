"""An association on which nothing happens: tells the processor time that it takes.

    python tests/idle_association.py plain|installed

For each line on its standard input it writes the seconds of processor time of a period.
"""

import sys
import time

from pynetdicom import AE
from pynetdicom.sop_class import Verification

import fastdimse.pynetdicom

PERIOD = 0.5


def main() -> None:
    """Be both ends."""
    if sys.argv[1] == "installed":
        fastdimse.pynetdicom.install()
    ae = AE()
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    association = ae.associate(*server.socket.getsockname())
    assert association.is_established
    for _ in sys.stdin:
        before = time.process_time()
        time.sleep(PERIOD)
        print(time.process_time() - before, flush=True)
    ae.shutdown()


if __name__ == "__main__":
    main()
