"""Files of ``fastdimse receive``: they contain each event with the response Success."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import pytest

from fastdimse import Delivery, Peer, ReceivedEvents, connect, listen
from fastdimse.cli.received_files import writer as received_files
from fastdimse.cli.received_files.writer import ReceivedFiles
from fastdimse.cli.row_files.formats import RowFormat
from fastdimse.cli.row_files.write import RowWriter
from outbox_sender import COMMITMENT, numbered
from scripted_peer import HOST
from test_command_line import run
from test_outbox import instances, until
from test_receive_command import Receiver, received
from test_send_command import reports


def sent(port: int, first: int, end: int) -> list[int]:
    """Send numbered events, and return their Statuses."""
    with connect(HOST, port, window=4) as talk:
        rows = islice(numbered(end), first, None)
        statuses: list[int] = talk.send(rows).to_pydict()["Status"]
    return statuses


def found(folder: Path) -> list[str]:
    """Return the instances in all complete files."""
    return [row["AffectedSOPInstanceUID"] for row in received(folder)]


# ------------------------------------------------------------ several processes


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("format", ["parquet", "arrow", "ndjson"])
def test_two_receivers_with_one_directory(tmp_path, end, format):
    """A rolling restart: the second receiver does not touch the file of the first."""
    folder, link = tmp_path / "events", tmp_path / "link"
    one = Receiver(folder, "--format", format)
    link.symlink_to(folder)
    programs = [one]
    try:
        assert sent(one.listens_on, 0, 201) == [0] * 201
        [part] = folder.glob("*.part")
        two = Receiver(link, "--format", format)
        programs.append(two)
        assert f"{part.name}: in use by another process" in str(two)
        assert sent(two.listens_on, 201, 205) == [0] * 4
        assert sent(one.listens_on, 205, 210) == [0] * 5
        for program in programs:
            program.send_signal(end)
            assert program.ended() == (0 if end == signal.SIGINT else -end)
        again = Receiver(folder, "--format", format)
        programs.append(again)
        assert str(again).count("of a run that was killed") == (2 if end == signal.SIGKILL else 0)
    finally:
        for program in programs:
            program.close()
    assert sorted(found(folder)) == sorted(instances(210))
    assert len(received(folder)) == 210


def test_file_is_recovered_once(tmp_path):
    one = Receiver(tmp_path)
    try:
        assert sent(one.listens_on, 0, 5000) == [0] * 5000
        one.send_signal(signal.SIGKILL)
        one.ended()
    finally:
        one.close()
    command = [sys.executable, "-m", "fastdimse", "receive", "0", "-o", tmp_path, "--host", HOST]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    log = ""
    for process in started:
        assert process.stderr is not None
        while "listening on" not in (line := process.stderr.readline()):
            assert line, process.wait()
            log += line
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert log.count("5,000 events of a run that was killed") == 1
    assert sorted(found(tmp_path)) == sorted(instances(5000))


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_killed_after_the_complete_file_was_written(tmp_path, format):
    """No event is in two files, and no incomplete file is left."""
    program = Receiver(tmp_path, "--format", "parquet")
    try:
        assert sent(program.listens_on, 0, 5) == [0] * 5
        [part] = tmp_path.glob("*.part")
        stream = part.read_bytes()
        program.send_signal(signal.SIGINT)
        program.ended()
        part.write_bytes(stream)
        part.with_suffix("").with_suffix(".parquet.aside").write_bytes(b"half of it")
        again = Receiver(tmp_path, "--format", format)
        again.close()
    finally:
        program.close()
    assert found(tmp_path) == instances(5)
    assert len(list(tmp_path.iterdir())) == 1


def test_other_files_are_kept(tmp_path):
    for name in ("film.part", "film.ndjson.part", "events.arrows.part"):
        (tmp_path / name).write_text("half a line")
    program = Receiver(tmp_path)
    try:
        program.send_signal(signal.SIGINT)
        assert program.ended() == 0
    finally:
        program.close()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"half a line"}
    assert len(list(tmp_path.iterdir())) == 3


# ------------------------------------------------------------ end of a receiver


def test_signal_during_a_rotation(tmp_path):
    """The file in progress is completed, and the receiver ends in order."""
    program = Receiver(tmp_path, "--rotate-seconds", "1")
    try:
        columns = {
            "AffectedSOPClassUID": COMMITMENT,
            "AffectedSOPInstanceUID": instances(50_000),
            "EventTypeID": 1,
        }
        with connect(HOST, program.listens_on, window=0) as talk:
            assert talk.send(columns).answered == 50_000
        until(lambda: list(tmp_path.glob("*.aside")))
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        assert "50,000 events in" in str(program)
    finally:
        program.close()
    assert sorted(found(tmp_path)) == sorted(instances(50_000))
    assert {path.suffix for path in tmp_path.iterdir()} == {".parquet"}


@pytest.mark.parametrize(
    "change", [shutil.rmtree, lambda path: path.rename(path.with_name("moved"))]
)
def test_removed_directory(tmp_path, change):
    """The response is not Success if the file cannot be found later."""
    folder = tmp_path / "events"
    program = Receiver(folder, "--format", "ndjson")
    try:
        assert sent(program.listens_on, 0, 3) == [0] * 3
        change(folder)
        assert sent(program.listens_on, 3, 4) == [0x0110]
        assert program.ended() == 2
        assert "1 event with Status 0110H" in str(program)
        assert str(program).count("error: ") == 1
        assert "Traceback" not in str(program)
    finally:
        program.close()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_directory_without_permission_to_write():
    ran = run("receive", 0, "-o", "/proc")
    assert ran.returncode == 2
    assert ran.stderr.decode().startswith(
        "fastdimse: error: /proc: cannot create and lock a file there: "
    )
    assert len(ran.stderr.splitlines()) == 1


def test_damaged_files_are_kept(tmp_path):
    program = Receiver(tmp_path, "--format", "arrow")
    try:
        for number in range(4):
            assert sent(program.listens_on, number, number + 1) == [0]
        program.send_signal(signal.SIGKILL)
        program.ended()
    finally:
        program.close()
    [part] = tmp_path.glob("*.part")
    stream = bytearray(part.read_bytes())
    # The length of the metadata in the middle of the stream.
    offset = stream.find(b"\xff\xff\xff\xff", len(stream) // 2)
    stream[offset + 7] ^= 0x40
    part.write_bytes(stream)
    program = Receiver(tmp_path, "--format", "arrow")
    try:
        line = f"{len(stream) - offset} bytes after them cannot be read, see "
        assert line.replace(str(len(stream) - offset), f"{len(stream) - offset:,}") in str(program)
    finally:
        program.close()
    assert 1 <= len(found(tmp_path)) < 4
    [damaged] = tmp_path.glob("*.damaged")
    assert damaged.read_bytes() == stream


# ------------------------------------------------------------ the writer of files


def some(count: int) -> ReceivedEvents:
    """Return received events."""
    with listen(0, host=HOST) as listener:
        assert sent(listener.port, 0, count) == [0] * count
        events = listener.receive(timeout=10)
    assert events is not None
    return events


def files(folder: Path, chosen: RowFormat = RowFormat.NDJSON) -> ReceivedFiles:
    return ReceivedFiles(folder, chosen, events=1 << 20, seconds=3600)


@pytest.mark.parametrize("chosen", [RowFormat.NDJSON, RowFormat.ARROW, RowFormat.PARQUET])
def test_clock_that_is_set_back(tmp_path, monkeypatch, chosen):
    """No file replaces another, and the names of a process sort in the order of writing."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.fromtimestamp(next(times), UTC)

    times = chain([50.0, 50.0, 49.0], repeat(50.0))
    monkeypatch.setattr(received_files, "datetime", Clock)
    events = some(1)
    # With one event in each file.
    one = ReceivedFiles(tmp_path, chosen, events=1, seconds=3600)
    for _ in range(3):
        one.write(events)
    # Another process at the same time, and one later.
    two, three = files(tmp_path, chosen), files(tmp_path, chosen)
    two.write(events)
    three.write(events)
    two.close()
    three.close()
    assert [one.failure, two.failure, three.failure] == [None] * 3
    assert len(list(tmp_path.iterdir())) == len(received(tmp_path)) == 5


