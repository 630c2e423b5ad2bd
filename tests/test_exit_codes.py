"""Exit codes of the command line, as docs/command_line.md lists them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from fastdimse.cli import app
from fastdimse.cli.exit_codes import ExitCode
from test_command_line import REQUESTS, ROW, run

PAGE = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text()
FASTDIMSE = [sys.executable, "-m", "fastdimse"]


def test_every_exit_code_is_documented():
    helped = run("--help").stdout.decode()
    for code in ExitCode:
        assert re.search(rf"^ +{code.value} +\w", helped, re.M), code
        assert re.search(rf"^\| {code.value} \| \w", PAGE, re.M), code


def test_help_of_a_command_lists_its_exit_codes():
    """The table by command in the page has the same texts as ``--help``."""
    rows = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \|$", PAGE.partition("code 1 |")[2], re.M)
    assert {name for name, *_ in rows} == set(typer.main.get_command(app).commands)
    for name, incomplete, signals in rows:
        helped = " ".join(run(name, "--help").stdout.decode().split())
        codes = helped.partition("Exit codes: ")[2]
        assert codes.startswith("0 success")
        if incomplete == "not used":
            assert " 1 " not in codes
        else:
            assert f" 1 {incomplete.replace('`', '')} 2 " in codes
        assert ("second signal" in signals) == ("second signal" in codes)


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
        deadline = time.monotonic() + 30
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
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
    "arguments",
    [
        ("decode", REQUESTS),
        ("decode", REQUESTS, "--json"),
        ("encode", "wrong.ndjson", "-o", "-"),
        ("validate", "wrong.ndjson"),
        ("validate", "wrong.ndjson", "--json"),
        ("bench", "--rows", 10, "--repeat", 1),
        ("bench", "--rows", 10, "--repeat", 1, "--json"),
        ("--help",),
        ("send", "--help"),
        ("--version",),
        ("--show-completion", "bash"),
    ],
)
def test_full_standard_output(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    lines = [ROW, ROW.replace("1.2.3", "wrong")]
    Path("wrong.ndjson").write_text("\n".join(lines) + "\n")
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
    done = close("0<", "encode", "-", "-f", "ndjson", "-o", tmp_path / "out.bin")
    error = b"fastdimse: error: standard input is closed\n"
    assert (done.returncode, done.stderr) == (ExitCode.ERROR, error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_standard_error(tmp_path):
    """The exit code is the same as without it."""
    rows = tmp_path / "wrong.ndjson"
    rows.write_text(ROW.replace("1.2.3", "wrong") + "\n")
    command = [*FASTDIMSE, "encode", str(rows), "-o", str(tmp_path / "out.bin")]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.INCOMPLETE, b"")


# ------------------------------------------------------------------ tracebacks

TRACEBACK = b"Traceback (most recent call last):\n"


def run_program(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run a Python program with the arguments of the command line."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_traceback_of_an_error(monkeypatch):
    error = b"fastdimse: error: [Errno 2] No such file or directory: 'nowhere.bin'\n"
    done = run("decode", "nowhere.bin")
    assert (done.returncode, done.stderr) == (ExitCode.ERROR, error)
    for arguments in (
        ("--traceback", "decode", "nowhere.bin"),
        ("decode", "nowhere.bin", "--traceback"),
    ):
        done = run(*arguments)
        assert done.returncode == ExitCode.ERROR
        assert done.stderr.startswith(TRACEBACK)
        assert done.stderr.endswith(b"'nowhere.bin'\n" + error)
    monkeypatch.setenv("FASTDIMSE_TRACEBACK", "0")
    assert run("decode", "nowhere.bin").stderr == error
    monkeypatch.setenv("FASTDIMSE_TRACEBACK", "1")
    assert run("decode", "nowhere.bin").stderr.startswith(TRACEBACK)
    # After --, it is an argument.
    done = run("decode", "--", "--traceback")
    assert done.stderr.endswith(b"No such file or directory: '--traceback'\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            "TypeError('of a\\nbug')",
            b"fastdimse: internal error: TypeError: of a; --traceback shows where\n",
        ),
        ("MemoryError()", b"fastdimse: error: out of memory\n"),
    ],
)
def test_unexpected_exception(error, line):
    program = f"""if True:
        import sys
        import fastdimse.cli, fastdimse.__main__
        def Peer(*arguments, **options):
            raise {error}
        sys.modules["fastdimse.cli.echo"].Peer = Peer
        fastdimse.__main__.main()
    """
    done = run_program(program, "echo", "127.0.0.1", 104)
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.ERROR, b"", line)
    done = run_program(program, "echo", "127.0.0.1", 104, "--traceback")
    assert done.returncode == ExitCode.ERROR
    assert done.stderr.startswith(TRACEBACK)
    assert done.stderr.endswith(line)


@pipes
def test_exit_while_another_thread_reads_standard_input():
    """A thread of pyarrow that waits for standard input does not abort the process."""
    program = """if True:
        import sys, threading, time
        import pyarrow.csv
        import fastdimse.cli, fastdimse.__main__
        def Peer(*arguments, **options):
            pyarrow.csv.open_csv(sys.stdin.buffer)
        def decode(*arguments, **options):
            waiting = threading.Thread(target=Peer, daemon=True)
            waiting.start()
            time.sleep(1)
            raise KeyboardInterrupt
        sys.modules["fastdimse.cli.echo"].Peer = decode
        fastdimse.__main__.main()
    """
    command = [sys.executable, "-c", program, "echo", "127.0.0.1", "104"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stderr is not None
    try:
        process.stdin.write(b"a,b\n1,2\n")
        process.stdin.flush()
        assert process.wait(timeout=60) == ExitCode.INTERRUPTED
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.communicate()
