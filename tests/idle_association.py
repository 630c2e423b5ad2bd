"""An idle association, whose processor time is printed.

    python tests/idle_association.py plain|installed

For each line on standard input, the process prints the seconds of processor time of a period.
"""

import sys
import time

from pynetdicom import AE
from pynetdicom.sop_class import Verification

import fastdimse.pynetdicom

PERIOD = 0.5


def main() -> None:
    """Open an association with itself, and measure."""
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
