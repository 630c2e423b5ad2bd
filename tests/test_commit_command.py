"""``fastdimse commit`` and ``fastdimse provide-commitment``, as processes that ask each other."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from commitment_peer import HOST, listens, providing, references_in, requesting
from fastdimse.storage_commitment import provide
from orthanc import free_ports
from processes import Program, running

STATES = ["committed", "committed", "failed", "failed"]


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the program, with a width in which no table is wrapped."""
    command = [sys.executable, "-m", "fastdimse", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "1000"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def write_files(folder: Path, count: int) -> list[tuple[str, str]]:
    """Write DICOM files and a text, and return the references of the files."""
    folder.mkdir()
    (folder / "notes.txt").write_text("CT of the head")
    references = []
    for number in range(count):
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        references.append((str(made.SOPClassUID), str(made.SOPInstanceUID)))
    return references


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, list[tuple[str, str]]]:
    """A folder with four instances, and their references."""
    return tmp_path / "study", write_files(tmp_path / "study", 4)


@pytest.fixture
def index(tmp_path: Path, study: Any) -> Path:
    """An index with the first two instances, and the third one as an instance of another class."""
    _, references = study
    classes = [CTImageStorage, CTImageStorage, MRImageStorage]
    uids = [uid for _, uid in references[:3]]
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table({"SOPInstanceUID": uids, "SOPClassUID": classes}), path)
    return path


def started(*words: object) -> tuple[Program, int]:
    """Start ``fastdimse provide-commitment``, and return its port."""
    program = Program(Path("-m"), "fastdimse", "provide-commitment", "0", "--host", HOST, *words)
    return program, int(program.find(r"listening on \S+:(\d+)$")[1])


def test_a_folder_and_an_index(study, index, tmp_path):
    folder, references = study
    program, port = started("--index", index, "--ae-title", "PACS")
    try:
        words = ("commit", folder, HOST, port, "--called-ae", "PACS", "--timeout", 20)
        done = run(*words)
        assert done.returncode == 1, done.stderr
        assert f"not requested: {folder / 'notes.txt'}: not a DICOM file" in done.stderr
        assert f"requesting commitment of 4 instances from PACS@{HOST}:{port}" in done.stderr
        lines = done.stdout.splitlines()
        assert lines[-1] == "4 instances: 2 committed, 2 failed"
        for (_, uid), state in zip(references, STATES, strict=True):
            [line] = [line for line in lines if uid in line]
            assert state in line
        assert "0x0119 Class-instance conflict" in done.stdout
        assert "0x0112 No such object instance" in done.stdout

        done = run(*words, "--json")
        assert done.returncode == 1, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert [row["State"] for row in rows] == STATES
        assert [row["FailureReason"] for row in rows] == [None, None, 0x0119, 0x0112]
        assert [Path(row["File"]).name for row in rows] == [f"{n}.dcm" for n in range(4)]
        assert all(re.match(r"\d{4}-\d\d-\d\dT", row["Reported"]) for row in rows)

        done = run("commit", folder / "0.dcm", folder / "1.dcm", *words[2:])
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "2 instances: 2 committed"

        done = run(*words, "--head", 1)
        assert "... and 3 more" in done.stdout
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        program.find("4 transactions: 4 reported", "stdout")
    finally:
        program.close()
        print(program)


def test_a_peer_that_does_not_report(study):
    folder, _ = study
    with providing(set(), "own") as provider:
        done = run("commit", folder, HOST, provider.port, "--timeout", 0.5)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "4 instances: 4 late"


