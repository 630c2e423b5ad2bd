"""A pynetdicom application that answers reports, in a process of its own.

    python benches/listener.py plain|installed

It tells its port, and ends with its standard input.
"""

import sys

from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

import fastdimse.pynetdicom

if sys.argv[1] == "installed":
    fastdimse.pynetdicom.install()
ae = AE()
ae.add_supported_context(StorageCommitmentPushModel)
server = ae.start_server(
    ("127.0.0.1", 0),
    block=False,
    evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda event: (0x0000, None))],
)
print(server.socket.getsockname()[1], flush=True)
sys.stdin.read()
server.shutdown()
