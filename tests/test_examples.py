"""The applications in examples/ as processes, with independent peers.

The peers are processes with pynetdicom but without fastdimse, and Orthanc.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom.sop_class import (
    CTImageStorage,
    ModalityPerformedProcedureStepNotification,
    MRImageStorage,
    Printer,
    PrinterInstance,
    PrintJob,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPush,
    UPSGlobalSubscriptionInstance,
)

from orthanc import AE_TITLE as ORTHANC
from orthanc import free_ports, until
from processes import Program, running

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
PLAIN_PEER = TESTS / "plain_peer.py"
UPS_PROVIDER = TESTS / "ups_provider.py"
NAMES = [
    *("storage_commitment_provider", "commitment_from_parquet", "event_listener"),
    *("ups_watcher", "ups_worklist"),
]
ENDS = [signal.SIGINT, signal.SIGTERM]


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example, and wait for its end."""
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_help(name):
    done = run(name, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {name}.py"), done.stdout


# -------------------------------------------------- storage_commitment_provider


def write_instance(folder: Path, sop_class: str) -> tuple[str, str]:
    """Write a small instance to a file; return a reference to it."""
    instance = Dataset()
    instance.SOPClassUID, instance.SOPInstanceUID = sop_class, generate_uid()
    instance.file_meta = FileMetaDataset()
    instance.file_meta.MediaStorageSOPClassUID = sop_class
    instance.file_meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(exist_ok=True)
    path = folder / f"{instance.SOPInstanceUID}.dcm"
    instance.save_as(path, enforce_file_format=True)
    return sop_class, str(instance.SOPInstanceUID)


def request(references: list[tuple[str, str]]) -> Dataset:
    """Return a request for storage commitment."""
    made = Dataset()
    made.TransactionUID = generate_uid()
    made.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        made.ReferencedSOPSequence.append(item)
    return made


def ask(
    peer: Program,
    port: int,
    made: Dataset,
    *,
    action_type: int = 1,
    instance: str = StorageCommitmentPushModelInstance,
    wait: bool = False,
) -> int:
    """Let the peer request storage commitment; return the Status of the response."""
    peer.tell(
        verb="ask",
        port=port,
        action_type=action_type,
        instance=instance,
        information=made.to_json_dict(),
        wait=wait,
    )
    answer = peer.hear("status")
    # Events on associations of the provider are not among them.
    assert answer["received"] == ["N_ACTION_RSP", "N_EVENT_REPORT_RQ"][: 2 if wait else 1]
    status: int = answer["status"]
    return status


def references_in(report: Any, sequence: str) -> list[tuple[str, str, int | None]]:
    """Return the references in a sequence of an event, and the failure reasons."""
    return [
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID, item.get("FailureReason"))
        for item in Dataset.from_json(report["information"]).get(sequence, [])
    ]


@pytest.fixture
def peer() -> Iterator[Program]:
    """A requester of storage commitment with pynetdicom alone."""
    with running(PLAIN_PEER, "PEER") as program:
        yield program


@contextmanager
def provider(folder: Path, *arguments: object) -> Iterator[tuple[Program, int]]:
    """The example with a folder, and its port."""
    folder.mkdir(exist_ok=True)
    path = EXAMPLES / "storage_commitment_provider.py"
    with running(path, folder, "--port", 0, *arguments) as program:
        yield program, program.port()


@pytest.mark.parametrize("own", [True, False], ids=["an association of its own", "the same"])
def test_commitment(tmp_path, peer, own):
    there = [write_instance(tmp_path / "folder", CTImageStorage) for _ in range(2)]
    (tmp_path / "folder" / "notes.txt").write_text("not an instance")
    address = ("--peer", "PEER", "127.0.0.1", peer.port()) if own else ()
    with provider(tmp_path / "folder", *address) as (program, port):
        made = request(there)
        assert ask(peer, port, made, wait=not own) == 0x0000
        report = peer.hear("event_type")
        assert report["requestor"] == ("PROVIDER" if own else "PEER")
        assert report["roles"] == ([False, True] if own else None)
        assert report["instance"] == StorageCommitmentPushModelInstance
        assert report["event_type"] == 1
        assert Dataset.from_json(report["information"]).TransactionUID == made.TransactionUID
        assert references_in(report, "ReferencedSOPSequence") == [(*one, None) for one in there]
        assert references_in(report, "FailedSOPSequence") == []
        program.find(r"notes\.txt is skipped")
        program.find(rf"{made.TransactionUID} of PEER: 0 failed, response: 0000H")

        # New instances are found, deleted ones are not.
        later = write_instance(tmp_path / "folder" / "later", MRImageStorage)
        (tmp_path / "folder" / f"{there[0][1]}.dcm").unlink()
        other_class = (CTImageStorage, later[1])
        assert ask(peer, port, request([*there, later, other_class]), wait=not own) == 0x0000
        report = peer.hear("event_type")
        assert report["event_type"] == 2
        good = [(*there[1], None), (*later, None)]
        assert references_in(report, "ReferencedSOPSequence") == good
        failed = [(*there[0], 0x0112), (*other_class, 0x0119)]
        assert references_in(report, "FailedSOPSequence") == failed
        program.find(r"2 failed, response: 0000H")


