"""Storage commitment with Orthanc on associations of fastdimse."""

import json
import statistics
import sys
from io import BytesIO

import pyarrow as pa
import pytest
from pydicom.uid import UID
from pynetdicom.dsutils import decode
from pynetdicom.sop_class import StorageCommitmentPushModel

from fastdimse import connect, listen
from fastdimse.events import storage_commitment
from orthanc import AE_TITLE, Orthanc
from test_command_line import REQUESTS, run
from test_orthanc import (
    Application,
    Reference,
    check_state_in,
    failures_in,
    unknown,
)
from test_receive_command import Receiver, received

HOST = "127.0.0.1"


@pytest.fixture
def application(orthanc: Orthanc):
    """An application with pynetdicom that receives Orthanc's requests."""
    found = Application(orthanc, (0x0000, None))
    with found.listening():
        yield found


def pairs(items: list[dict[str, str]] | None) -> list[Reference]:
    """Return the references of a sequence."""
    return [
        (found["ReferencedSOPClassUID"], found["ReferencedSOPInstanceUID"]) for found in items or ()
    ]


def test_send_the_captured_stream(application, tmp_path):
    """Each event is the result of a request of Orthanc."""
    orthanc = application.orthanc
    rows = tmp_path / "reports.ndjson"
    decoded = run("decode", REQUESTS, "--data-sets", "structured", "-o", rows)
    assert decoded.returncode == 0, decoded.stderr
    reports = [json.loads(line) for line in rows.read_text().splitlines()]
    requests = []
    for report in reports:
        information = report["EventInformation"]
        failed = information.get("FailedSOPSequence") or []
        failures = dict(zip(pairs(failed), (one["FailureReason"] for one in failed), strict=True))
        good = pairs(information.get("ReferencedSOPSequence"))
        request = application.be_asked([*good, *failures])
        information["TransactionUID"] = request.TransactionUID
        requests.append((request, failures))
    rows.write_text("".join(json.dumps(report) + "\n" for report in reports))
    options = ("--called-ae", AE_TITLE, "--calling-ae", Application.ae_title)
    sent = run("send", rows, HOST, orthanc.port, *options)
    assert sent.returncode == 0, (sent.stdout, sent.stderr)
    assert len(requests) == 24
    for request, failures in requests:
        check_state_in(orthanc, request, failures)


@pytest.mark.parametrize("count", [1, 400])
def test_event_with_many_references(application, count):
    orthanc = application.orthanc
    references = unknown(count)
    request = application.be_asked(references)
    row = storage_commitment(request.TransactionUID, references, [])
    titles = {"called_ae": AE_TITLE, "calling_ae": Application.ae_title}
    with connect(HOST, orthanc.port, **titles) as association:
        assert StorageCommitmentPushModel in association.transfer_syntaxes
        # Orthanc does not negotiate a window.
        assert association.window == 1
        outcomes = association.send([row])
    assert outcomes.to_pydict()["Status"] == [0], orthanc
    check_state_in(orthanc, request, {})


def test_receive_events_of_orthanc(orthanc):
    application = Application(orthanc, None)
    with listen(0, host=HOST, called_ae=Application.ae_title) as listener:
        orthanc.know(Application.ae_title, listener.port)
        asked = {application.ask(unknown(count)): count for count in (1, 2, 400)}
        received = []
        while len(received) < len(asked):
            batch = listener.receive(timeout=30)
            assert batch is not None, orthanc
            received += pa.table(batch).to_pylist()
        assert {orthanc.reported(one)["State"] for one in asked} == {"Success"}
        assert listener.take_failures() == []
    for row in received:
        assert (row["CallingAETitle"], row["CalledAETitle"]) == (AE_TITLE, Application.ae_title)
        is_implicit = UID(row["TransferSyntaxUID"]).is_implicit_VR
        information = decode(BytesIO(row["EventInformation"]), is_implicit, True)
        assert len(failures_in(information)) == asked.pop(information.TransactionUID)
    assert not asked


def test_write_events_of_orthanc_to_files(orthanc, tmp_path):
    """`fastdimse receive` writes them, and Orthanc receives Success."""
    application = Application(orthanc, None)
    options = ("--format", "ndjson", "--data-sets", "structured", "--stop-after", 2)
    program = Receiver(tmp_path, "--called-ae", Application.ae_title, *options)
    try:
        orthanc.know(Application.ae_title, program.listens_on)
        missing = {application.ask(one): one for one in (unknown(1), unknown(3))}
        assert {orthanc.reported(one)["State"] for one in missing} == {"Success"}
        assert program.ended() == 0
    finally:
        program.close()
    rows = received(tmp_path)
    assert {row["CallingAETitle"] for row in rows} == {AE_TITLE}
    for row in rows:
        information = row["EventInformation"]
        failed = pairs(information["FailedSOPSequence"])
        assert failed == missing.pop(information["TransactionUID"])
    assert not missing


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can acknowledge without delay")
def test_immediate_acknowledgement(application):
    """Orthanc writes each PDU in two parts; a delayed acknowledgement would add at least 40 ms."""
    orthanc = application.orthanc
    references = unknown(1)
    request = application.be_asked(references)
    row = storage_commitment(request.TransactionUID, references, [])
    titles = {"called_ae": AE_TITLE, "calling_ae": Application.ae_title}
    with connect(HOST, orthanc.port, **titles) as association:
        outcomes = association.send([row] * 40).to_pydict()
    assert outcomes["Status"] == [0] * 40, orthanc
    assert statistics.median(outcomes["Latency"]) < 20e6, orthanc
