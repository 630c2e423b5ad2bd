"""``fastdimse receive`` as a service: its log, its signals, its metrics, systemd and Docker.

The receivers are processes, and prometheus_client's parser reads their metrics.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastdimse import AssociationError, connect
from orthanc import free_ports
from outbox_sender import COMMITMENT, numbered
from plain_messages import ACTION_RQ, COMMAND, LAST, command_set, pdu, pdv
from processes import Program
from scripted_peer import A_RELEASE_RQ, HOST
from test_command_line import run
from test_outbox import until
from test_receive_command import Receiver, received
from test_receiving import request

EXAMPLES = Path(__file__).parent.parent / "examples"
LINE = re.compile(r"(\S+Z) (info|notice|warning|error): (.*)")


@contextmanager
def receiver(folder: Path, *options: object) -> Iterator[Receiver]:
    program = Receiver(folder, *options)
    try:
        yield program
    finally:
        program.close()
        print(program)


@contextmanager
def measured(folder: Path, *options: object) -> Iterator[tuple[Receiver, int]]:
    """Run a receiver with metrics; yield also their port."""
    with receiver(folder, "--metrics", 0, *options) as program:
        found = re.search(r"metrics at http://localhost:(\d+)/metrics$", str(program), re.MULTILINE)
        assert found is not None
        yield program, int(found[1])


COMMAND_LINE = ("fastdimse", "receive", 0, "--host", HOST)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def scrape(port: int) -> dict[tuple[str, str], float]:
    """The metrics, by name and the value of their label."""
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name.removeprefix("fastdimse_"), "".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def names(count: int, first: int = 0) -> list[str]:
    return [f"1.2.{number}" for number in range(first, first + count)]


def columns(count: int, first: int = 0) -> dict[str, Any]:
    return {
        "AffectedSOPClassUID": COMMITMENT,
        "AffectedSOPInstanceUID": names(count, first),
        "EventTypeID": 1,
    }


def found(folder: Path) -> list[str]:
    return [row["AffectedSOPInstanceUID"] for row in received(folder)]


def parse(line: str) -> tuple[datetime, str, str]:
    match = LINE.fullmatch(line)
    assert match is not None, line
    return datetime.fromisoformat(match[1]), match[2], match[3]


# ------------------------------------------------------------------------- the log


def test_probe_is_logged_at_once(tmp_path):
    """A stray HTTP request, with its time and address, while its connection is still open."""
    with receiver(tmp_path) as program:
        with socket.create_connection((HOST, program.listens_on)) as probe:
            begin = datetime.now(UTC)
            probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
            moment, level, text = parse(program.line("stderr"))
            assert datetime.now(UTC) - begin < timedelta(seconds=1)
            assert begin - timedelta(milliseconds=2) <= moment <= datetime.now(UTC)
            assert level == "warning"
            assert f"{HOST}:{probe.getsockname()[1]}: " in text
            assert "0x47" in text
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0


def test_verbose_lines(tmp_path):
    with receiver(tmp_path, "-v", "--called-ae", "RECEIVER") as program:
        with connect(HOST, program.listens_on, called_ae="RECEIVER", calling_ae="CT1") as talk:
            assert talk.send(numbered(3)).answered == 3
        program.send_signal(signal.SIGHUP)
        program.find("SIGHUP")
        program.find(r"events-\S+\.parquet: complete, 3 events$")
        with pytest.raises(AssociationError):
            connect(HOST, program.listens_on, called_ae="OTHER", calling_ae="CT1")
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
    lines = [line.removeprefix("stderr: ") for line in str(program).splitlines()]
    lines = [line for line in lines if LINE.fullmatch(line)]
    levels = [parse(line)[1] for line in lines]
    assert levels == ["notice", *["info"] * 4, "warning", "info"]
    assert 'calling AE title "CT1", called AE title "RECEIVER"' in lines[1]
    assert "3 events and " in lines[2]
    assert "rejected: called AE title" in lines[5]
    assert "SIGTERM" in lines[6]


def test_quiet(tmp_path):
    [port] = free_ports(1)
    command = ("fastdimse", "receive", port, "-o", tmp_path, "--host", HOST, "-q")
    program = Program(Path("-m"), *command)
    try:
        # A connection without an association, which is a warning.
        until(lambda: is_open(port))
        connect(HOST, port).release()
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        assert "stderr: " not in str(program)
    finally:
        program.close()
    assert run("receive", 0, "-o", tmp_path, "-q", "-v").returncode == 2


def is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_json_lines(tmp_path):
    """Every line is a JSON object with its time, whatever a peer sends."""
    with receiver_of_json(tmp_path, "-v") as (program, port):
        with connect(HOST, port, calling_ae='A"B', called_ae="RECEIVER") as talk:
            assert talk.send(numbered(2)).answered == 2
        with socket.create_connection((HOST, port)) as peer:
            wrong = pdu(pdv(command_set(7, "1.\n2\u2028", COMMITMENT), COMMAND | LAST))
            long = pdu(pdv(command_set(8, "1." + "2" * 70, COMMITMENT), COMMAND | LAST))
            peer.sendall(request() + wrong + long + A_RELEASE_RQ)
            while peer.recv(1 << 16):
                pass
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        lines = str(program).splitlines()[1:]
        values = [json.loads(line.removeprefix("stderr: ")) for line in lines]
    kinds = [one["kind"] for one in values]
    assert kinds[0] == "listening"
    assert kinds[-2:] == ["rotated", "summary"]
    for one in values:
        assert datetime.fromisoformat(one["time"]).tzinfo is not None
        assert one["level"] in ("info", "notice", "warning")
        assert one["message"]
    # The other association can be accepted before this one has ended.
    accepted, ended = (one for one in values if one.get("association") == 1)
    assert (accepted["kind"], ended["kind"]) == ("accepted", "ended")
    assert (accepted["peer"], accepted["calling_ae"]) == (HOST, 'A"B')
    assert (ended["code"], ended["events"]) == ("released", 2)
    refused = [one for one in values if one["kind"] == "refused"]
    assert (refused[-1]["message_id"], refused[-1]["status"]) == (8, 0x0117)
    assert values[-1]["events"] == len(found(tmp_path))


@contextmanager
def receiver_of_json(folder: Path, *options: object) -> Iterator[tuple[Program, int]]:
    command = (*COMMAND_LINE, "-o", folder, "--log-format", "json")
    program = Program(Path("-m"), *command, *options)
    try:
        yield program, json.loads(program.line("stderr"))["port"]
    finally:
        program.close()
        print(program)


def test_json_lines_of_errors(tmp_path):
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        ran = run("receive", port, "-o", tmp_path, "--host", HOST, "--log-format", "json")
    assert ran.returncode == 2
    [line] = ran.stderr.splitlines()
    assert json.loads(line)["level"] == "error"
    expected = f"cannot listen on {HOST}:{port}: Address already in use"
    assert expected in json.loads(line)["message"]


@pytest.mark.parametrize("end", ["closed", "broken pipe", "full pipe"])
def test_unusable_stderr(tmp_path, end):
    """The events are received whether the log can be written or not, and the exit code is 0."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "fastdimse", "receive", str(port), "-o", str(tmp_path)]
    command += ["--host", HOST, "-v"]
    read, write = os.pipe()
    if end == "closed":
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    try:
        if end != "full pipe":
            os.close(read)
        until(lambda: is_open(port))
        # More lines than fit into a pipe.
        for _ in range(400):
            with connect(HOST, port) as talk:
                assert talk.send(columns(2)).answered == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
        if end == "full pipe":
            os.close(read)
    assert len(received(tmp_path)) == 800