def test_invalid_requests_for_commitment(tmp_path, peer):
    good = request([(CTImageStorage, "1.2.3")])
    empty, nameless = request([]), request([(CTImageStorage, "1.2.3")])
    del nameless.TransactionUID
    half = request([(CTImageStorage, "1.2.3")])
    del half.ReferencedSOPSequence[0].ReferencedSOPClassUID
    with provider(tmp_path / "folder") as (_, port):
        assert ask(peer, port, good, action_type=2) == 0x0123
        assert ask(peer, port, good, instance="1.2.3") == 0x0112
        for made in (empty, nameless, half):
            assert ask(peer, port, made) == 0x0115


def test_event_without_a_receiver(tmp_path, peer):
    [nobody] = free_ports(1)
    with provider(tmp_path / "folder", "--peer", "PEER", "127.0.0.1", nobody) as (program, port):
        for _ in range(2):
            made = request([(CTImageStorage, "1.2.3")])
            assert ask(peer, port, made) == 0x0000
            program.find(f"{made.TransactionUID} of PEER is not reported")


def test_request_of_orthanc(tmp_path, orthanc):
    there = write_instance(tmp_path / "folder", CTImageStorage)
    missing = (CTImageStorage, generate_uid())
    peer = ("--peer", ORTHANC, "127.0.0.1", orthanc.port)
    with provider(tmp_path / "folder", *peer) as (_, port):
        orthanc.know("PROVIDER", port)
        for references, outcome in (([there], "Success"), ([there, missing], "Failure")):
            path = "/modalities/PROVIDER/storage-commitment"
            started = orthanc.ask(path, {"DicomInstances": references})

            def reported(path: str = started["Path"]) -> Any:
                answer = orthanc.ask(path)
                return answer if answer["Status"] != "Pending" else None

            answer = until(f"{orthanc}: a report", reported)
            assert answer["Status"] == outcome, f"{orthanc}: {answer}"
            reasons = [(one["SOPInstanceUID"], one["FailureReason"]) for one in answer["Failures"]]
            assert reasons == [(one[1], 0x0112) for one in references[1:]], f"{orthanc}: {answer}"


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_end_of_the_provider(tmp_path, number):
    with provider(tmp_path / "folder") as (program, _):
        program.send_signal(number)
        assert program.ended() == 0, program


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nowhere"], "nowhere is not a folder"), ([".", "--peer", "A", "b", "c"], "--peer")],
)
def test_provider_with_invalid_options(arguments, message):
    done = run("storage_commitment_provider", *arguments)
    assert done.returncode == 2
    assert f"error: {message}" in done.stderr
    assert "Traceback" not in done.stderr


# --------------------------------------------------------------- event_listener


@pytest.mark.parametrize("number", ENDS)
def test_commitment_from_parquet(tmp_path, peer, number):
    references = [(str(CTImageStorage), generate_uid()) for _ in range(4)]
    for part in range(2):
        rows = references[part::2][: 2 - part]
        columns = {
            "SOPInstanceUID": [uid for _, uid in rows],
            "SOPClassUID": [CTImageStorage if part == 0 else MRImageStorage] * len(rows),
            "Copies": [2, 1][: len(rows)],
        }
        pq.write_table(pa.table(columns), tmp_path / f"{part}.parquet")
    path = EXAMPLES / "commitment_from_parquet.py"
    with running(path, tmp_path / "*.parquet", "--port", 0) as program:
        made = request(references)
        assert ask(peer, program.port(), made, wait=True) == 0x0000
        report = peer.hear("event_type")
        program.send_signal(number)
        assert program.ended() == 0
    assert references_in(report, "ReferencedSOPSequence") == [(*references[0], None)]
    assert references_in(report, "FailedSOPSequence") == [
        (*references[1], 0x0119),
        (*references[2], 0x0110),
        (*references[3], 0x0112),
    ]


def data_set(**values: Any) -> Dataset:
    """Return a data set."""
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


