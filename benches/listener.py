"""A receiver of events, as a process.

    python benches/listener.py plain|installed|listen

The receiver is pynetdicom without or with `install()`, or `fastdimse.listen`. It prints its port,
and ends when its standard input is closed.
"""

import sys
import threading

from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

import fastdimse
import fastdimse.pynetdicom


def listen() -> None:
    """Receive events with `fastdimse.listen`."""
    with fastdimse.listen(0, host="127.0.0.1") as listener:
        print(listener.port, flush=True)
        threading.Thread(target=lambda: list(map(len, listener)), daemon=True).start()
        sys.stdin.read()


def serve() -> None:
    """Receive events with pynetdicom."""
    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda event: (0x0000, None))],
    )
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.read()
    server.shutdown()


if sys.argv[1] == "listen":
    listen()
else:
    if sys.argv[1] == "installed":
        fastdimse.pynetdicom.install()
    serve()