# ------------------------------------------------------------------------- signals


@pytest.mark.parametrize("format", ["parquet", "arrow", "ndjson"])
def test_sighup_under_load_loses_nothing(tmp_path, format):
    """Every event with the Status Success is in a file, once."""
    answered: list[str] = []
    stop = threading.Event()

    def send(port: int, first: int) -> None:
        number = first
        with connect(HOST, port, window=16) as talk:
            while not stop.is_set():
                statuses = talk.send(columns(50, number)).to_pydict()["Status"]
                assert statuses == [0] * 50
                answered.extend(names(50, number))
                number += 50

    with receiver(tmp_path, "--format", format, "-v") as program:
        senders = [
            threading.Thread(target=send, args=(program.listens_on, first))
            for first in (0, 1_000_000)
        ]
        for sender in senders:
            sender.start()
        for _ in range(5):
            time.sleep(0.1)
            # Without a file there is none to complete.
            until(lambda: list(tmp_path.glob("*.part")))
            program.send_signal(signal.SIGHUP)
            program.find("complete, ")
        until(lambda: len(answered) > 500)
        stop.set()
        for sender in senders:
            sender.join()
        # Several at once, and with no event since the last: nothing happens, and nothing is lost.
        for _ in range(10):
            program.send_signal(signal.SIGHUP)
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
    assert len(answered) > 500
    assert sorted(found(tmp_path)) == sorted(answered)
    assert len(list(tmp_path.iterdir())) >= 5
    assert not list(tmp_path.glob("*.part"))