EVENTS = {
    StorageCommitmentPushModel: [
        (
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
            1,
            request([(CTImageStorage, "1.2.3"), (MRImageStorage, "1.2.4")]),
        )
    ],
    ModalityPerformedProcedureStepNotification: [
        # Without event information (PS3.4 Table F.9.2-1).
        (ModalityPerformedProcedureStepNotification, "1.2.5", event_type, None)
        for event_type in (1, 2)
    ],
    PrintJob: [
        (PrintJob, "1.2.6", 4, data_set(ExecutionStatusInfo="FILM JAM", PrinterName="Søren"))
    ],
    Printer: [(Printer, PrinterInstance, 2, data_set(PrinterStatusInfo="SUPPLY LOW"))],
    UnifiedProcedureStepEvent: [
        (
            UnifiedProcedureStepPush,
            "1.2.7",
            1,
            data_set(ProcedureStepState="IN PROGRESS", InputReadinessState="READY"),
        )
    ],
}
"""By presentation context: SOP class, instance, event type, event information."""
EVENTS[PrintJob][0][3].SpecificCharacterSet = "ISO_IR 192"


def report(peer: Program, port: int, context: str) -> list[int]:
    """Let the peer send the events of a presentation context; return the Statuses."""
    events = [
        (*event, information and information.to_json_dict())
        for *event, information in EVENTS[context]
    ]
    peer.tell(verb="report", port=port, context=context, events=events)
    assert peer.hear("as_scp") == {"as_scp": [True]}
    return [peer.hear("status")["status"] for _ in events]


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_write_events(tmp_path, peer, number):
    written = tmp_path / "events.ndjson"
    path = EXAMPLES / "event_listener.py"
    with running(path, "--port", 0, "--output", written) as program:
        port = program.port()
        for context, events in EVENTS.items():
            assert report(peer, port, context) == [0x0000] * len(events)
        # Events are written before the response, so the test does not wait.
        lines = [json.loads(line) for line in written.read_text().splitlines()]
        program.send_signal(number)
        assert program.ended() == 0, program
    expected = [
        {
            "CallingAETitle": "PEER",
            "MessageID": message_id,
            "AffectedSOPClassUID": sop_class,
            "AffectedSOPInstanceUID": instance,
            "EventTypeID": event_type,
            "EventInformation": information and information.to_json_dict(),
        }
        for events in EVENTS.values()
        for message_id, (sop_class, instance, event_type, information) in enumerate(events, 1)
    ]
    assert [line.pop("Received")[:2] for line in lines] == ["20"] * len(expected)
    assert lines == expected


def test_write_events_to_a_pipe(peer):
    with running(EXAMPLES / "event_listener.py", "--port", 0) as program:
        assert report(peer, program.port(), Printer) == [0x0000]
        assert program.hear("MessageID")["AffectedSOPInstanceUID"] == PrinterInstance


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_event_that_cannot_be_written(peer):
    with running(EXAMPLES / "event_listener.py", "--port", 0, "--output", "/dev/full") as program:
        assert report(peer, program.port(), Printer) == [0x0110]


# ------------------------------------------------------------------ ups_watcher

STEPS = ["1.2.840.1", "1.2.840.2"]


@contextmanager
def watched(*arguments: object, no_locks: bool = False) -> Iterator[tuple[Program, Program]]:
    """A provider of procedure steps with pynetdicom alone, and the example that watches it."""
    [port] = free_ports(1)
    steps = [argument for step in STEPS for argument in ("--step", step)]
    options = ["--no-locks"] if no_locks else []
    with running(UPS_PROVIDER, *steps, "--listener", "WATCHER", port, *options) as scp:
        address = ("127.0.0.1", scp.port(), "--listen-port", port)
        with running(EXAMPLES / "ups_watcher.py", *address, *arguments) as watcher:
            yield scp, watcher


def subscription(scp: Program, action_type: int, instance: str, **information: str) -> None:
    """Check the request that the provider received."""
    asked = scp.hear("action_type")
    assert asked["action_type"] == action_type
    assert asked["sop_class"] == UnifiedProcedureStepPush
    assert asked["instance"] == instance
    assert Dataset.from_json(asked["information"]) == data_set(ReceivingAE="WATCHER", **information)


def reports(scp: Program, instance: str, event_type: int, **information: Any) -> list[int]:
    """Let the provider send an event; return the Statuses of the responses."""
    event = data_set(**information).to_json_dict()
    scp.tell(instance=instance, event_type=event_type, information=event)
    answer = scp.hear("receivers")
    assert answer["receivers"] == ["WATCHER"] * len(answer["statuses"])
    statuses: list[int] = answer["statuses"]
    return statuses


def shown(watcher: Program, count: int) -> list[str]:
    """Return the lines that the example prints."""
    return [watcher.line() for _ in range(count)]


