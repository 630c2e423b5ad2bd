"""A provider of storage commitment, as a process: it commits everything, at once.

    python benches/commitment_peer.py fastdimse|pynetdicom [DATABASE] [--sync]

It prints its port, reports on the association of the request, and ends when its standard input is
closed.
"""

import os
import sys
import threading
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from fastdimse.storage_commitment import provide

HOST = "127.0.0.1"


def serve(database: str | None, sync: bool) -> None:
    """Provide storage commitment with fastdimse."""
    with provide(
        0,
        host=HOST,
        lookup=lambda references: [True] * len(references["ReferencedSOPInstanceUID"]),
        database=database,
        sync=sync,
    ) as provider:
        print(provider.port, flush=True)
        sys.stdin.read()


def serve_pynetdicom() -> None:
    """Provide storage commitment with pynetdicom, without a database."""
    accepted: dict[Any, Dataset] = {}

    def on_action(event: Any) -> tuple[int, None]:
        accepted[event.assoc] = event.action_information
        return 0x0000, None

    def on_pdu_sent(event: Any) -> None:
        request = accepted.pop(event.assoc, None)
        if request is not None:
            threading.Thread(target=report, args=(event.assoc, request)).start()

    def report(association: Any, request: Dataset) -> None:
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        information.ReferencedSOPSequence = request.ReferencedSOPSequence
        association.send_n_event_report(
            information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )

    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [(evt.EVT_N_ACTION, on_action), (evt.EVT_PDU_SENT, on_pdu_sent)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    print(server.socket.getsockname()[1], flush=True)
    sys.stdin.read()
    # Not an orderly end, for which threads would wait.
    os._exit(0)


arguments = sys.argv[1:]
if arguments[0] == "pynetdicom":
    serve_pynetdicom()
else:
    files = [word for word in arguments[1:] if not word.startswith("--")]
    serve(files[0] if files else None, "--sync" in arguments)