def test_sighup_and_sigterm_at_the_start_and_the_end(tmp_path):
    """SIGHUP never ends the process, and SIGTERM always ends it with its files complete."""
    for delay in (0.0, 0.01, 0.1):
        with receiver(tmp_path) as program:
            program.send_signal(signal.SIGHUP)
            with connect(HOST, program.listens_on) as talk:
                assert talk.send(numbered(1)).answered == 1
            time.sleep(delay)
            program.send_signal(signal.SIGTERM)
            program.send_signal(signal.SIGHUP)
            assert program.ended() == 0
    assert len(received(tmp_path)) == 3


# ------------------------------------------------------------------------- metrics


def test_metrics_under_load_equal_the_events(tmp_path):
    with measured(tmp_path, "--rotate-events", 1000) as (program, metrics):
        port = program.listens_on
        begin = time.time()
        seen: list[float] = []
        stop = threading.Event()

        def watch() -> None:
            while not stop.is_set():
                seen.append(scrape(metrics)["events_total", "0x0000"])

        watcher = threading.Thread(target=watch)
        watcher.start()
        with connect(HOST, port, window=16) as talk:
            for number in range(40):
                assert talk.send(columns(250, 250 * number)).answered == 250
                # Counted before the response.
                assert scrape(metrics)["events_total", "0x0000"] == 250 * (number + 1)
            values = scrape(metrics)
            assert values["open_connections", ""] == 1
        stop.set()
        watcher.join()
        assert seen == sorted(seen)
        with socket.create_connection((HOST, port)) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert probe.recv(1 << 10)
        aborted = connect(HOST, port)
        aborted.abort()
        with pytest.raises(AssociationError):
            connect(HOST, port, sop_classes=["1.2.3"])
        until(lambda: scrape(metrics)["open_connections", ""] == 0)
        values = scrape(metrics)
        assert values["events_written_total", ""] == 10_000
        assert values["files_completed_total", ""] == 10
        assert values["write_failures_total", ""] == 0
        assert values["associations_accepted_total", ""] == 3
        assert values["associations_ended_total", "released"] == 1
        # The association without an accepted SOP class is aborted by its requester.
        assert values["associations_ended_total", "aborted"] == 2
        assert values["connections_failed_total", "message"] == 1
        assert values["received_bytes_total", ""] > 10_000 * 50
        assert begin <= values["last_event_timestamp_seconds", ""] <= time.time()
        assert values["healthy", ""] == 1
        assert get(metrics, "/health") == (200, "ok\n")
        assert get(metrics, "/other")[0] == 404
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
    assert len(received(tmp_path)) == 10_000


