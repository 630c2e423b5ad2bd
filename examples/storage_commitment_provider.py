"""A storage commitment provider for a folder of DICOM files.

It answers requests (N-ACTION, PS3.4 J.3.2), and reports what is in the folder (N-EVENT-REPORT,
PS3.4 J.3.3): to a requester whose address it was told on an association of its own, to others on
the association of the request.

    python examples/storage_commitment_provider.py FOLDER --peer MODALITY 127.0.0.1 11113
"""

import argparse
import logging
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

import fastdimse.pynetdicom

REQUEST_STORAGE_COMMITMENT = 1  # the action type, PS3.4 Table J.3-1
SUCCESSFUL, FAILURES_EXIST = 1, 2  # event types, PS3.4 Table J.3-2
NO_SUCH_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0112, 0x0119  # failure reasons, PS3.3 C.14.1.1

log = logging.getLogger("storage_commitment_provider")


@cache
def uids(path: Path, changed: int) -> tuple[str, str] | None:
    """Return the SOP Instance and Class UID of a file, none of a file of another kind."""
    try:
        found = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        return str(found.SOPInstanceUID), str(found.SOPClassUID)
    except (InvalidDicomError, AttributeError) as error:
        log.warning("%s is not counted: %s", path, error)
        return None


def instances(folder: Path) -> dict[str, str]:
    """Return the SOP Class UID of each instance that is in a folder now."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed meanwhile
            if path.is_file():
                found.append(uids(path, path.stat().st_mtime_ns))
    return dict(filter(None, found))


def result(request: Dataset, there: dict[str, str]) -> tuple[int, Dataset]:
    """Return the event type and the event information that answer a request."""
    information = Dataset()
    information.TransactionUID = request.TransactionUID
    good, failed = [], []
    for item in request.ReferencedSOPSequence:
        sop_class = there.get(item.ReferencedSOPInstanceUID)
        if sop_class == item.ReferencedSOPClassUID:
            good.append(item)
        else:
            item.FailureReason = CLASS_INSTANCE_CONFLICT if sop_class else NO_SUCH_INSTANCE
            failed.append(item)
    if good:
        information.ReferencedSOPSequence = good
    if failed:
        information.FailedSOPSequence = failed
    return (FAILURES_EXIST if failed else SUCCESSFUL), information


class Provider:
    """Answers at once, and then reports from other threads."""

    def __init__(self, ae: AE, folder: Path, peers: dict[str, tuple[str, int]]) -> None:
        self._ae, self._folder, self._peers = ae, folder, peers
        self._taken: dict[Association, Dataset] = {}
        self.reports = ThreadPoolExecutor(max_workers=4)

    def answer(self, event: evt.Event) -> tuple[int, None]:
        """Answer a request: it is taken, or what is wrong with it (PS3.7 10.1.4.1.10)."""
        if event.action_type != REQUEST_STORAGE_COMMITMENT:
            return 0x0123, None  # no such action
        if event.request.RequestedSOPInstanceUID != StorageCommitmentPushModelInstance:
            return 0x0112, None  # no such SOP instance
        request = event.action_information
        items = request.get("ReferencedSOPSequence")
        references = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
        complete = items and all(name in item for item in items for name in references)
        if not complete or "TransactionUID" not in request:
            return 0x0115, None  # invalid argument value
        self._taken[event.assoc] = request
        return 0x0000, None

    def answered(self, event: evt.Event) -> None:
        """Report when the answer has been sent, which is the next PDU that the requester gets."""
        request = self._taken.pop(event.assoc, None)
        if request is not None:
            self.reports.submit(self.report, event.assoc, request)

    def report(self, association: Association, request: Dataset) -> None:
        """Report the result of a request. A requester that hears nothing asks again."""
        requester = association.requestor.ae_title.strip()
        what = f"transaction {request.TransactionUID} of {requester}"
        address = self._peers.get(requester)
        try:
            event_type, information = result(request, instances(self._folder))
            if address:
                # Who reports is the SCP, though it requests the association (PS3.7 D.3.3.4).
                roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
                association = self._ae.associate(*address, ae_title=requester, ext_neg=roles)
            status, _ = association.send_n_event_report(
                information,
                event_type,
                StorageCommitmentPushModel,
                StorageCommitmentPushModelInstance,
            )
            if address and association.is_established:
                association.release()
        except Exception as error:
            log.error("%s is not reported: %s", what, error)
            return
        failed = len(information.get("FailedSOPSequence", []))
        answer = f"{status.Status:04X}H" if "Status" in status else "nothing"
        log.info("%s: %d failed, the answer is %s", what, failed, answer)


def main() -> None:
    """Serve until SIGINT or SIGTERM comes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", type=Path, help="what it commits to keep")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (%(default)s)")
    parser.add_argument("--port", type=int, default=11112, help="0: any (%(default)s)")
    parser.add_argument("--ae-title", default="PROVIDER", help="(%(default)s)")
    parser.add_argument(
        "--peer",
        nargs=3,
        action="append",
        default=[],
        metavar=("AE_TITLE", "HOST", "PORT"),
        help="where a requester takes reports",
    )
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    try:
        peers = {ae_title: (host, int(port)) for ae_title, host, port in arguments.peer}
    except ValueError as error:
        parser.error(f"--peer: {error}")
    logging.basicConfig(format="%(message)s")
    log.setLevel(logging.INFO)
    fastdimse.pynetdicom.install()

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ae = AE(arguments.ae_title)
    ae.connection_timeout = 10
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.add_requested_context(StorageCommitmentPushModel)
    provider = Provider(ae, arguments.folder, peers)
    address = (arguments.host, arguments.port)
    handlers = [(evt.EVT_N_ACTION, provider.answer), (evt.EVT_PDU_SENT, provider.answered)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    log.info("%s listens on %s:%d", arguments.ae_title, *server.socket.getsockname()[:2])
    ended.wait()
    provider.reports.shutdown()
    ae.shutdown()


if __name__ == "__main__":
    main()
