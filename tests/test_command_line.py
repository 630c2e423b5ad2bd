"""The command line, as a program of its own."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

from fastdimse.cli import files
from test_bulk_encode import EVENTS, SCHEMA, oracle_bytes, rows_of

EXAMPLES = Path(__file__).parent.parent / "examples"
REQUESTS = EXAMPLES / "orthanc-storage-commitment.requests.bin"
STREAM = oracle_bytes(rows_of(EVENTS))
DATA_SETS = ("EventInformation", "EventReply")


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program."""
    command = [sys.executable, "-m", "fastdimse", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def ndjson(columns: dict[str, list[Any]]) -> bytes:
    """Write events as NDJSON, data sets in base64."""
    lines = []
    for row in rows_of(columns):
        shown = {
            name: base64.b64encode(value).decode() if name in DATA_SETS else value
            for name, value in row.items()
            if value is not None
        }
        lines.append(json.dumps(shown) + "\n")
    return "".join(lines).encode()


def write(path: Path) -> Path:
    """Write the events in the format that the suffix names."""
    table = pa.table(EVENTS, schema=SCHEMA)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(table, path)
    elif path.suffix == ".ndjson":
        path.write_bytes(ndjson(EVENTS))
    else:
        for name in DATA_SETS:
            text = [value and base64.b64encode(value).decode() for value in EVENTS[name]]
            table = table.set_column(table.column_names.index(name), name, pa.array(text))
        pyarrow.csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".ndjson", ".csv"])
def test_every_format_in_and_out(tmp_path, suffix):
    stream, back, again = (tmp_path / name for name in ("out.bin", f"back{suffix}", "again.bin"))
    for arguments in (
        ("encode", write(tmp_path / f"in{suffix}"), "-o", stream),
        ("decode", stream, "-o", back),
        ("encode", back, "-o", again),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr.decode()
    assert stream.read_bytes() == STREAM
    assert again.read_bytes() == STREAM


def test_pipes():
    encoded = run("encode", "-", "--format", "ndjson", "-o", "-", stdin=ndjson(EVENTS))
    assert (encoded.returncode, encoded.stdout) == (0, STREAM)
    decoded = run("decode", "-", "--json", stdin=STREAM)
    assert decoded.returncode == 0
    rows = [json.loads(line) for line in decoded.stdout.splitlines()]
    assert [row.get("MessageID") for row in rows] == EVENTS["MessageID"]
    assert base64.b64decode(rows[0]["EventInformation"]) == b"information"


def test_the_real_stream_as_a_table():
    done = run("decode", REQUESTS)
    assert done.returncode == 0
    text = done.stdout.decode()
    assert text.count("request ") >= 24
    assert "24" in text.splitlines()[-1]


def test_rejected_rows(tmp_path):
    columns = {**EVENTS, "AffectedSOPInstanceUID": ["1.02", None, "1.2.3.4"]}
    source, stream, rejects = (tmp_path / name for name in ("in.ndjson", "out.bin", "rejects.csv"))
    source.write_bytes(ndjson(columns))
    done = run("encode", source, "-o", stream, "--rejects", rejects)
    assert done.returncode == 1
    assert stream.read_bytes() == oracle_bytes(rows_of(columns)[1:])
    [rejected] = pyarrow.csv.read_csv(rejects).to_pylist()
    assert (rejected["row"], rejected["field"]) == (0, "AffectedSOPInstanceUID")

    done = run("validate", source, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "uid"
    assert run("validate", source, "--lenient-uids").returncode == 0
    source.write_bytes(ndjson(EVENTS))
    assert run("validate", source).returncode == 0


def test_a_stream_that_breaks_off(tmp_path):
    path, rows = tmp_path / "broken.bin", tmp_path / "rows.parquet"
    path.write_bytes(STREAM + STREAM[:50])
    done = run("decode", path, "-o", rows)
    assert done.returncode == 1
    assert str(len(STREAM)) in done.stderr.decode()
    assert pyarrow.parquet.read_table(rows).num_rows == len(EVENTS["MessageID"])


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("missing.parquet", None, ()),
        ("in.parquet", b"no parquet", ()),
        ("in.unknown", b"", ()),
        ("in.ndjson", b'{"Eventtype": 1}\n', ()),
        ("in.ndjson", b"{", ()),
        ("in.ndjson", ndjson(EVENTS), ("--max-pdu-length", 3)),
        ("in.ndjson", ndjson(EVENTS), ("--framing", "none")),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, arguments):
    source, stream = tmp_path / name, tmp_path / "out.bin"
    stream.write_bytes(b"what was there")
    if content is not None:
        source.write_bytes(content)
    done = run("encode", source, "-o", stream, *arguments)
    error = done.stderr.decode()
    assert (done.returncode, "Traceback" in error) == (2, False), error
    assert error.strip()
    # Nothing is left half done.
    assert stream.read_bytes() == b"what was there"
    assert {path.name for path in tmp_path.iterdir()} <= {name, "out.bin"}


def test_bench_and_version():
    done = run("bench", "--rows", 1000, "--repeat", 1, "--json")
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)
    assert run("--version").stdout.decode().split()[-1].count(".") == 2
    assert run("nonsense").returncode == 2
    assert io.BytesIO(run("--help").stdout).read().count(b"encode") >= 1


def test_blocks_of_lines_are_one_file(tmp_path, monkeypatch):
    source = tmp_path / "in.ndjson"
    lines = ndjson({name: values * 50 for name, values in EVENTS.items()})
    source.write_bytes(lines.rstrip(b"\n"))
    with files.open_rows(str(source)) as rows:
        whole = pa.table(rows)
    monkeypatch.setattr(files, "_BLOCK_BYTES", 700)
    with files.open_rows(str(source)) as rows:
        assert pa.table(rows).equals(whole)
    source.write_bytes(lines + b'{"Unknown": 1}\n')
    with (
        pytest.raises(files.InputError, match="unexpected"),
        files.open_rows(str(source)) as rows,
    ):
        pa.table(rows)
