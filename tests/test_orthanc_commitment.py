"""Storage commitment (PS3.4 Annex J) with Orthanc as the SCP and as the SCU."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid

from commitment_peer import listens
from fastdimse import Peer
from fastdimse.storage_commitment import commit, provide, read_references
from orthanc import AE_TITLE, SECONDS, Orthanc, free_ports, until
from processes import running
from test_commit_command import run
from test_storage_commitment import lookup_of, states

HOST = "127.0.0.1"
TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
SCU, SCP = "COMMIT-SCU", "COMMIT-SCP"
PROGRAM = Path(__file__).with_name("commitment_program.py")


def upload(orthanc: Orthanc, path: str | None) -> bool:
    """Store a file in Orthanc; return whether Orthanc has it now."""
    assert path is not None
    try:
        orthanc.ask("/instances", Path(path).read_bytes())
    except AssertionError:
        return False
    return True


def half(orthanc: Orthanc) -> tuple[Any, set[tuple[str, str]]]:
    """Return the references of pydicom's test files, and those of the half that Orthanc has."""
    found = read_references(TEST_FILES)
    stored = {one[:2] for one in found.references[::2] if upload(orthanc, one.file)}
    assert len(stored) > 30
    return found, stored


def check(rows: dict[str, list[Any]], found: Any, stored: set[tuple[str, str]]) -> None:
    """Compare results with what Orthanc has."""
    results = states(rows)
    assert set(results) == {one[:2] for one in found.references}
    for pair, (state, reason) in results.items():
        assert state == ("committed" if pair in stored else "failed"), pair
        assert reason in ((None,) if pair in stored else (0x0112, 0x0119)), pair


def test_orthanc_commits_half_of_the_files_of_pydicom(orthanc):
    """Orthanc reports on an association of its own."""
    found, stored = half(orthanc)
    [port] = free_ports(1)
    orthanc.know(SCU, port)
    peer = Peer(HOST, orthanc.port, called_ae=AE_TITLE, calling_ae=SCU, role="scu")
    rows = commit(peer, found, port=port, host=HOST, max_references=50, timeout=SECONDS)
    check(rows, found, stored)
    assert set(rows["ReportedBy"]) == {AE_TITLE}
    for transaction in set(rows["TransactionUID"]):
        assert orthanc.reported(transaction)["State"] == "Success"


def test_the_command_with_orthanc(orthanc, tmp_path):
    found, stored = half(orthanc)
    [port] = free_ports(1)
    orthanc.know(SCU, port)
    words = [
        *("commit", TEST_FILES, HOST, orthanc.port, "--called-ae", AE_TITLE, "--calling-ae", SCU),
        *("--listen-port", port, "--database", tmp_path / "requests"),
    ]
    done = run(*words)
    assert done.returncode == 1, done.stderr
    count = len(found.references)
    last = done.stdout.splitlines()[-1]
    assert last == f"{count} instances: {len(stored)} committed, {count - len(stored)} failed"
    assert "0x0112 No such object instance" in done.stdout
    assert "README.txt: not a DICOM file" in done.stderr

    done = run(*words, "--json")
    assert done.returncode == 1, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    check({name: [row[name] for row in rows] for name in rows[0]}, found, stored)

    files = [one.file for one in found.references if one[:2] in stored]
    done = run("commit", *files[:5], *words[2:])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "5 instances: 5 committed"


def test_the_requester_is_killed(orthanc, tmp_path):
    """The report of Orthanc arrives in the next run, and the instances are requested once."""
    missing = [(CTImageStorage, generate_uid()) for _ in range(2)]
    other_port, port = free_ports(2)
    # Orthanc does not reach the requester before its second run, which listens on this port.
    orthanc.know("REQUESTER", port)
    path = tmp_path / "requests"
    uids = [uid for _, uid in missing]
    with running(PROGRAM, "commit", orthanc.port, path, other_port, *uids) as program:
        job = until("the job of Orthanc", lambda: failed_job(orthanc))
        program.send_signal(signal.SIGKILL)
        program.ended()
    with running(PROGRAM, "commit", orthanc.port, path, port, *uids) as program:
        until("the listener", lambda: listens(port))
        orthanc.ask(f"/jobs/{job}/resubmit", {})
        assert program.hear("states")["states"] == ["failed", "failed"]
        assert program.ended() == 0