def test_rejections_and_refusals_are_counted(tmp_path):
    options = ("--called-ae", "LISTENER", "--max-connections", 2)
    with measured(tmp_path, *options) as (program, metrics):
        port = program.listens_on
        open_ = [connect(HOST, port, called_ae="LISTENER") for _ in range(2)]
        with pytest.raises(AssociationError):
            connect(HOST, port, called_ae="LISTENER")
        open_.pop().release()
        until(lambda: scrape(metrics)["open_connections", ""] == 1)
        with pytest.raises(AssociationError):
            connect(HOST, port, called_ae="OTHER")
        until(lambda: scrape(metrics)["open_connections", ""] == 1)
        with socket.create_connection((HOST, port)) as peer:
            wrong = pdu(pdv(command_set(8, "1." + "2" * 70, COMMITMENT), COMMAND | LAST))
            # No event, so not among the events.
            action = pdu(pdv(command_set(9, "1.2", COMMITMENT, ACTION_RQ), COMMAND | LAST))
            peer.sendall(request() + wrong * 3 + action * 2 + A_RELEASE_RQ)
            while peer.recv(1 << 16):
                pass
        values = scrape(metrics)
        assert values["associations_rejected_total", "limit"] == 1
        assert values["associations_rejected_total", "called-ae"] == 1
        assert values["associations_accepted_total", ""] == 3
        assert values["events_total", "0x0117"] == 3
        assert values["events_total", "0x0000"] == 0
        assert ("events_total", "0x0211") not in values
        open_.pop().release()
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        text = str(program)
    assert "3 events refused with Status 0x0117" in text
    assert "2 actions refused with Status 0x0211" in text


def test_slow_clients_of_metrics_delay_nothing(tmp_path):
    with measured(tmp_path) as (program, metrics):
        idle = [socket.create_connection((HOST, metrics)) for _ in range(40)]
        for client in idle:
            client.sendall(b"GET /metr")
        with connect(HOST, program.listens_on) as talk:
            assert talk.send(numbered(10)).answered == 10
        # The idle clients are disconnected after 5 s.
        until(lambda: is_healthy(metrics))
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        for client in idle:
            client.close()


def is_healthy(port: int) -> bool:
    try:
        return get(port, "/health") == (200, "ok\n")
    except OSError:
        return False


def test_metrics_port_in_use(tmp_path):
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        ran = run("receive", 0, "-o", tmp_path, "--host", HOST, "--metrics", port)
    assert ran.returncode == 2
    [line] = ran.stderr.decode().splitlines()
    assert f"--metrics: cannot listen on localhost:{port}: Address already in use" in line