@pytest.mark.parametrize("chosen", [RowFormat.NDJSON, RowFormat.ARROW, RowFormat.PARQUET])
@pytest.mark.parametrize("before", [0, 2])
def test_failed_batches(tmp_path, monkeypatch, chosen, before):
    """A failed batch leaves nothing in the file, and other batches are written."""
    events = some(3)
    one = files(tmp_path, chosen)
    for _ in range(before):
        one.write(events)
    write = RowWriter.write

    def fail(rows: RowWriter, table: Any, *others: Any) -> None:
        write(rows, table.slice(0, 1))
        raise KeyError("Colour")

    with monkeypatch.context() as patched:
        patched.setattr(RowWriter, "write", fail)
        with pytest.raises(KeyError):
            one.write(events)
    one.write(events)
    one.close()
    assert one.failure is None
    assert one.events == 3 * (before + 1)
    assert found(tmp_path) == instances(3) * (before + 1)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("chosen", [RowFormat.NDJSON, RowFormat.ARROW, RowFormat.PARQUET])
def test_syncs(tmp_path, monkeypatch, chosen):
    """Events and the name of their file before the response, and a complete file before its end."""
    synced: list[tuple[int, int, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced.append((found.st_ino, found.st_size, bool(list(tmp_path.glob("*.part")))))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    one = ReceivedFiles(tmp_path, chosen, events=1 << 20, seconds=3600, sync=True)
    one.write(some(2))
    folder = tmp_path.stat().st_ino
    [part] = tmp_path.glob("*.part")
    assert [inode for inode, _, _ in synced] == [folder, part.stat().st_ino]
    assert synced[-1][1] == part.stat().st_size > 0
    one.close()
    [whole] = tmp_path.iterdir()
    assert (whole.stat().st_ino, whole.stat().st_size, True) in synced
    assert synced[-1][0] == folder
    assert not synced[-1][2]


def test_no_write_after_the_end(tmp_path):
    events = some(2)
    one = files(tmp_path)
    one.write(events)
    one.close()
    with pytest.raises(OSError, match="the run has ended"):
        one.write(events)
    assert found(tmp_path) == instances(2)


def test_other_errors_are_reported_once(tmp_path):
    """If the writer fails for some events, the program continues with others."""
    program = """
import sys
from fastdimse.cli import main
from fastdimse.cli.row_files.write import RowWriter
write = RowWriter.write
def fail(rows, table, *others):
    if table.num_rows and table["AffectedSOPInstanceUID"][0].as_py() == "1.2.1":
        raise KeyError("Colour")
    write(rows, table, *others)
RowWriter.write = fail
main(sys.argv[1:])
"""
    arguments = ["receive", "0", "-o", tmp_path, "--host", HOST]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().rpartition(":")[2])
        statuses = [sent(port, number, number + 1) for number in (0, 1, 1, 1, 2)]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert statuses == [[0], [0x0110], [0x0110], [0x0110], [0]]
    assert process.returncode == 0
    [line] = err.splitlines()
    assert line.endswith(
        "Z error: events that cannot be written get Status 0110H: KeyError: 'Colour'"
    )
    assert "3 events with Status 0110H: KeyError: 'Colour'" in out
    assert found(tmp_path) == ["1.2.0", "1.2.2"]


# ------------------------------------------------------------------- a full disk

FULL = f"""
mount -t tmpfs -o size=300k tmpfs "$1" && exec {sys.executable} -m fastdimse receive "$2" \
    -o "$1" --host {HOST} --format ndjson
"""


def full_disk(folder: Path, port: int) -> tuple[subprocess.Popen[str], int]:
    """Start a receiver with a small disk, and return its port."""
    folder.mkdir(exist_ok=True)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh"]
    process = subprocess.Popen(
        [*command, str(folder), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = process.stderr.readline()
    if "permitted" in first:
        pytest.skip("no file system can be mounted here")
    return process, int(first.rpartition(":")[2])


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_sender_retries_after_a_full_disk(tmp_path):
    rows, outbox = reports(tmp_path / "reports.ndjson", 2000), tmp_path / "outbox"
    process, port = full_disk(tmp_path / "full", 0)
    try:
        arguments = ("send", rows, HOST, port, "--outbox", outbox, "--window", 8)
        first = run(*arguments, "--give-up-after", "1")
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 2
    assert first.returncode == 1
    # One line of the receiver, and one of the sender.
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
    assert "events with Status 0110H" in out or "event with Status 0110H" in out
    assert first.stderr.decode().count("0x0110") <= 1
    written = int(out.split(" events in ")[0].replace(",", ""))
    assert 100 < written < 2000
    # Space is available again.
    folder = tmp_path / "events"
    command = [sys.executable, "-m", "fastdimse", "receive", str(port), "-o", folder]
    receiver = subprocess.Popen([*command, "--host", HOST], stderr=subprocess.PIPE, text=True)
    try:
        assert receiver.stderr is not None
        assert "listening on" in receiver.stderr.readline()
        second = run(*arguments)
        receiver.send_signal(signal.SIGINT)
        receiver.communicate(timeout=30)
    finally:
        receiver.kill()
    assert second.returncode == 0, second.stderr
    assert found(folder) == instances(2000)[written:]


def test_repeated_kills_lose_no_event_with_a_response(tmp_path):
    """Receivers overlap and are killed at any time; others complete their files."""
    folder = tmp_path / "events"
    answered: set[str] = set()
    programs: list[Receiver] = []
    try:
        for number in range(5):
            program = Receiver(folder, "--rotate-events", "300", "--format", "parquet")
            programs.append(program)
            delivery = Delivery(Peer(HOST, program.listens_on, window=16), give_up_after=0.1)
            first = 2000 * number
            delivery.put(islice(numbered(first + 2000), first, None))
            until(lambda delivery=delivery: delivery.progress()[0].answered > 64)
            time.sleep(0.02 * number)
            program.send_signal(signal.SIGKILL if number % 2 else signal.SIGTERM)
            with suppress(TimeoutError):
                delivery.wait(10)
            delivery.close()
            statuses = delivery.outcomes()["Status"]
            answered |= {f"1.2.{first + n}" for n, status in enumerate(statuses) if status == 0}
        last = Receiver(folder)
        programs.append(last)
    finally:
        for program in programs:
            program.close()
    assert answered <= set(found(folder))
    assert len(answered) > 500
