"""``fastdimse send``: delivery of files of events to peers."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image
from pynetdicom import dsutils

from oracle import decode_stream
from outbox_sender import numbered
from scripted_peer import A_ABORT, HOST, Conversation, peer
from test_command_line import CAPTURE, REQUESTS, run
from test_delivery import listener
from test_outbox import instances, recording_receiver

COMMAND = [sys.executable, "-m", "fastdimse", "send"]


def reports(path: Path, count: int) -> Path:
    """Write numbered reports."""
    path.write_text("".join(json.dumps(row) + "\n" for row in numbered(count)))
    return path


def test_send_rows_to_pynetdicom(tmp_path):
    file = reports(tmp_path / "reports.ndjson", 2)
    with listener() as (port, got):
        ran = run("send", file, HOST, port, "--called-ae", "PEER", "--calling-ae", "MINE")
    assert ran.returncode == 0, ran.stderr
    assert [(event[0], event[3], event[4].TransactionUID) for event in got] == [
        ("MINE", "1.2.0", "1.2.3.0"),
        ("MINE", "1.2.1", "1.2.3.1"),
    ]
    assert re.search(rf"PEER@{HOST}:{port} from MINE .* 0x0000 Success .* 2 ", ran.stdout.decode())


def test_nonconformant_uids(tmp_path):
    file = tmp_path / "reports.ndjson"
    [row] = numbered(1)
    file.write_text(json.dumps({**row, "AffectedSOPInstanceUID": "1.2.03"}))
    with listener() as (port, got):
        ran = run("send", file, HOST, port)
        assert (ran.returncode, got) == (1, [])
        ran = run("send", file, HOST, port, "--lenient-uids")
    assert ran.returncode == 0, ran.stderr
    assert [event[3] for event in got] == ["1.2.03"]


@pytest.mark.parametrize("file", [REQUESTS, CAPTURE], ids=["stream", "capture"])
def test_send_the_captured_stream(file):
    with listener() as (port, got):
        ran = run("send", file, HOST, port)
    assert ran.returncode == 0, ran.stderr
    expected = list(decode_stream(REQUESTS.read_bytes()))
    assert len(got) == len(expected) == 24
    for row, event in zip(got, expected, strict=True):
        assert row[2:4] == (event.EventTypeID, event.AffectedSOPInstanceUID)
        assert row[4] == dsutils.decode(event.EventInformation, True, True)


def test_statuses_and_rows_that_fail(tmp_path):
    """The listener responds with the event type minus one."""
    rows = list(numbered(4))
    rows[1]["EventTypeID"] = 0x0113
    rows[2]["AffectedSOPInstanceUID"] = "wrong"
    file = tmp_path / "reports.ndjson"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "outcomes.parquet"
    with listener() as (port, _):
        ran = run("send", file, HOST, port, "--outcomes", out)
    assert ran.returncode == 1, ran.stderr
    for text in ("0x0000 Success", "0x0112 No such SOP Instance", "not sent: uid"):
        assert text in ran.stdout.decode()
    found = pyarrow.parquet.read_table(out).to_pydict()
    assert found["Event"] == [0, 1, 2, 3]
    assert found["Status"] == [0, 0x0112, None, 0]
    assert found["Failure"] == [None, None, "uid", None]
    assert found["Reason"][2].startswith("AffectedSOPInstanceUID: ")


def test_several_peers(tmp_path):
    file = reports(tmp_path / "reports.ndjson", 50)
    out = tmp_path / "outcomes.csv"
    with recording_receiver() as receiver, recording_receiver() as other:
        port = receiver.listener.port
        ran = run(
            *("send", file, HOST, port, "--peer", f"{HOST}:{other.listener.port}:TWO"),
            *("--peer", "[::1]:1:DEAD", "--give-up-after", "0.3", "--outcomes", out),
        )
    assert ran.returncode == 1, ran.stderr
    assert receiver.instances == other.instances == instances(50)
    found = pyarrow.csv.read_csv(out).to_pydict()
    assert len(found["Peer"]) == 150
    assert set(found["Status"][:100]) == {0}
    assert set(found["Failure"][100:]) == {"due"}
    assert "DEAD@::1:1" in ran.stdout.decode()
    assert "not delivered: no connection" in ran.stdout.decode()
    # Duplicate peers are one peer.
    assert ran.stderr.decode().count("no connection") == 1


def test_continue_from_the_outbox(tmp_path):
    file = reports(tmp_path / "reports.ndjson", 50)
    outbox = tmp_path / "events.outbox"
    with recording_receiver() as receiver:
        port = receiver.listener.port
        # The peer does not run.
        ran = run("send", file, HOST, 1, "--outbox", outbox, "--give-up-after", "0")
        assert ran.returncode == 1
        ran = run("send", file, HOST, port, "--outbox", outbox)
        assert ran.returncode == 0
        assert (
            f"ANY-SCP@{HOST}:1 from EVENT-SCP: 50 events due, but this run" in ran.stderr.decode()
        )
        again = run("send", file, HOST, port, "--outbox", outbox)
        assert again.returncode == 0
    assert receiver.instances == instances(50)


def test_rows_from_a_pipe(tmp_path):
    text = reports(tmp_path / "reports.ndjson", 5).read_bytes()
    with recording_receiver() as receiver:
        ran = run("send", "-", HOST, receiver.listener.port, "--format", "ndjson", stdin=text)
        assert ran.returncode == 0, ran.stderr
    assert receiver.instances == instances(5)


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start the program."""
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **options)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_in_order(tmp_path, number):
    """Sent events have a response, the association is released, and the outbox is valid."""
    file = reports(tmp_path / "reports.ndjson", 20)
    outbox = tmp_path / "events.outbox"
    got: list[str] = []

    def slow(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            got.append(request.AffectedSOPInstanceUID)
            if len(got) == 3:
                process.send_signal(number)
                time.sleep(0.5)
            talk.respond(request.MessageID)

    def quick(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            got.append(request.AffectedSOPInstanceUID)
            talk.respond(request.MessageID)

    with peer(slow, quick) as port:
        arguments = (file, HOST, port, "--outbox", outbox)
        process = start(*arguments, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert got == instances(3)
        assert b"0x0000 Success" in out
        assert b"waiting for outstanding responses" in err
        assert run("send", *arguments).returncode == 0
    assert got == instances(20)


def test_second_signal_ends_immediately(tmp_path):
    file = reports(tmp_path / "reports.ndjson", 20)

    def silent(talk: Conversation) -> None:
        talk.accept()
        next(talk.requests())
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert talk.read() == A_ABORT[:8] + b"\0\0"

    with peer(silent) as port:
        begin = time.monotonic()
        process = start(file, HOST, port, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert time.monotonic() - begin < 10


def test_progress_on_a_terminal(tmp_path):
    file = reports(tmp_path / "reports.ndjson", 8)

    def slow(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            time.sleep(0.15)
            talk.respond(request.MessageID)

    shown = b""
    master, slave = pty.openpty()
    with peer(slow) as port:
        environment = os.environ | {"COLUMNS": "140", "TERM": "xterm"}
        process = start(file, HOST, port, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    shown += os.read(master, 1 << 16)
                except OSError:
                    break
    os.close(master)
    assert process.wait(10) == 0
    text = shown.decode()
    assert re.search(r"\d events/s", text)
    assert "sending" in text
    assert "0x0000 Success" in text


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_picture(tmp_path, suffix):
    file, picture = reports(tmp_path / "reports.ndjson", 100), tmp_path / f"delivery{suffix}"
    with recording_receiver() as receiver:
        ran = run("send", file, HOST, receiver.listener.port, "--picture", picture)
        assert ran.returncode == 0, ran.stderr
    if suffix == ".svg":
        assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    else:
        with Image.open(picture) as image:
            assert min(image.size) > 500


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nothing.ndjson", HOST, 1], "No such file or directory: 'nothing.ndjson'"),
        (["reports.ndjson", HOST, 1, "--peer", "host"], "must be HOST:PORT or HOST:PORT:AE"),
        (["reports.ndjson", HOST, 1, "--peer", f"{HOST}:1"], "occurs 2 times"),
        (
            ["reports.ndjson", HOST, 1, "--picture", "p.gif"],
            "p.gif: the suffix of --picture must",
        ),
        (["reports.ndjson", HOST, 1, "--outcomes", "o.txt"], "unknown suffix"),
        (
            ["capture.pcap", HOST, 1, "--transfer-syntax", "1.2.840.10008.1.2"],
            "cannot be used",
        ),
        (["reports.ndjson", HOST, 1, "--transfer-syntax", "1.2"], "1.2"),
        (["reports.ndjson", HOST, 1, "--called-ae", "far too long a title"], "called_ae"),
        (["columns.csv", HOST, 1], "unknown column 'Colour'"),
    ],
)
def test_invalid_usage(tmp_path, arguments, text):
    reports(tmp_path / "reports.ndjson", 1)
    (tmp_path / "columns.csv").write_text("Colour\n1\n")
    ran = subprocess.run(
        [*COMMAND, *map(str, arguments), "--give-up-after", "0.1"],
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2, (ran.stdout, ran.stderr)
    assert text in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr
