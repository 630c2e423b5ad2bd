"""Compressed CSV and NDJSON files of rows, read and written."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from fastdimse.cli.errors import InputError
from fastdimse.cli.row_files.read import open_rows
from fastdimse.cli.row_files.row_file import RowFile
from test_bulk_encode import EVENTS
from test_command_line import CAPTURE, REPORTS, REQUESTS, STREAM, ndjson, run, write

ZSTD = shutil.which("zstd")
SUFFIXES = [".gz", ".zst"]


def compress(data: bytes, suffix: str) -> bytes:
    """Return one gzip member, or one Zstandard frame."""
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def decompress(path: Path) -> bytes:
    """Return the content, decompressed by another program where it is installed."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if ZSTD is None:
        return pa.CompressedInputStream(str(path), "zstd").read()
    return subprocess.run([ZSTD, "-dc", path], capture_output=True, check=True).stdout


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", [".csv", ".ndjson", ".jsonl"])
def test_compressed_rows_give_the_same_stream(tmp_path, text, suffix):
    plain = write(tmp_path / f"in{'.ndjson' if text == '.jsonl' else text}").read_bytes()
    source, out = tmp_path / f"in{text}{suffix}", tmp_path / "out.bin"
    source.write_bytes(compress(plain, suffix))
    done = run("encode", source, "-o", out)
    assert done.returncode == 0, done.stderr.decode()
    assert out.read_bytes() == STREAM


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_structured_rows(tmp_path, suffix):
    plain, source = tmp_path / "in.ndjson", tmp_path / f"in.ndjson{suffix}"
    plain.write_text(REPORTS)
    source.write_bytes(compress(REPORTS.encode(), suffix))
    streams = [run("encode", path, "-o", "-").stdout for path in (plain, source)]
    assert streams[0]
    assert streams[1] == streams[0]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", [".csv", ".ndjson"])
def test_several_members_and_frames(tmp_path, text, suffix):
    plain = write(tmp_path / f"in{text}").read_bytes()
    source, out = tmp_path / f"in{text}{suffix}", tmp_path / "out.bin"
    source.write_bytes(
        b"".join(compress(plain[i : i + 97], suffix) for i in range(0, len(plain), 97))
    )
    done = run("encode", source, "-o", out)
    assert done.returncode == 0, done.stderr.decode()
    assert out.read_bytes() == STREAM


INCOMPLETE = "data is incomplete: the file is truncated"
DAMAGED = "data is damaged, or other bytes follow it"


