"""``--json`` of every command: its schema in docs/schemas, and jq."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from jsonschema import Draft202012Validator, ValidationError

from fastdimse import listen
from fastdimse.cli import app
from processes import Program
from scripted_peer import HOST
from test_command_line import CAPTURE, REQUESTS, ROW, run
from test_commit_command import started, write_files
from test_ups_watch import STEPS, report, watched

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
COMMANDS = list(typer.main.get_command(app).commands)


def checked(command: str, printed: bytes | str) -> list[Any]:
    """Return the values that a command printed, each on a line, after a check of each."""
    text = printed.encode() if isinstance(printed, str) else printed
    schema = json.loads((SCHEMAS / f"{command}.json").read_text())
    values = [json.loads(line) for line in text.splitlines()]
    assert values
    for value in values:
        Draft202012Validator(schema).validate(value)
    if shutil.which("jq") is None and not os.environ.get("CI"):
        return values
    read = subprocess.run(["jq", "-c", "."], input=text, capture_output=True, check=True)
    assert [json.loads(line) for line in read.stdout.splitlines()] == values
    return values


def test_every_command_has_a_schema():
    assert {path.stem for path in SCHEMAS.iterdir()} == set(COMMANDS)
    page = (SCHEMAS.parent / "command_line.md").read_text()
    for name, command in typer.main.get_command(app).commands.items():
        assert "--json" in [option for one in command.params for option in one.opts], name
        assert f"(schemas/{name}.json)" in page
        schema = json.loads((SCHEMAS / f"{name}.json").read_text())
        Draft202012Validator.check_schema(schema)
        # The schema forbids other properties.
        with pytest.raises(ValidationError):
            Draft202012Validator(schema).validate({"other": 1})


def rows_file(folder: Path) -> Path:
    """Write a valid and an invalid row."""
    path = folder / "rows.ndjson"
    path.write_text(f"{ROW}\n{ROW.replace('1.2.3', 'wrong')}\n")
    return path


def test_encode(tmp_path):
    rows, stream = rows_file(tmp_path), tmp_path / "out.bin"
    done = run("encode", rows, "-o", stream, "--json")
    size = stream.stat().st_size
    assert checked("encode", done.stdout) == [{"messages": 1, "bytes": size, "rejected": 1}]
    done = run("encode", rows, "-o", tmp_path / "out.pcap", "--json")
    [found] = checked("encode", done.stdout)
    assert (found["rows"], found["rejected"]) == (1, 1)
    done = run("encode", rows, "-o", "-", "--json")
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize(
    ("path", "options"),
    [
        (REQUESTS, ()),
        (REQUESTS, ("--data-sets", "dicom-json")),
        (CAPTURE, ()),
        (CAPTURE, ("--actions",)),
        (CAPTURE, ("--names", "--data-sets", "structured")),
    ],
)
def test_decode(path, options):
    done = run("decode", path, "--json", *options)
    found = checked("decode", done.stdout)
    assert len(found) == 24
    assert {row["Status"] for row in found if "Status" in row} <= {0}


def test_validate(tmp_path):
    rows = rows_file(tmp_path)
    [found] = checked("validate", run("validate", rows, "--json").stdout)
    assert (found["row"], found["code"]) == (1, "uid")
    [first, second] = checked("validate", run("validate", rows, rows, "--json").stdout)
    assert (first["file_row"], second["row"], second["file"]) == (1, 3, str(rows))


def test_send_and_echo(tmp_path):
    with listen(0, host=HOST) as listener:
        done = run("send", REQUESTS, HOST, listener.port, "--json")
        [found] = checked("send", done.stdout)
        [peer] = found["peers"]
        assert peer["statuses"] == [{"status": 0, "name": "0x0000 Success", "events": 24}]
        assert (peer["completed"], peer["due"], peer["failures"]) == (24, 0, [])
        assert 0 < peer["median"] <= peer["percentile_99"] < found["seconds"]
        options = ("--count", 2, "--interval", 0)
        done = run("echo", HOST, listener.port, "--json", *options)
        assert [one["request"] for one in checked("echo", done.stdout)] == [1, 2]
        port = listener.port
    done = run("echo", HOST, port, "--json")
    assert done.returncode == 1
    [found] = checked("echo", done.stdout)
    assert found["latency"] is None
    assert "no connection" in found["error"]
    done = run("send", rows_file(tmp_path), HOST, port, "--json", "--give-up-after", 0)
    assert done.returncode == 1
    [found] = checked("send", done.stdout)
    assert found["peers"][0]["due"] + len(found["peers"][0]["failures"]) == 2


@pytest.mark.parametrize("options", [(), ("--log-format", "json")])
def test_receive(tmp_path, options):
    words = ("receive", 0, "-o", tmp_path, "--host", HOST, "--stop-after", 24, "--json", *options)
    program = Program(Path("-m"), "fastdimse", *words)
    try:
        port = program.find(r"listening on [\d.]+:(\d+)")[1]
        assert run("send", REQUESTS, HOST, port).returncode == 0
        [found] = checked("receive", program.line())
        assert (found["events"], found["files"]) == (24, 1)
        assert (found["failures"], found["unwritten"]) == ({}, {})
        assert program.ended() == 0
    finally:
        program.close()


def ended_with_a_signal(program: Program) -> str:
    """End a program, and return its last line on standard output."""
    program.send_signal(signal.SIGTERM)
    assert program.ended() == 0
    return program.line()


def test_commit_and_provide_commitment(tmp_path):
    references = write_files(tmp_path / "study", 2)
    index = tmp_path / "index.parquet"
    classes, uids = zip(*references[:1], strict=True)
    pq.write_table(pa.table({"SOPInstanceUID": uids, "SOPClassUID": classes}), index)
    program, port = started("--index", index, "--json")
    try:
        done = run("commit", tmp_path / "study", HOST, port, "--json", "--timeout", 20)
        found = checked("commit", done.stdout)
        assert [row["State"] for row in found] == ["committed", "failed"]
        assert [row["FailureReason"] for row in found] == [None, 0x0112]
        printed = ended_with_a_signal(program)
        assert checked("provide-commitment", printed) == [
            {"transactions": 1, "states": {"reported": 1}}
        ]
    finally:
        program.close()


def test_watch():
    with watched("--ups", STEPS[0], "--json", "--stop-after", 2) as (scp, watcher):
        [first] = checked("watch", watcher.line())
        assert first["AffectedSOPInstanceUID"] == STEPS[0]
        report(scp, STEPS[0], 3, ProcedureStepProgressInformationSequence=[])
        [second] = checked("watch", watcher.line())
        assert second["EventTypeID"] == 3
        assert watcher.ended() == 0


def test_bench():
    [found] = checked("bench", run("bench", "--rows", 10, "--repeat", 1, "--json").stdout)
    assert {figure["library"] for figure in found["figures"]} == {"fastdimse", "pynetdicom"}


def test_json_is_utf8_in_every_locale(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    rows = tmp_path / "Röntgen.ndjson"
    rows_file(tmp_path).rename(rows)
    done = run("validate", rows, rows, "--json")
    assert {row["file"] for row in checked("validate", done.stdout)} == {str(rows)}
