"""Storage commitment (PS3.4 Annex J) with Orthanc in both directions, by pynetdicom associations.

The oracles are Orthanc for what it receives, and pynetdicom's decoder for what it sends.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    CTImageStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

import fastdimse
from fastdimse import decode_events, encode_events
from fastdimse.pynetdicom import installed
from oracle import P_DATA_TF_TYPE, decode_stream, split_pdus
from orthanc import AE_TITLE, SECONDS, Orthanc, until

Reference = tuple[str, str]
"""A SOP Class UID and a SOP Instance UID."""

SUCCESSFUL, FAILURES_EXIST = 1, 2
"""The event types of a result (PS3.4 Table J.3-2)."""
NO_SUCH_INSTANCE, CLASS_INSTANCE_CONFLICT = 0x0112, 0x0119
REASONS = [0x0110, NO_SUCH_INSTANCE, 0x0213, 0x0122, CLASS_INSTANCE_CONFLICT, 0x0131]
"""The failure reasons (PS3.3 C.14.1.1)."""
FIELDS = [
    "MessageID",
    "MessageIDBeingRespondedTo",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "Status",
]


class Application:
    """An application with pynetdicom that is registered in Orthanc.

    Attributes
    ----------
    events : Queue
        The N-EVENT-REPORT requests that its handler received.
    requests : Queue
        The data sets of the storage commitment requests that its handler received.
    received : list of bytes
        The PDUs that its listener received.
    """

    ae_title = "FASTDIMSE"

    def __init__(self, orthanc: Orthanc, answer: Any) -> None:
        self.orthanc = orthanc
        self.answer = answer
        self.events: Queue[Any] = Queue()
        self.requests: Queue[Dataset] = Queue()
        self.received: list[bytes] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Accept associations of Orthanc, which proposes the role of SCP."""
        ae = AE(self.ae_title)
        ae.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        handlers = [
            (evt.EVT_N_EVENT_REPORT, self._report),
            (evt.EVT_N_ACTION, self._request),
            (evt.EVT_DATA_RECV, lambda event: self.received.append(bytes(event.data))),
        ]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            self.orthanc.know(self.ae_title, server.socket.getsockname()[1])
            yield
        finally:
            server.shutdown()

    def _report(self, event: Any) -> tuple[Any, Any]:
        # Decoded in the handler, as applications do.
        event.information = event.event_information
        self.events.put(event)
        return self.answer

    def _request(self, event: Any) -> tuple[int, None]:
        self.requests.put(event.action_information)
        return 0x0000, None

    @contextmanager
    def associated(self, *handlers: Any, reports: bool = False) -> Iterator[Any]:
        """Open an association with Orthanc to request commitment, or to send the result."""
        ae = AE(self.ae_title)
        ae.add_requested_context(StorageCommitmentPushModel)
        if not reports:
            ae.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if reports else []
        association = ae.associate(
            "127.0.0.1",
            self.orthanc.port,
            ae_title=AE_TITLE,
            ext_neg=roles,
            evt_handlers=list(handlers),
        )
        assert association.is_established, self.orthanc
        try:
            yield association
        finally:
            association.release()

    def ask(self, references: list[Reference]) -> str:
        """Request storage commitment from Orthanc; return the transaction."""
        request = Dataset()
        request.TransactionUID = generate_uid()
        request.ReferencedSOPSequence = [item(reference) for reference in references]
        with self.associated() as association:
            status, _ = association.send_n_action(
                request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        assert status.Status == 0x0000, f"{self.orthanc}\n{status}"
        return str(request.TransactionUID)

    def be_asked(self, references: list[Reference]) -> Dataset:
        """Let Orthanc request storage commitment; return its request."""
        instances = [
            {"SOPClassUID": sop_class, "SOPInstanceUID": instance}
            for sop_class, instance in references
        ]
        path = f"/modalities/{self.ae_title}/storage-commitment"
        started = self.orthanc.ask(path, {"DicomInstances": instances})
        request = next_of(self.requests)
        assert request.TransactionUID == started["ID"], self.orthanc
        assert references_in(request) == references, self.orthanc
        return request


@pytest.fixture
def asked(orthanc: Orthanc) -> Iterator[Application]:
    """A listening application with pynetdicom and `install()`."""
    application = Application(orthanc, (0x0000, None))
    with installed(), application.listening():
        yield application


def next_of(waiting: "Queue[Any]") -> Any:
    """Return the next element, and wait for it."""
    try:
        return waiting.get(timeout=SECONDS)
    except Empty:
        raise AssertionError(f"nothing came within {SECONDS:g} s") from None


def item(reference: Reference, reason: int | None = None) -> Dataset:
    """Return an item of a Referenced, or a Failed, SOP Sequence."""
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = reference
    if reason is not None:
        made.FailureReason = reason
    return made


def references_in(data_set: Dataset) -> list[Reference]:
    """Return the references of a Referenced SOP Sequence."""
    return [
        (found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID)
        for found in data_set.get("ReferencedSOPSequence", [])
    ]


def failures_in(data_set: Dataset) -> dict[Reference, int]:
    """Return the references of a Failed SOP Sequence, and the failure reasons."""
    return {
        (found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID): found.FailureReason
        for found in data_set.get("FailedSOPSequence", [])
    }


def stored(application: Application, count: int) -> list[Reference]:
    """Store small instances in Orthanc, and return their references."""
    references: list[Reference] = []
    with application.associated() as association:
        for _ in range(count):
            instance = Dataset()
            instance.SOPClassUID = SecondaryCaptureImageStorage
            instance.SOPInstanceUID = generate_uid()
            instance.StudyInstanceUID = generate_uid()
            instance.SeriesInstanceUID = generate_uid()
            instance.PatientID = "FASTDIMSE"
            instance.file_meta = FileMetaDataset()
            instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            status = association.send_c_store(instance)
            assert status.Status == 0x0000, application.orthanc
            references.append((instance.SOPClassUID, instance.SOPInstanceUID))
    return references


def unknown(count: int) -> list[Reference]:
    """Return references to instances that Orthanc does not have."""
    return [(CTImageStorage, generate_uid()) for _ in range(count)]


# --------------------------------------------------------- events of Orthanc


def fragments(stream: bytes) -> tuple[bytes, bytes]:
    """Join the fragments of the command set and of the data set (PS3.8 E.2).

    The fragments of Orthanc depend on the content of a large data set.
    """
    joined = {0: b"", 1: b""}
    for pdu in split_pdus(stream):
        if pdu[0] == P_DATA_TF_TYPE:
            joined[pdu[11] & 1] += pdu[12:]
    return joined[1], joined[0]


def compare_with_pynetdicom(stream: bytes, event: Any) -> None:
    """Compare the columns of Orthanc's stream with pynetdicom's decoder."""
    [theirs] = decode_stream(stream)
    ours = pa.table(decode_events(stream))
    for name in FIELDS:
        assert ours[name].to_pylist() == [getattr(theirs, name)], name
    assert ours["EventInformation"].to_pylist() == [theirs.EventInformation.getvalue()]
    assert ours["PresentationContextID"].to_pylist() == [event.context.context_id]


@pytest.mark.parametrize(
    ("count_stored", "count_unknown"), [(1, 0), (3, 2), (0, 1), (2, 400)], ids=str
)
def test_events_of_orthanc(orthanc, count_stored, count_unknown):
    application = Application(orthanc, (0x0000, None))
    with installed(), application.listening():
        there = stored(application, count_stored)
        missing = unknown(count_unknown)
        # Stored, but as an instance of another class.
        conflict = [(CTImageStorage, instance) for _, instance in there[1:2]]
        transaction = application.ask(there + missing + conflict)
        event = next_of(application.events)
        job = orthanc.reported(transaction)
    failures = dict.fromkeys(missing, NO_SUCH_INSTANCE)
    failures |= dict.fromkeys(conflict, CLASS_INSTANCE_CONFLICT)

    assert type(event.request) is fastdimse.N_EVENT_REPORT
    assert event.event_type == (FAILURES_EXIST if failures else SUCCESSFUL), orthanc
    assert event.message_id == event.request.MessageID == 1, orthanc
    assert event.request.AffectedSOPClassUID == StorageCommitmentPushModel
    assert event.request.AffectedSOPInstanceUID == StorageCommitmentPushModelInstance
    assert event.information.TransactionUID == transaction
    assert references_in(event.information) == there, orthanc
    assert failures_in(event.information) == failures, orthanc
    assert (job["State"], job["ErrorCode"]) == ("Success", 0), f"{orthanc}: {job}"

    stream = b"".join(application.received)
    compare_with_pynetdicom(stream, event)
    encoded = bytes(encode_events(decode_events(stream)))
    assert fragments(encoded) == fragments(stream), f"not what {orthanc} sent"


def failure(comment: str) -> Dataset:
    """Return a status with a comment."""
    status = Dataset()
    status.Status = 0x0110
    status.ErrorComment = comment
    return status


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((0x0000, None), "Success"),
        ((0x0110, None), "Failure"),
        ((0x0112, None), "Failure"),
        ((failure("the disk is full"), None), "Failure"),
    ],
    ids=["0000H", "0110H", "0112H", "0110H with a comment"],
)
def test_response_to_orthanc(orthanc, answer, state):
    application = Application(orthanc, answer)
    with installed(), application.listening():
        transaction = application.ask(unknown(1))
        next_of(application.events)
        job = orthanc.reported(transaction)
    assert job["State"] == state, f"{orthanc}: {job}"
    if state == "Failure":
        # The text of Orthanc for a response with a Status other than 0000H.
        assert "cannot be handled by remote AET" in job["ErrorDetails"], f"{orthanc}: {job}"


