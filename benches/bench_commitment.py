"""Storage commitment over loopback: requests with 10 references, and their reports.

All requests and reports of a round are on one association. The requester and the provider are
processes. fastdimse writes both to databases; pynetdicom has none.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

import commitment
import delivery
from fastdimse import Peer
from fastdimse.storage_commitment import CommitmentRequests, Reference, References

HOST = "127.0.0.1"
PROVIDER = Path(__file__).with_name("commitment_peer.py")
REFERENCES = 10
SECONDS = 60.0


@contextmanager
def providing(*words: object) -> Iterator[int]:
    """Run a provider, and return its port."""
    pipe = subprocess.PIPE
    command = [sys.executable, str(PROVIDER), *map(str, words)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def references(transactions: int) -> References:
    """Return references to instances."""
    root = generate_uid()[:40].rstrip(".")
    found = [
        Reference(str(CTImageStorage), f"{root}.{number}")
        for number in range(transactions * REFERENCES)
    ]
    return References(found, {})


def by_fastdimse(port: int, database: Path, window: int, sync: bool) -> Any:
    """Return a function that requests commitments and waits for the reports."""
    peer = Peer(
        HOST, port, role="scu", window=window, sop_classes=[str(StorageCommitmentPushModel)]
    )
    requests = CommitmentRequests(database, sync=sync)

    def run(transactions: int) -> float:
        asked = references(transactions)
        with peer.connect(event_handler=requests.handle) as association:
            begin = time.perf_counter()
            uids = requests.request(association, asked, max_references=REFERENCES)
            assert requests.wait(uids, association=association, timeout=SECONDS)
            took = time.perf_counter() - begin
        assert requests.results(uids)["State"].count("committed") == transactions * REFERENCES
        requests.forget(uids)
        return took

    return run


def by_pynetdicom(port: int) -> Any:
    """Return a function that does the same with pynetdicom, one request after the other.

    It cannot receive a report while it waits for the response to a request.
    """
    serving: Queue[threading.Thread] = Queue()

    def on_report(event: Any) -> tuple[int, None]:
        assert len(event.event_information.ReferencedSOPSequence) == REFERENCES
        serving.put(threading.current_thread())
        return 0x0000, None

    ae = AE()
    ae.add_requested_context(StorageCommitmentPushModel)

    def run(transactions: int) -> float:
        association = ae.associate(HOST, port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, on_report)])
        assert association.is_established
        begin = time.perf_counter()
        for _ in range(transactions):
            request = Dataset()
            request.TransactionUID = generate_uid()
            request.ReferencedSOPSequence = []
            for one in references(1).references:
                item = Dataset()
                item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one[:2]
                request.ReferencedSOPSequence.append(item)
            status, _ = association.send_n_action(
                request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            assert status.Status == 0x0000
            # pynetdicom can wait for ever if a request begins while this thread ends.
            serving.get(timeout=SECONDS).join()
        took = time.perf_counter() - begin
        association.release()
        return took

    return run


def test_commitments(benchmark: Any, tmp_path: Path) -> None:
    """The fastest of some rounds, in turns."""
    benchmark.group = delivery.GROUP
    best: dict[str, float] = {}
    with ExitStack() as stack:
        calls: dict[str, tuple[Any, int]] = {}
        for name, window, sync, count in (
            (commitment.OURS, 64, False, 3000),
            (commitment.ONE_BY_ONE, 1, False, 1500),
            (commitment.SYNC, 64, True, 200),
        ):
            words = [tmp_path / f"{len(calls)}-provider", *(["--sync"] if sync else [])]
            port = stack.enter_context(providing("fastdimse", *words))
            call = by_fastdimse(port, tmp_path / f"{len(calls)}-requester", window, sync)
            calls[name] = (call, count)
        port = stack.enter_context(providing("pynetdicom"))
        calls[commitment.PYNETDICOM] = (by_pynetdicom(port), 20)

        def measure_all() -> None:
            for name, (call, count) in calls.items():
                best[name] = min(best.get(name, SECONDS), call(count) / count)

        benchmark.pedantic(measure_all, rounds=5)
    benchmark.extra_info.update(rival="fastdimse", events=1, seconds=best)