def test_watch_all_steps():
    performer = data_set(
        HumanPerformerCodeSequence=[
            data_set(CodeValue="1", CodingSchemeDesignator="99X", CodeMeaning="Somebody")
        ]
    )
    progress = data_set(ProcedureStepProgress="12.5", ProcedureStepProgressDescription="halfway")
    everything = UPSGlobalSubscriptionInstance
    with watched("--count", 5) as (scp, watcher):
        subscription(scp, 3, everything, DeletionLock="FALSE")
        watcher.port()
        assert reports(scp, STEPS[0], 2, RequestingAE="RIS", ReasonForCancellation="gone") == [0]
        assert shown(watcher, 3) == [
            f"UPS Cancel Requested of {STEPS[0]}",
            "  Requesting AE: RIS",
            f"  {dictionary_description('ReasonForCancellation')}: gone",
        ]
        assert reports(scp, STEPS[1], 3, ProcedureStepProgressInformationSequence=[progress]) == [0]
        assert shown(watcher, 5) == [
            f"UPS Progress Report of {STEPS[1]}",
            "  Procedure Step Progress Information Sequence:",
            "    1.",
            "      Procedure Step Progress: 12.5",
            "      Procedure Step Progress Description: halfway",
        ]
        # Not an event of the standard: rejected, and not counted.
        assert reports(scp, STEPS[1], 6, ProcedureStepState="CANCELED") == [0x0113]
        status = {"SubscriptionListStatus": "WARM START", "UnifiedProcedureStepListStatus": "COLD"}
        assert reports(scp, everything, 4, SCPStatus="RESTARTED", **status) == [0]
        assert shown(watcher, 4) == [
            f"SCP Status Change of {everything}",
            "  SCP Status: RESTARTED",
            "  Subscription List Status: WARM START",
            "  Unified Procedure Step List Status: COLD",
        ]
        assert reports(scp, STEPS[0], 5, ScheduledHumanPerformersSequence=[performer]) == [0]
        assert shown(watcher, 8) == [
            f"UPS Assigned of {STEPS[0]}",
            "  Scheduled Human Performers Sequence:",
            "    1.",
            "      Human Performer Code Sequence:",
            "        1.",
            "          Code Value: 1",
            "          Coding Scheme Designator: 99X",
            "          Code Meaning: Somebody",
        ]
        assert reports(scp, STEPS[0], 1, ProcedureStepState="COMPLETED") == [0]
        assert shown(watcher, 2) == [
            f"UPS State Report of {STEPS[0]}",
            "  Procedure Step State: COMPLETED",
        ]
        subscription(scp, 4, everything)
        assert watcher.ended() == 0, watcher
        # The provider has no subscribers left.
        assert reports(scp, STEPS[0], 1, ProcedureStepState="COMPLETED") == []


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_watch_one_step(number):
    with watched("--instance", STEPS[1]) as (scp, watcher):
        subscription(scp, 3, STEPS[1], DeletionLock="FALSE")
        # The current state, which is sent before the response to the subscription.
        assert shown(watcher, 3) == [
            f"UPS State Report of {STEPS[1]}",
            "  Input Readiness State: READY",
            "  Procedure Step State: SCHEDULED",
        ]
        assert reports(scp, STEPS[0], 1, ProcedureStepState="IN PROGRESS") == []
        assert reports(scp, STEPS[1], 1, ProcedureStepState="IN PROGRESS") == [0]
        assert shown(watcher, 2) == [
            f"UPS State Report of {STEPS[1]}",
            "  Procedure Step State: IN PROGRESS",
        ]
        watcher.send_signal(number)
        subscription(scp, 4, STEPS[1])
        assert watcher.ended() == 0, watcher


def test_deletion_locks():
    with watched("--deletion-lock", "--count", 2, no_locks=True) as (scp, watcher):
        subscription(scp, 3, UPSGlobalSubscriptionInstance, DeletionLock="TRUE")
        watcher.find("Warning B301H, Deletion lock not granted")
        lines = shown(watcher, 6)
        assert [lines[0], lines[3]] == [f"UPS State Report of {step}" for step in STEPS]
        subscription(scp, 4, UPSGlobalSubscriptionInstance)
        assert watcher.ended() == 0, watcher


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--instance", "1.2.3"], "C307H, Specified SOP Instance UID does not exist"),
        (["--ae-title", "STRANGER"], "C308H, Receiving AE-TITLE is unknown"),
    ],
)
def test_rejected_subscription(arguments, message):
    with watched(*arguments) as (_, watcher):
        watcher.find(f"Failure {message}")
        assert watcher.ended() == 1, watcher


def test_no_provider():
    ports = free_ports(2)
    done = run("ups_watcher", "127.0.0.1", ports[0], "--listen-port", ports[1])
    assert done.returncode == 1
    assert f"ANY-SCP at 127.0.0.1:{ports[0]} doesn't accept an association" in done.stderr
    assert "Traceback" not in done.stderr


def test_peer_without_procedure_steps(peer):
    done = run("ups_watcher", "127.0.0.1", peer.port(), "--listen-port", 0)
    assert done.returncode == 1
    assert "doesn't accept an association" in done.stderr
    assert "Traceback" not in done.stderr
