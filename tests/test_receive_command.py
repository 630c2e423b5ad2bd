"""``fastdimse receive`` and ``fastdimse echo`` as programs."""

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModelInstance, Verification

from fastdimse import TLS, AssociationError, Delivery, Peer, connect, listen
from oracle import decode_stream
from outbox_sender import COMMITMENT, numbered
from plain_messages import COMMAND, LAST, command_set, pdu, pdv
from processes import Program
from scripted_peer import HOST, Conversation, peer
from test_command_line import REQUESTS, run
from test_data_set_limits import element, item, wide_items
from test_outbox import instances
from test_receiving import association, request
from test_tls import authority

REPORT = element(0x0008, 0x1195, b"1.2\0")
"""A Transaction UID."""


class Receiver(Program):
    """A running `fastdimse receive` that writes to a folder."""

    def __init__(self, folder: Path, *options: object) -> None:
        command = ("fastdimse", "receive", 0, "-o", folder, "--host", HOST)
        super().__init__(Path("-m"), *command, *options)
        self.listens_on = int(self.find(r"listening on \S+:(\d+)$")[1])


def received(folder: Path) -> list[dict[str, Any]]:
    """Read all complete files, in the order of their names."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            rows += pyarrow.parquet.read_table(path).to_pylist()
        elif path.suffix == ".ndjson":
            rows += map(json.loads, path.read_text().splitlines())
        elif path.suffix == ".arrows":
            rows += pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    return rows


@pytest.mark.parametrize("format", ["parquet", "arrow", "ndjson"])
def test_files_of_events_of_pynetdicom(tmp_path, format):
    program = Receiver(tmp_path, "--format", format)
    try:
        talk = association(program.listens_on)
        for number in range(1, 4):
            status, _ = talk.send_n_event_report(
                None, number, COMMITMENT, StorageCommitmentPushModelInstance, msg_id=number
            )
            assert status.Status == 0
            # The event is in the file before the response.
            [part] = tmp_path.iterdir()
            assert part.name.endswith(".part")
            assert part.stat().st_size > 0
        talk.release()
        program.send_signal(signal.SIGINT)
        assert program.ended() == 0
        assert re.search(r"3 events in 1 file of ", str(program))
    finally:
        program.close()
    rows = received(tmp_path)
    assert [row["EventTypeID"] for row in rows] == [1, 2, 3]
    assert {row["CallingAETitle"] for row in rows} == {"SCP"}
    assert not list(tmp_path.glob("*.part"))


def test_attributes_of_the_captured_stream(tmp_path):
    options = ("--format", "ndjson", "--data-sets", "structured", "--stop-after", 24)
    program = Receiver(tmp_path, *options)
    try:
        assert run("send", REQUESTS, HOST, program.listens_on).returncode == 0
        assert program.ended() == 0
    finally:
        program.close()
    events = list(decode_stream(REQUESTS.read_bytes()))
    rows = received(tmp_path)
    assert len(rows) == len(events)
    for row, event in zip(rows, events, strict=True):
        assert row["EventTypeID"] == event.EventTypeID
        assert row["EventInformation"]["TransactionUID"]


def test_only_unreadable_data_sets_remain_bytes(tmp_path):
    truncated = REPORT[:-1]
    # pyarrow has no types of this depth.
    deep = b""
    for _ in range(40):
        deep = element(8, 0x1199, item(deep))
    wide = wide_items(12_000)
    given = [REPORT, truncated, REPORT, deep, wide, None, REPORT]
    options = ("--format", "ndjson", "--data-sets", "structured", "--stop-after", len(given))
    program = Receiver(tmp_path, *options)
    try:
        [event] = numbered(1)
        events = [
            {**event, "MessageID": number, "EventInformation": information}
            for number, information in enumerate(given)
        ]
        with connect(HOST, program.listens_on, calling_ae="SENDER") as talk:
            outcomes = pa.table(talk.send(events))
        assert outcomes["Status"].to_pylist() == [0] * len(given)
        assert program.ended() == 0
    finally:
        program.close()
    found = [row.get("EventInformation") for row in received(tmp_path)]
    assert found[0] == found[2] == found[6] == {"TransactionUID": "1.2"}
    assert found[5] is None
    unread = {1: truncated, 3: deep, 4: wide}
    assert {number: base64.b64decode(found[number]) for number in unread} == unread
    reported = re.findall(
        r"association \d+ from SENDER at 127.0.0.1:\d+: the EventInformation of MessageID (\d+) is "
        r"written as bytes: (.*)",
        str(program),
    )
    reasons = {int(number): reason for number, reason in reported}
    assert reasons.keys() == unread.keys()
    assert "needs 4 bytes, 3 are left" in reasons[1]
    assert "12001" in reasons[4]


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory of another process")
def test_memory_of_wide_data_sets(tmp_path):
    options = ("--format", "ndjson", "--data-sets", "structured", "--stop-after", 25)
    program = Receiver(tmp_path, *options)

    def peak_memory() -> int:
        status = Path(f"/proc/{program.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10

    try:
        [event] = numbered(1)
        with connect(HOST, program.listens_on) as talk:
            assert talk.send([{**event, "EventInformation": REPORT}]).answered == 1
            before = peak_memory()
            # The widest data set that can be decoded, and wider ones of 216 kB each.
            for count in [*range(600, 1_400, 100), *[12_000] * 15]:
                wide = {**event, "EventInformation": wide_items(count)}
                assert talk.send([wide]).answered == 1
            grew = peak_memory() - before
            assert talk.send([{**event, "EventInformation": REPORT}]).answered == 1
        assert program.ended() == 0
    finally:
        program.close()
    assert grew < 128 << 20
    assert len(received(tmp_path)) == 25


def test_rotation(tmp_path):
    options = ("--format", "arrow", "--rotate-events", 10, "--stop-after", 35)
    program = Receiver(tmp_path, *options)
    try:
        with connect(HOST, program.listens_on, window=1) as talk:
            assert talk.send(numbered(35)).answered == 35
        assert program.ended() == 0
        assert "35 events in 4 files" in str(program)
    finally:
        program.close()
    assert [row["AffectedSOPInstanceUID"] for row in received(tmp_path)] == instances(35)
    assert len(list(tmp_path.iterdir())) == 4


def test_files_are_complete_after_the_interval(tmp_path):
    program = Receiver(tmp_path, "--rotate-seconds", 0.3)
    try:
        with connect(HOST, program.listens_on) as talk:
            for number in range(2):
                assert talk.send(numbered(3)).answered == 3
                end = time.monotonic() + 10
                while len(list(tmp_path.glob("*.parquet"))) <= number:
                    assert time.monotonic() < end
                    time.sleep(0.02)
    finally:
        program.close()
    assert len(received(tmp_path)) == 6


@pytest.mark.parametrize("format", ["parquet", "arrow", "ndjson"])
def test_events_with_a_response_survive_a_kill(tmp_path, format):
    program = Receiver(tmp_path, "--format", format)
    try:
        delivery = Delivery(Peer(HOST, program.listens_on, window=16), longest_delay=0.1)
        delivery.put(numbered(100_000))
        while delivery.progress()[0].answered < 500:
            time.sleep(0.01)
        program.send_signal(signal.SIGKILL)
        program.ended()
        delivery.close()
    finally:
        program.close()
    answered = delivery.outcomes()["Status"].count(0)
    assert 500 <= answered < 100_000
    [part] = tmp_path.iterdir()
    # Bytes of an incomplete batch.
    with part.open("ab") as file:
        file.write(b"half a line or batch")
    program = Receiver(tmp_path, "--format", format)
    try:
        program.send_signal(signal.SIGTERM)
        assert program.ended() == 0
        assert "of a run that was killed" in str(program)
    finally:
        program.close()
    found = [row["AffectedSOPInstanceUID"] for row in received(tmp_path)]
    assert found[:answered] == instances(answered)
    assert not list(tmp_path.glob("*.part"))


FULL = f"""
mount -t tmpfs -o size=300k tmpfs "$1" && exec {sys.executable} -m fastdimse receive 0 \
    -o "$1" --host 127.0.0.1 --format ndjson
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_full_disk(tmp_path):
    """The response to an event that cannot be written is not Success."""
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", FULL, "sh", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    first = process.stderr.readline()
    if "permitted" in first:
        pytest.skip("no file system can be mounted here")
    port = int(first.rpartition(":")[2])
    try:
        with connect(HOST, port, window=8) as talk:
            outcomes = talk.send(numbered(20_000)).to_pydict()
        # The files are in a mount that only the receiver can read, so its output is checked. The
        # output is read before the end, because a full pipe would block the receiver.
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 2
    assert err.splitlines() == ["fastdimse: error: [Errno 28] No space left on device"]
    written = int(out.split(" events in ")[0].replace(",", ""))
    assert outcomes["Status"].count(0) == written > 100
    # The last responses can be lost at the end.
    reported = re.search(r"^([\d,]+) events with Status 0110H: \[Errno 28\] No space", out, re.M)
    assert reported is not None
    assert int(reported[1].replace(",", "")) >= outcomes["Status"].count(0x0110) > 0