def failed_job(orthanc: Orthanc) -> str | None:
    """Return the job that could not report to the requester."""
    for job in orthanc.ask("/jobs?expand"):
        if job["State"] == "Failure" and job["Content"].get("RemoteAet") == "REQUESTER":
            return str(job["ID"])
    return None


# ---------------------------------------------------------------- Orthanc asks


@contextmanager
def asked(orthanc: Orthanc, stored: list[tuple[str, str]], **options: Any) -> Iterator[Any]:
    """Provide storage commitment to Orthanc."""
    peers = {AE_TITLE: Peer(HOST, orthanc.port, called_ae=AE_TITLE, calling_ae=SCP)}
    with provide(0, host=HOST, lookup=lookup_of(stored), peers=peers, **options) as provider:
        orthanc.know(SCP, provider.port)
        yield provider


def ask(orthanc: Orthanc, references: list[tuple[str, str]]) -> str:
    """Let Orthanc request commitment, and return the transaction."""
    instances = [
        {"SOPClassUID": sop_class, "SOPInstanceUID": instance} for sop_class, instance in references
    ]
    path = f"/modalities/{SCP}/storage-commitment"
    return str(orthanc.ask(path, {"DicomInstances": instances})["ID"])


def reported_to(orthanc: Orthanc, transaction: str) -> dict[str, Any]:
    """Wait for the report, and return what Orthanc has of it."""

    def found() -> dict[str, Any] | None:
        state = orthanc.ask(f"/storage-commitment/{transaction}")
        return None if state["Status"] == "Pending" else state

    return until(f"the report to {orthanc}", found)


CASES = [(1, 0), (0, 1), (3, 0), (0, 3), (2, 2), (5, 1), (1, 5), (10, 10), (400, 0), (0, 400)]
CASES += [(200, 200), (1000, 1)]


@pytest.mark.parametrize("same_association", [False, True], ids=["own", "same"])
@pytest.mark.parametrize(("good", "bad"), CASES, ids=str)
def test_orthanc_asks(orthanc, good, bad, same_association):
    stored = [(str(CTImageStorage), generate_uid()) for _ in range(good)]
    missing = [(str(MRImageStorage), generate_uid()) for _ in range(bad)]
    with asked(orthanc, stored, same_association=same_association) as provider:
        transaction = ask(orthanc, [*stored, *missing])
        answer = reported_to(orthanc, transaction)
        assert provider.wait(SECONDS), provider.transactions()
        assert provider.transactions()["StatusName"] == ["0x0000 Success"]
    assert answer["Status"] == ("Failure" if missing else "Success"), answer
    assert answer["RemoteAET"] == SCP
    found = [(one["SOPClassUID"], one["SOPInstanceUID"]) for one in answer["Success"]]
    assert found == stored
    failures = {
        (one["SOPClassUID"], one["SOPInstanceUID"]): one["FailureReason"]
        for one in answer["Failures"]
    }
    assert failures == dict.fromkeys(missing, 0x0112)


def test_orthanc_asks_the_command(orthanc, tmp_path):
    """The files of pydicom, of which a Parquet index has half."""
    found = read_references(TEST_FILES)
    stored = {one[:2] for one in found.references[::2]}
    index, peers = tmp_path / "index.parquet", tmp_path / "peers.toml"
    columns = {name: [pair[at] for pair in stored] for at, name in enumerate(COLUMNS)}
    pq.write_table(pa.table(columns), index)
    peers.write_text(f'[{AE_TITLE}]\nhost = "{HOST}"\nport = {orthanc.port}\n')
    words = ["provide-commitment", 0, "--index", index, "--peers", peers, "--ae-title", SCP]
    with running(Path("-m"), "fastdimse", *words, "--host", HOST) as program:
        orthanc.know(SCP, int(program.find(r"listening on \S+:(\d+)$")[1]))
        transaction = ask(orthanc, [one[:2] for one in found.references])
        answer = reported_to(orthanc, transaction)
        program.send_signal(signal.SIGINT)
        assert program.ended() == 0
        program.find("1 transaction: 1 reported", "stdout")
    committed = {(one["SOPClassUID"], one["SOPInstanceUID"]) for one in answer["Success"]}
    assert committed == stored
    assert len(answer["Failures"]) == len(found.references) - len(stored)
    assert dcmread(found.references[0].file).SOPInstanceUID


COLUMNS = ("SOPClassUID", "SOPInstanceUID")
