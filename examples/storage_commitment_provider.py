"""A storage commitment provider for a folder of DICOM files.

The provider responds to requests (N-ACTION, PS3.4 J.3.2), and reports which instances are in the
folder (N-EVENT-REPORT, PS3.4 J.3.3). If it has the address of a requester, it opens an association
to report. Otherwise it reports on the association of the request.

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
    """Return the SOP Instance UID and SOP Class UID of a file, or None if it is not DICOM."""
    try:
        found = dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        return str(found.SOPInstanceUID), str(found.SOPClassUID)
    except (InvalidDicomError, AttributeError) as error:
        log.warning("%s is skipped: %s", path, error)
        return None


def instances(folder: Path) -> dict[str, str]:
    """Return the SOP Class UIDs of the instances in a folder, by SOP Instance UID."""
    found = []
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # removed since the listing
            if path.is_file():
                found.append(uids(path, path.stat().st_mtime_ns))
    return dict(filter(None, found))


def result(request: Dataset, there: dict[str, str]) -> tuple[int, Dataset]:
    """Return the event type and the event information of the report for a request."""
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
    """Responds to requests at once, and reports in other threads."""

    def __init__(self, ae: AE, folder: Path, peers: dict[str, tuple[str, int]]) -> None:
        self._ae, self._folder, self._peers = ae, folder, peers
        self._accepted: dict[Association, Dataset] = {}
        self.reports = ThreadPoolExecutor(max_workers=4)

    def respond(self, event: evt.Event) -> tuple[int, None]:
        """Check a request, and return the Status of the response (PS3.7 10.1.4.1.10)."""
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
        self._accepted[event.assoc] = request
        return 0x0000, None

    def on_pdu_sent(self, event: evt.Event) -> None:
        """Start the report when the response, the next PDU to the requester, has been sent."""
        request = self._accepted.pop(event.assoc, None)
        if request is not None:
            self.reports.submit(self.report, event.assoc, request)

    def report(self, association: Association, request: Dataset) -> None:
        """Report the result of a request. A requester without a report repeats its request."""
        requester = association.requestor.ae_title.strip()
        what = f"transaction {request.TransactionUID} of {requester}"
        address = self._peers.get(requester)
        try:
            event_type, information = result(request, instances(self._folder))
            if address:
                # The sender of events is the SCP, even as the requestor (PS3.7 D.3.3.4).
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
        response = f"{status.Status:04X}H" if "Status" in status else "none"
        log.info("%s: %d failed, response: %s", what, failed, response)


def main() -> None:
    """Parse the command line, and serve until SIGINT or SIGTERM is received."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("folder", type=Path, help="folder of the committed instances")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=int, default=11112, help="port to listen on; 0: any free port (%(default)s)"
    )
    parser.add_argument("--ae-title", default="PROVIDER", help="local AE title (%(default)s)")
    parser.add_argument(
        "--peer",
        nargs=3,
        action="append",
        default=[],
        metavar=("AE_TITLE", "HOST", "PORT"),
        help="address for the reports of a requester; repeatable",
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
    handlers = [(evt.EVT_N_ACTION, provider.respond), (evt.EVT_PDU_SENT, provider.on_pdu_sent)]
    server = ae.start_server(address, block=False, evt_handlers=handlers)
    log.info("%s listens on %s:%d", arguments.ae_title, *server.socket.getsockname()[:2])
    ended.wait()
    provider.reports.shutdown()
    ae.shutdown()


if __name__ == "__main__":
    main()
