"""Exit codes of the command line, as docs/command_line.md lists them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastdimse.cli.exit_codes import ExitCode
from test_command_line import REQUESTS, ROW, run

FASTDIMSE = [sys.executable, "-m", "fastdimse"]


def test_every_exit_code_is_documented():
    helped = run("--help").stdout.decode()
    page = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^ +{code.value} +\w", helped, re.M), code
        assert re.search(rf"^\| {code.value} \| \w", page, re.M), code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("decode", REQUESTS), ExitCode.SUCCESS),
        (("--version",), ExitCode.SUCCESS),
        (("validate", "wrong.ndjson"), ExitCode.INCOMPLETE),
        (("encode", "wrong.ndjson", "-o", "out.bin"), ExitCode.INCOMPLETE),
        (("decode", "cut.bin"), ExitCode.INCOMPLETE),
        (("send", "wrong.ndjson", "127.0.0.1", 1, "--give-up-after", 0), ExitCode.INCOMPLETE),
        (("echo", "127.0.0.1", 1), ExitCode.INCOMPLETE),
        (("nonsense",), ExitCode.ERROR),
        (("decode",), ExitCode.ERROR),
        (("decode", REQUESTS, "--head", -1), ExitCode.ERROR),
        (("decode", "nowhere.bin"), ExitCode.ERROR),
        (("decode", REQUESTS, "-o", "nowhere/out.parquet"), ExitCode.ERROR),
        (("receive", 70000, "-o", "events"), ExitCode.ERROR),
    ],
)
def test_exit_codes(tmp_path, monkeypatch, arguments, code):
    monkeypatch.chdir(tmp_path)
    Path("wrong.ndjson").write_text(ROW.replace("1.2.3", "wrong") + "\n")
    Path("cut.bin").write_bytes(REQUESTS.read_bytes()[:-100])
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    if code == ExitCode.ERROR:
        assert re.fullmatch(r"fastdimse: error: .+\n", done.stderr.decode())


def test_numbers_out_of_range():
    done = run("decode", REQUESTS, "--head", -1)
    assert b"'--head': must be at least 0, not -1" in done.stderr
    done = run("echo", "127.0.0.1", 0)
    assert b"'PORT': must be 1 to 65535, not 0" in done.stderr


pipes = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pipes
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_signal_removes_the_unfinished_output(tmp_path, number, code):
    out = tmp_path / "out.bin"
    command = [*FASTDIMSE, "encode", "-", "-f", "csv", "-o", str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    try:
        row = b"1.2.3,1.2.3,1\n"
        process.stdin.write(b"AffectedSOPClassUID,AffectedSOPInstanceUID,EventTypeID\n" + row)
        process.stdin.flush()
        time.sleep(2)
        process.send_signal(number)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == code, error
    assert b"Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pipes
@pytest.mark.parametrize("arguments", [("decode", REQUESTS), ("decode", "--help"), ("--version",)])
def test_a_reader_that_closes_standard_output(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [*FASTDIMSE, *map(str, arguments)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (ExitCode.BROKEN_PIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "arguments", [("decode", REQUESTS), ("decode", REQUESTS, "--json"), ("--help",), ("--version",)]
)
def test_full_standard_output(arguments):
    command = [*FASTDIMSE, *map(str, arguments)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == ExitCode.ERROR
    assert done.stderr == b"fastdimse: error: [Errno 28] No space left on device\n"


@pipes
def test_closed_standard_streams(tmp_path):
    def close(stream: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        words = ["sh", "-c", f'exec "$@" {stream}&-', "sh", *FASTDIMSE, *map(str, arguments)]
        return subprocess.run(words, capture_output=True, timeout=60, check=False)

    done = close("1>", "decode", REQUESTS)
    error = b"fastdimse: error: standard output is closed\n"
    assert (done.returncode, done.stderr) == (ExitCode.ERROR, error)
    done = close("2>", "decode", tmp_path / "nowhere.bin")
    assert (done.returncode, done.stdout) == (ExitCode.ERROR, b"")