def test_impossible_folder(tmp_path):
    (tmp_path / "file").write_text("")
    ran = run("receive", 0, "-o", tmp_path / "file")
    assert ran.returncode == 2
    assert b"File exists" in ran.stderr


def test_port_in_use(tmp_path):
    with listen(0, host=HOST) as listener:
        ran = run("receive", listener.port, "-o", tmp_path, "--host", HOST)
    assert ran.returncode == 2
    expected = f"cannot listen on {HOST}:{listener.port}: Address already in use"
    assert expected.encode() in ran.stderr


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format", "csv"], "'csv' is not one of 'parquet', 'arrow', 'ndjson'"),
        (["--data-sets", "structured"], "requires --format ndjson"),
        (["--data-sets", "dicom-json"], "'dicom-json' is not one of 'bytes', 'structured'"),
        (["--called-ae", "a title that is too long"], "called_ae"),
        (["--certificate", "nothing.pem"], "needs its key"),
    ],
)
def test_invalid_usage(tmp_path, options, text):
    ran = run("receive", 0, "-o", tmp_path, *options)
    assert ran.returncode == 2, ran.stderr
    assert text in ran.stderr.decode()


def test_titles_and_tls(tmp_path):
    ours = authority(tmp_path / "tls")
    files = ours.certify("localhost")
    folder = tmp_path / "events"
    security = ("--certificate", files["certificate"], "--key", files["key"], "--ca", ours.file)
    program = Receiver(folder, "--called-ae", "MINE", "--calling-ae", "SENDER", *security)
    try:
        port, sender = program.listens_on, ours.certify("sender")
        tls = TLS(ca=ours.file, **sender, server_name="localhost")
        for titles in ({"called_ae": "OTHER", "calling_ae": "SENDER"}, {"called_ae": "MINE"}):
            with pytest.raises(AssociationError, match="not recognized"):
                connect(HOST, port, tls=tls, **titles)
        rows = tmp_path / "rows.ndjson"
        rows.write_text("".join(json.dumps(row) + "\n" for row in numbered(3)))
        options = (
            *("--called-ae", "MINE", "--calling-ae", "SENDER"),
            *("--ca", ours.file, "--certificate", sender["certificate"], "--key", sender["key"]),
        )
        ran = run("send", rows, HOST, port, *options, "--give-up-after", "0")
        assert ran.returncode == 1
        assert "not valid for name" in ran.stdout.decode()
        ran = run("send", rows, HOST, port, *options, "--server-name", "localhost")
        assert ran.returncode == 0, ran.stderr
        ran = run("echo", HOST, port, *options, "--no-hostname-check")
        assert ran.returncode == 0, ran.stderr
        program.send_signal(signal.SIGINT)
        assert program.ended() == 0
        assert "1 association failed: no secure connection" in str(program)
    finally:
        program.close()
    assert len(received(folder)) == 3