# ------------------------------------------------------------ events to Orthanc


def result(request: Dataset, failures: dict[Reference, int]) -> tuple[int, Dataset]:
    """Return the event type and the event information of the result of a request."""
    information = Dataset()
    information.TransactionUID = request.TransactionUID
    good = [found for found in references_in(request) if found not in failures]
    if good:
        information.ReferencedSOPSequence = [item(found) for found in good]
    if failures:
        information.FailedSOPSequence = [item(*failed) for failed in failures.items()]
    return (FAILURES_EXIST if failures else SUCCESSFUL), information


def check_state_in(orthanc: Orthanc, request: Dataset, failures: dict[Reference, int]) -> None:
    """Compare Orthanc's state of a transaction with the result."""
    answer = orthanc.ask(f"/storage-commitment/{request.TransactionUID}")
    good = [found for found in references_in(request) if found not in failures]
    assert answer["Status"] == ("Failure" if failures else "Success"), f"{orthanc}: {answer}"
    assert answer["RemoteAET"] == Application.ae_title, f"{orthanc}: {answer}"
    assert [
        (found["SOPClassUID"], found["SOPInstanceUID"]) for found in answer["Success"]
    ] == good, f"{orthanc}: {answer}"
    assert {
        (found["SOPClassUID"], found["SOPInstanceUID"]): found["FailureReason"]
        for found in answer["Failures"]
    } == failures, f"{orthanc}: {answer}"