def test_a_report_on_an_association_of_the_peer(study, tmp_path):
    """The command is killed before the report arrives, and waits again."""
    folder, references = study
    [port] = free_ports(1)
    with providing(set(references[:2]), "own") as provider:
        words = [
            *("commit", folder, HOST, provider.port, "--calling-ae", "REQUESTER"),
            *("--called-ae", "PROVIDER", "--listen-port", port, "--timeout", 30),
            *("--database", tmp_path / "requests"),
        ]
        for number in range(2):
            with running(Path("-m"), "fastdimse", *words) as program:
                program.find("requesting commitment")
                if number == 0:
                    wait_for(lambda: provider.requests)
                    program.send_signal(signal.SIGKILL)
                    continue
                wait_for(lambda: listens(port))
                provider.report_on_own(port)
                program.find("4 instances: 2 committed, 2 failed", "stdout")
                assert program.ended() == 1
    [request] = provider.requests
    assert references_in(request) == references


def wait_for(condition: Any) -> None:
    """Wait until a condition is true."""
    from orthanc import until

    until("the condition", condition)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("missing", HOST, 104), "No such file or directory: 'missing'"),
        (("{text}", HOST, 104), "no DICOM instances in {text}"),
        (("{study}", HOST, 1), "ANY-SCP@127.0.0.1:1: no connection"),
        (("{study}", HOST, 104, "--timeout", -1), "must be at least 0, not -1"),
        (("{study}", HOST, 104, "--database", "{text}"), "file is not a database"),
    ],
    ids=["missing", "no instances", "no connection", "timeout", "database"],
)
def test_errors_of_commit(study, words, text):
    folder, _ = study
    names = {"study": folder, "text": folder / "notes.txt"}
    (folder / "notes.txt").write_text("no database " * 100)
    done = run("commit", *(str(word).format_map(names) for word in words))
    assert done.returncode == 2
    assert done.stdout == ""
    assert text.format_map(names) in done.stderr.splitlines()[-1]


def test_errors_of_provide_commitment(index, tmp_path):
    peers = tmp_path / "peers.toml"
    peers.write_text("[A]\nhost = 5\n")
    for words, text in (
        (("--index", tmp_path / "missing"), "No such file or directory"),
        (("--index", index, "--peers", peers), "peers.toml: [A]: port missing"),
        (("--index", index, "--peers", tmp_path / "missing"), "No such file or directory"),
        ((), "Missing option '--index'"),
    ):
        done = run("provide-commitment", 0, "--host", HOST, *words)
        assert done.returncode == 2
        assert text in done.stderr.splitlines()[-1], done.stderr


def test_a_provider_that_is_killed(study, index, tmp_path):
    """The next run reports to the peer of the requester."""
    _, references = study
    [port] = free_ports(1)
    peers = tmp_path / "peers.toml"
    peers.write_text(f'[REQUESTER]\nhost = "{HOST}"\nport = {port}\n')
    words = ("--index", index, "--peers", peers, "--database", tmp_path / "requests")
    with requesting() as requester:
        program, own_port = started(*words, "--own-association")
        try:
            with requester.associated(own_port) as association:
                assert requester.ask(association, "1.2.3", references) == 0x0000
            program.send_signal(signal.SIGKILL)
        finally:
            program.close()
            print(program)
        requester.listen(port)
        program, _ = started(*words)
        try:
            _, information, is_own = requester.reports.get(timeout=30)
            assert is_own
            assert references_in(information) == references[:2]
        finally:
            program.close()
            print(program)


def test_the_log_of_requests(study, index):
    """Each request has a line, and control characters of peers are escaped."""
    _, references = study
    program, port = started("--index", index)
    try:
        with requesting() as requester, requester.associated(port) as association:
            assert requester.ask(association, "1.2.3", references) == 0x0000
            requester.reports.get(timeout=30)
        program.find(r"REQUESTER: 1\.2\.3: 2 of 4 instances committed, reported on its association")
    finally:
        program.close()
        print(program)


def test_ports_and_peers_of_the_library(tmp_path):
    with pytest.raises(TypeError, match=r"peers\['A'\] must be a Peer, not tuple"):
        provide(0, lookup=lambda references: [], peers={"A": (HOST, 104)})