def _changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize("text", [".csv", ".ndjson"])
@pytest.mark.parametrize(
    ("suffix", "damage", "reason"),
    [
        (".gz", lambda data: data[:-1], INCOMPLETE),
        (".gz", lambda data: data[:-8], INCOMPLETE),
        (".gz", lambda data: data[: len(data) // 2], INCOMPLETE),
        (".gz", lambda data: data[:5], INCOMPLETE),
        (".gz", lambda data: data + data[:5], INCOMPLETE),
        (".gz", lambda data: data + b"more", DAMAGED),
        (".gz", lambda data: data + bytes(8), DAMAGED),
        (".gz", lambda data: _changed(data, -8), DAMAGED),
        (".gz", lambda data: _changed(data, -1), DAMAGED),
        (".gz", gzip.decompress, DAMAGED),
        (".gz", lambda data: b"", "not gzip: the file is empty"),
        (".zst", lambda data: data[:-1], INCOMPLETE),
        (".zst", lambda data: data[: len(data) // 2], INCOMPLETE),
        (".zst", lambda data: data[:3], INCOMPLETE),
        (".zst", lambda data: data + data[:7], INCOMPLETE),
        (".zst", lambda data: data + b"more", DAMAGED),
        (".zst", lambda data: gzip.compress(b"text"), DAMAGED),
        (".zst", lambda data: b"", "not zstd: the file is empty"),
    ],
)
def test_damaged_files(tmp_path, text, suffix, damage, reason):
    plain = write(tmp_path / f"in{text}").read_bytes()
    source = tmp_path / f"damaged{text}{suffix}"
    source.write_bytes(damage(compress(plain, suffix)))
    with pytest.raises(InputError) as raised, open_rows(RowFile(str(source))) as rows:
        pa.table(rows)
    error = str(raised.value)
    assert error.startswith(f"{source}: cannot be read as {text[1:]}: ")
    assert reason in error
    assert "\n" not in error


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_leaves_no_output(tmp_path, suffix):
    source = tmp_path / f"in.csv{suffix}"
    source.write_bytes(compress(write(tmp_path / "in.csv").read_bytes(), suffix)[:-1])
    done = run("encode", source, "-o", tmp_path / "out.bin")
    error = done.stderr.decode()
    assert done.returncode == 2
    assert error.startswith(f"fastdimse: error: {source}: cannot be read as csv: ")
    assert INCOMPLETE in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", source.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("text", [".csv", ".ndjson"])
def test_decode_writes_compressed_rows(tmp_path, text, suffix):
    plain, out = tmp_path / f"out{text}", tmp_path / f"out{text}{suffix}"
    for path in (plain, out):
        done = run("decode", REQUESTS, "-o", path)
        assert done.returncode == 0, done.stderr.decode()
    assert decompress(out) == plain.read_bytes()
    again = run("encode", out, "-o", "-")
    assert again.stdout == run("encode", plain, "-o", "-").stdout


def test_structured_rows_of_a_capture_are_written_compressed(tmp_path):
    out = tmp_path / "out.ndjson.gz"
    done = run("decode", CAPTURE, "-o", out, "--data-sets", "structured")
    assert done.returncode == 0, done.stderr.decode()
    rows = [json.loads(line) for line in decompress(out).splitlines()]
    assert len(rows) == 24
    assert all("TransactionUID" in row["EventInformation"] for row in rows)


def test_rejections_are_written_compressed(tmp_path):
    source, rejects = tmp_path / "in.ndjson", tmp_path / "bad.csv.zst"
    columns = EVENTS | {"EventTypeID": [70000] * len(EVENTS["MessageID"])}
    source.write_bytes(ndjson(columns))
    done = run("encode", source, "-o", tmp_path / "out.bin", "--rejects", rejects)
    assert done.returncode == 1
    assert len(decompress(rejects).splitlines()) == 1 + len(EVENTS["MessageID"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("name", ["out.csv.gz", "out.ndjson.zst"])
def test_compressed_output_to_a_full_disk(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/full")
    done = run("decode", REQUESTS, "-o", tmp_path / name)
    error = b"fastdimse: error: [Errno 28] No space left on device\n"
    assert (done.returncode, done.stderr) == (2, error)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("encode", "in.parquet.gz", "-o", "out.bin"), "parquet files compress their own content"),
        (("encode", "in.gz", "-f", "arrow", "-o", "out.bin"), "arrow files compress their own"),
        (("encode", "in.gz", "-o", "out.bin"), "unknown suffix '.gz'"),
        (("encode", "in.bin.zst", "-o", "out.bin"), "not streams and captures"),
        (("encode", "in.ndjson", "-o", "out.bin.gz"), "not streams and captures"),
        (("decode", REQUESTS, "-o", "out.parquet.gz"), "parquet files compress their own content"),
    ],
)
def test_only_text_is_compressed(tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr.decode()
    assert list(tmp_path.iterdir()) == []


def test_format_of_a_compressed_file_with_another_name(tmp_path):
    source = tmp_path / "events.log.gz"
    source.write_bytes(gzip.compress(ndjson(EVENTS)))
    done = run("encode", source, "-f", "ndjson", "-o", "-")
    assert done.stdout == STREAM


# The command under a limit of its address space, in which the content does not fit twice.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
import fastdimse.cli
fastdimse.cli.main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
@pytest.mark.parametrize("text", [".csv", ".ndjson"])
@pytest.mark.parametrize(
    "header", [b"", b"AffectedSOPClassUID,AffectedSOPInstanceUID,EventTypeID\n"]
)
def test_a_line_of_two_gigabytes(tmp_path, text, header):
    source = tmp_path / f"in{text}.gz"
    member = gzip.compress(bytes(64 << 20), 1)
    source.write_bytes((gzip.compress(header) if header else b"") + member * 32)
    command = [sys.executable, "-c", LIMITED, "encode", str(source), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)
    error = " ".join(done.stderr.decode().split())
    if text == ".csv" and not header:
        assert done.returncode == 2, done.stderr
        assert "its first row is longer than 16 MiB" in error
        assert list(tmp_path.iterdir()) == [source]
    else:
        assert done.returncode == 1, done.stderr
        assert "too-long" in error