def test_metrics_without_the_package(tmp_path):
    program = """
import sys
sys.modules["prometheus_client"] = None
from fastdimse.cli import main
main(sys.argv[1:])
"""
    words = [sys.executable, "-c", program, "receive", "0", "-o", tmp_path, "--metrics", "0"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    [line] = ran.stderr.splitlines()
    assert "pip install 'fastdimse[metrics]'" in line


# --------------------------------------------------------------------- a full disk

FULL = f"""
mount -t tmpfs -o size=2m tmpfs "$1" && head -c 1800k /dev/zero > "$1/other" &&
{{ {sys.executable} -m fastdimse receive 0 -o "$1/events" --host {HOST} --metrics 0 \
    --give-up-after "$2" --format "$3" & }} &&
while read -r command; do
    case "$command" in
        free) rm "$1/other" ;;
        copy) cp -r "$1/events" "$4" ; echo copied ;;
        end) kill -TERM $! ;;
    esac
done; wait $!
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize("format", ["parquet", "arrow", "ndjson"])
def test_full_disk_until_there_is_space(tmp_path, format):
    """Status 0110H, 503 and a line while the disk is full. Then it continues by itself."""
    folder, copy = tmp_path / "full", tmp_path / "copy"
    folder.mkdir()
    words = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh"]
    process = subprocess.Popen(
        [*words, str(folder), "inf", format, str(copy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group, of which the receiver is a process too.
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        first = process.stderr.readline()
        if "permitted" in first:
            pytest.skip("no file system can be mounted here")
        metrics = int(re.findall(r":(\d+)/metrics", first)[0])
        port = int(process.stderr.readline().rpartition(":")[2])
        assert get(metrics, "/health")[0] == 200
        success: list[str] = []
        number, failed = 0, 0
        with connect(HOST, port, window=4) as talk:
            while failed < 3:
                statuses = talk.send(columns(100, number)).to_pydict()["Status"]
                assert set(statuses) <= {0, 0x0110}
                pairs = zip(names(100, number), statuses, strict=True)
                success += [name for name, status in pairs if status == 0]
                failed += set(statuses) == {0x0110}
                number += 100
                assert number < 100_000
            status, text = get(metrics, "/health")
            assert (status, "No space left on device" in text) == (503, True)
            line = process.stderr.readline()
            assert parse(line.rstrip())[1] == "error"
            assert "No space left on device" in line
            values = scrape(metrics)
            assert values["healthy", ""] == 0
            assert values["write_failures_total", ""] >= failed
            assert values["events_total", "0x0000"] == len(success) > 100
            assert values["events_total", "0x0110"] == number - len(success)
            print("free", file=process.stdin, flush=True)
            # Without events too: a sender may wait until the receiver is healthy.
            until(lambda: is_healthy(metrics))
            lines = iter(process.stderr.readline, "")
            assert any("events can be written again" in line for line in lines)
            statuses = talk.send(columns(100, number)).to_pydict()["Status"]
            assert statuses == [0] * 100
            success += names(100, number)
        print("end", file=process.stdin, flush=True)
        until(lambda: not is_open(metrics))
        time.sleep(0.5)
        print("copy", file=process.stdin, flush=True)
        assert f"{len(success):,} events in " in process.stdout.readline()
        until(lambda: "copied" in process.stdout.readline())
        process.stdin.close()
        assert process.wait(20) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(process.stderr.read())
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()
    assert sorted(found(copy)) == sorted(success)
    assert not list(copy.glob("*.part"))


def test_give_up_after(tmp_path):
    folder = tmp_path / "events"
    with receiver(folder, "--give-up-after", 1, "--format", "ndjson") as program:
        with connect(HOST, program.listens_on) as talk:
            shutil.rmtree(folder)
            begin = time.monotonic()
            assert talk.send(numbered(1)).to_pydict()["Status"] == [0x0110]
            program.find("error: events cannot be written")
            assert talk.send(numbered(1)).to_pydict()["Status"] == [0x0110]
        assert program.ended() == 2
        assert 1 <= time.monotonic() - begin < 5


def test_directory_that_returns(tmp_path):
    folder, moved = tmp_path / "events", tmp_path / "moved"
    with receiver(folder, "--give-up-after", "inf", "--format", "ndjson") as program:
        with connect(HOST, program.listens_on) as talk:
            assert talk.send(columns(2)).to_pydict()["Status"] == [0] * 2
            folder.rename(moved)
            assert talk.send(columns(1, 2)).to_pydict()["Status"] == [0x0110]
            moved.rename(folder)
            program.find("events can be written again")
            assert talk.send(columns(1, 3)).to_pydict()["Status"] == [0]
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
    # The refused event was written before the directory was found to be another.
    assert set(found(folder)) >= {"1.2.0", "1.2.1", "1.2.3"}
    assert not list(folder.glob("*.part"))


# --------------------------------------------------------------- systemd and Docker


def test_messages_to_systemd(tmp_path, monkeypatch):
    """READY=1 when connections are accepted, the watchdog, and STOPPING=1."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        program = Program(Path("-m"), *COMMAND_LINE, "-o", tmp_path / "events")
        try:
            assert systemd.recv(1 << 10) == b"READY=1"
            port = int(program.find(r"listening on \S+:(\d+)$")[1])
            with connect(HOST, port) as talk:
                assert talk.send(numbered(3)).answered == 3
            begin = time.monotonic()
            beats = 0
            while b"3 events written" not in (message := systemd.recv(1 << 10)):
                beats += 1
            assert message.startswith(b"WATCHDOG=1\nSTATUS=")
            assert time.monotonic() - begin < 5
            program.send_signal(signal.SIGTERM)
            while (message := systemd.recv(1 << 10)) != b"STOPPING=1":
                assert message.startswith(b"WATCHDOG=1")
            assert program.ended() == 0
        finally:
            program.close()


def unit() -> str:
    """The unit, with the program that is installed here."""
    program = Path(sys.executable).parent / "fastdimse"
    text = (EXAMPLES / "fastdimse-receive.service").read_text()
    assert text.count("/opt/fastdimse/bin/fastdimse") == 1
    return text.replace("/opt/fastdimse/bin/fastdimse", str(program))


def test_systemd_accepts_the_unit(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        missing = "no systemd-analyze: ./dev peers installs systemd"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    path = tmp_path / "fastdimse-receive.service"
    path.write_text(unit())
    done = subprocess.run(
        [analyze, "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    # The test can fail.
    path.write_text(unit().replace("Type=notify", "Type=notified"))
    done = subprocess.run([analyze, "verify", "--man=no", path], capture_output=True, check=False)
    assert b"notified" in done.stderr


def test_command_of_the_unit(tmp_path):
    """The command starts, and SIGHUP and SIGTERM do what the unit expects."""
    [command] = re.findall(r"^ExecStart=\S+ ((?:.*\\\n)*.*)$", unit(), re.MULTILINE)
    command = command.replace("\\\n", " ").replace("${STATE_DIRECTORY}", str(tmp_path))
    words = command.replace("receive 104 ", "receive 0 ").replace(" 9104", " 0").split()
    program = Program(Path("-m"), "fastdimse", *words)
    try:
        metrics = int(program.find(r":(\d+)/metrics$")[1])
        port = int(program.find(r"listening on \S+:(\d+)$")[1])
        assert get(metrics, "/health")[0] == 200
        with connect(HOST, port, called_ae="RECEIVER") as talk:
            assert talk.send(numbered(3)).answered == 3
        program.send_signal(signal.SIGHUP)
        program.find("complete, 3 events")
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
    finally:
        program.close()
    assert len(received(tmp_path / "events")) == 3


def test_commands_of_the_dockerfile(tmp_path):
    text = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", " ")
    last = text.rpartition("\nFROM ")[2]
    instructions = dict(re.findall(r"^([A-Z]+) (.*)$", last, re.MULTILINE))
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    assert instructions["USER"].split(":")[0] not in ("0", "root")
    entry = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
    replaced = {"11112": "0", "9104": "0", "/var/lib/fastdimse/events": str(tmp_path)}
    words = [replaced.get(word, word) for word in entry[1:]]
    program = Program(Path("-m"), "fastdimse", *words)
    try:
        metrics = json.loads(program.line("stderr"))["port"]
        assert json.loads(program.line("stderr"))["kind"] == "listening"
        [check] = re.findall(r"CMD (\[.*\])", instructions["HEALTHCHECK"])
        [_, option, code] = json.loads(check)
        assert option == "-c"
        health = [sys.executable, "-c", code.replace(":9104/", f":{metrics}/")]
        assert subprocess.run(health, check=False).returncode == 0
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        done = subprocess.run(health, check=False, stderr=subprocess.DEVNULL)
        assert done.returncode == 1
    finally:
        program.close()