def pending(orthanc: Orthanc, request: Dataset) -> bool:
    """Return whether Orthanc waits for the result of a transaction."""
    answer = orthanc.ask(f"/storage-commitment/{request.TransactionUID}")
    return bool(answer["Status"] == "Pending")


@pytest.mark.parametrize(
    "reasons",
    [[], [NO_SUCH_INSTANCE], REASONS, [NO_SUCH_INSTANCE] * 400],
    ids=["success", "a failure", "every reason", "many failures"],
)
def test_events_to_orthanc(asked, reasons):
    orthanc = asked.orthanc
    references = unknown(len(reasons) + 2)
    request = asked.be_asked(references)
    assert pending(orthanc, request), orthanc
    failures = dict(zip(references[2:], reasons, strict=True))
    event_type, information = result(request, failures)
    with asked.associated(reports=True) as association:
        [context] = association.accepted_contexts
        assert context.as_scp, orthanc
        status, _ = association.send_n_event_report(
            information,
            event_type,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
            msg_id=7,
        )
    assert status.Status == 0x0000, f"{orthanc}\n{status}"
    check_state_in(orthanc, request, failures)


def test_encoded_stream_to_orthanc(asked):
    """Many encoded events in one write on an association, one of them in several PDUs."""
    orthanc = asked.orthanc
    counts = [1, 2, 400, 3, 1, 2, 3, 4]
    requests = [asked.be_asked(unknown(count)) for count in counts]
    reports = []
    for number, request in enumerate(requests):
        failed = references_in(request)[number % 3 :] if number % 2 else []
        failures = dict.fromkeys(failed, REASONS[number % len(REASONS)])
        reports.append((failures, *result(request, failures)))

    answers: list[bytes] = []
    handler = (evt.EVT_DATA_RECV, lambda event: answers.append(bytes(event.data)))
    with asked.associated(handler, reports=True) as association:
        [context] = association.accepted_contexts
        encoded = encode_events(
            {
                "AffectedSOPClassUID": StorageCommitmentPushModel,
                "AffectedSOPInstanceUID": StorageCommitmentPushModelInstance,
                "EventTypeID": [event_type for _, event_type, _ in reports],
                "EventInformation": [
                    encoded_in(context.transfer_syntax[0], information)
                    for _, _, information in reports
                ],
            },
            context_id=context.context_id,
            max_pdu_length=association.acceptor.maximum_length,
        )
        association.dul.socket.socket.sendall(encoded)
        decoded = until(
            f"{orthanc}: {len(reports)} answers", lambda: all_responses(answers, len(reports))
        )
    columns = pa.table(decoded).to_pydict()
    assert columns["MessageIDBeingRespondedTo"] == list(range(1, len(reports) + 1)), orthanc
    assert columns["Status"] == [0x0000] * len(reports), orthanc
    for request, (failures, _, _) in zip(requests, reports, strict=True):
        check_state_in(orthanc, request, failures)


def encoded_in(transfer_syntax: UID, data_set: Dataset) -> bytes:
    """Encode a data set with pydicom."""
    encoded = encode(data_set, transfer_syntax.is_implicit_VR, transfer_syntax.is_little_endian)
    assert encoded is not None
    return encoded


def all_responses(received: list[bytes], count: int) -> fastdimse.DecodedEvents | None:
    """Decode the responses if all have arrived."""
    decoded = decode_events(b"".join(received))
    return decoded if len(decoded) == count else None