# ----------------------------------------------------------------------- echo


def test_echo_to_pynetdicom():
    asked = []
    ae = AE("PEER")
    ae.add_supported_context(Verification)

    def handle(event: Any) -> int:
        asked.append((event.assoc.requestor.ae_title, event.request.MessageID))
        return 0

    handlers = [(evt.EVT_C_ECHO, handle)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    try:
        port = server.socket.getsockname()[1]
        options = ("--called-ae", "PEER", "--calling-ae", "MINE", "-n", 3, "--interval", 0)
        ran = run("echo", HOST, port, *options)
    finally:
        server.shutdown()
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.decode().splitlines()
    assert all(re.fullmatch(rf"PEER@{HOST}:{port}: response in [\d.]+ ms", line) for line in lines)
    assert asked == [("MINE", 1)] * 3


@pytest.mark.skipif(shutil.which("storescp") is None, reason="dcmtk is not installed")
def test_echo_to_and_from_dcmtk(tmp_path):
    with listen(0, host=HOST, called_ae="MINE") as listener:
        arguments = ["echoscu", "-aec", "MINE", HOST, str(listener.port)]
        ran = subprocess.run(arguments, capture_output=True, timeout=30, check=False)
        assert ran.returncode == 0, ran.stderr
        free = listener.port
    server = subprocess.Popen(["storescp", "-od", str(tmp_path), str(free)])
    try:
        end = time.monotonic() + 20
        while run("echo", HOST, free).returncode != 0:
            assert time.monotonic() < end
    finally:
        server.kill()
        server.wait()


def test_failed_echo():
    def silent(talk: Conversation) -> None:
        talk.accept(scp=None)
        talk.read()
        talk.read()

    with peer(silent, lambda talk: talk.reject(1, 1, 7)) as port:
        ran = run("echo", HOST, port, "--timeout", 0.3)
        assert ran.returncode == 1
        assert b"the peer sent no complete PDU for 0.3 s" in ran.stderr
        ran = run("echo", HOST, port)
        assert ran.returncode == 1
        assert b"called AE title not recognized" in ran.stderr
    ran = run("echo", HOST, port, "-n", 2, "--interval", 0)
    assert ran.returncode == 1
    assert ran.stderr.count(b"Connection refused") == 2
    assert run("echo", HOST, port, "--called-ae", "\\").returncode == 2


def test_rejected_event_is_reported(tmp_path):
    program = Receiver(tmp_path, "--format", "ndjson")
    try:
        with socket.create_connection((HOST, program.listens_on), timeout=10) as talk:
            talk.sendall(request())
            assert talk.recv(1 << 16)[0] == 2
            for message_id in (7, 8):
                event = command_set(message_id, "1." + "2" * 70, COMMITMENT)
                talk.sendall(pdu(pdv(event, COMMAND | LAST)))
                assert talk.recv(1 << 16)[0] == 4
        with connect(HOST, program.listens_on) as good:
            assert good.send(numbered(1)).answered == 1
        program.find(r"refused with Status 0x0117 Invalid SOP Instance: Message ID 7, .*'1.2222")
        program.send_signal(signal.SIGINT)
        assert program.ended() == 0
    finally:
        program.close()
    assert "2 events refused with Status 0x0117 Invalid SOP Instance" in str(program)
    assert len(received(tmp_path)) == 1
