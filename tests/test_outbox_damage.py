"""Damaged outboxes: callers get an error, and no event is lost without one."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import fastdimse._outbox.outbox
from fastdimse import Delivery, DeliveryError, OutboxError, Peer, listen
from outbox_sender import numbered
from scripted_peer import HOST
from test_outbox import DEADLINE, RecordingReceiver, instances, recording_receiver, until

FLIPS_OF_THE_FILE = 200


def filled(path: Path) -> bytes:
    """Create an outbox with nine events, three of them delivered, and return its path."""
    with (
        recording_receiver() as receiver,
        Delivery(Peer(HOST, receiver.listener.port, name="peer"), outbox=path) as to,
    ):
        to.put(numbered(3))
    with closing(Delivery(Peer(HOST, 1, name="peer"), outbox=path)) as to:
        for number in range(2):
            rows = list(numbered(9))[3 * number + 3 : 3 * number + 6]
            to.put(rows, source=f"file {number}")
    assert not path.with_name(f"{path.name}-wal").exists()
    return path.read_bytes()


def deliver(path: Path, receiver: RecordingReceiver) -> tuple[list[str], dict[str, int]]:
    """Deliver from an outbox; return the received events, and counts of those for other peers."""
    begin = len(receiver.instances)
    peer = Peer(HOST, receiver.listener.port, name="peer")
    with Delivery(peer, outbox=path) as delivery:
        others = delivery.due_to_other_peers()
    count = delivery.progress()[0].answered
    until(lambda: len(receiver.instances) - begin >= count)
    return receiver.instances[begin:], others


def test_flipped_bytes_of_a_batch(tmp_path):
    """Damaged Arrow data is not read: it could abort the process by an allocation."""
    path = tmp_path / "outbox"
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        [(stream,)] = database.execute("SELECT events FROM batches WHERE first = 3").fetchall()
    chance = random.Random(5)
    with recording_receiver() as receiver:
        for offset in range(0, len(stream), 5):
            flipped = bytearray(stream)
            flipped[offset] ^= 1 << chance.randrange(8)
            replace(path, bytes(flipped))
            with pytest.raises(OutboxError, match="events 3 to 5 has a wrong checksum") as caught:
                deliver(path, receiver)
            assert str(caught.value).startswith("delivery to peer: ")
        replace(path, stream)
        assert deliver(path, receiver)[0] == instances(9)[3:]


def replace(path: Path, stream: bytes) -> None:
    """Replace the stored stream of a batch."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("UPDATE batches SET events = ? WHERE first = 3", (stream,))
        database.commit()


def test_flipped_bytes_of_the_file(tmp_path):
    path = tmp_path / "outbox"
    whole = filled(path)
    chance = random.Random(11)
    errors = 0
    with recording_receiver() as receiver:
        for offset in [
            *range(0, 100, 3),
            *chance.sample(range(100, len(whole)), FLIPS_OF_THE_FILE),
        ]:
            flipped = bytearray(whole)
            flipped[offset] ^= 1 << chance.randrange(8)
            for name in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))):
                name.unlink(missing_ok=True)
            path.write_bytes(flipped)
            try:
                taken, others = deliver(path, receiver)
            except OutboxError:
                errors += 1
            else:
                assert others == {}
                assert set(instances(9)[3:]) <= set(taken), offset
    assert errors > FLIPS_OF_THE_FILE / 10


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE due SET first = 0 WHERE first = 3", "table due with a wrong checksum: 1"),
        ("DELETE FROM due WHERE first = 3", "rows that are inconsistent with other tables: 1"),
        ("DELETE FROM batches WHERE first = 3", "rows that are inconsistent with other tables"),
        ("UPDATE peers SET name = 'pier'", "table peers with a wrong checksum: 1"),
        ("UPDATE batches SET count = 2 WHERE first = 6", "table batches with a wrong checksum: 1"),
        ("UPDATE sources SET count = 9", "table sources with a wrong checksum: 2"),
        (
            "UPDATE batches SET events = NULL WHERE first = 3",
            "rows that are inconsistent with other tables",
        ),
        (
            "INSERT INTO outcomes SELECT NULL, peer, 3, 4, 1, 0, 0, 0, NULL, NULL FROM peers",
            "the outcomes of the batch of events 3 to 5 are not those that were recorded",
        ),
    ],
)
def test_invalid_rows(tmp_path, statement, text):
    path = tmp_path / "outbox"
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    with recording_receiver() as receiver, pytest.raises(OutboxError, match=text):
        deliver(path, receiver)


def test_batch_damaged_while_it_waits(tmp_path):
    """`wait` and `put` raise an error with the peer, the events and the reason."""
    path = tmp_path / "outbox"
    dead = Peer(HOST, 1, name="dead")
    with recording_receiver() as receiver:
        peer = Peer(HOST, receiver.listener.port, name="peer")
        delivery = Delivery([peer, dead], outbox=path)
        with closing(sqlite3.connect(path)) as database:
            database.execute(
                "CREATE TRIGGER damage AFTER INSERT ON batches WHEN NEW.first = 4096 "
                "BEGIN UPDATE batches SET events = zeroblob(9) WHERE first = 4096; END"
            )
        with pytest.raises(OutboxError, match=r"delivery to peer: .*events 4096 to 8191"), delivery:
            delivery.put(numbered(8192))
        [of_peer, _] = delivery.progress()
        assert of_peer.state == "failed"
        assert "wrong checksum" in (of_peer.failure or "")
        assert of_peer.answered == 4096
        # As in docs/delivery.md.
        with closing(sqlite3.connect(path)) as database:
            database.executescript(
                "DELETE FROM due WHERE first = 4096; "
                "UPDATE batches SET events = NULL WHERE first = 4096"
            )
        with Delivery(peer, outbox=path) as delivery:
            delivery.put(numbered(1))
        assert delivery.progress()[0].answered == 1


class Panic(BaseException):
    """An exception as pyo3's PanicException, which is not an Exception."""


class UnreadableBatch:
    """A batch whose reader panics."""

    @staticmethod
    def from_ipc(stream: bytes) -> None:
        raise Panic("range end index out of range")


class UnusableBatch:
    """A batch that can be read, but not used."""

    @staticmethod
    def from_ipc(stream: bytes) -> "UnusableBatch":
        return UnusableBatch()

    def __len__(self) -> int:
        return 1

    def take(self, rows: list[int]) -> None:
        raise Panic("range end index out of range")


@pytest.mark.parametrize(
    ("batch", "kind", "text"),
    [
        (UnreadableBatch, OutboxError, "memory: the outbox is damaged: the batch of events 0 to 0"),
        (UnusableBatch, DeliveryError, "events 0 to 0: Panic: range end index out of range"),
    ],
)
@pytest.mark.parametrize("then", [lambda to: to.wait(DEADLINE), lambda to: to.put(numbered(1))])
def test_panic_is_an_error_of_wait(
    monkeypatch, batch: type, kind: type[Exception], text: str, then: Callable[[Delivery], object]
):
    monkeypatch.setattr(fastdimse._outbox.outbox, "EventBatch", batch)
    with listen(0, host=HOST) as listener:
        delivery = Delivery(Peer(HOST, listener.port, name="peer"))
        with closing(delivery):
            delivery.put(numbered(1))
            until(lambda: delivery.progress()[0].state == "failed")
            with pytest.raises(kind, match=f"delivery to peer: {text}"):
                then(delivery)


def test_outbox_of_another_version(tmp_path):
    path = tmp_path / "outbox"
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(
        OutboxError, match="the outbox has version 2, but this fastdimse reads version 3"
    ):
        Delivery(Peer(HOST, 1), outbox=path)


def test_other_databases_are_not_changed(tmp_path):
    path = tmp_path / "other"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE other (number INTEGER)")
    before = path.read_bytes()
    with pytest.raises(OutboxError, match="a database of another application"):
        Delivery(Peer(HOST, 1), outbox=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda path: path.unlink(), "the file was removed: No such file"),
        (lambda path: path.rename(path.with_name("moved")), "the file was removed: No such file"),
        (lambda path: (path.unlink(), path.touch()), "the file was replaced by another file"),
    ],
)
def test_outbox_removed_while_it_is_open(tmp_path, change, text):
    path = tmp_path / "outbox"
    with closing(Delivery(Peer(HOST, 1), outbox=path)) as delivery:
        delivery.put(numbered(1))
        change(path)
        with pytest.raises(OutboxError, match=text):
            delivery.put(numbered(1))


def test_command_reports_damage(tmp_path):
    path, rows = tmp_path / "outbox", tmp_path / "rows.ndjson"
    rows.write_text("")
    filled(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE peers SET name = 'pier'")
        database.commit()
    with listen(0, host=HOST) as listener:
        command = (sys.executable, "-m", "fastdimse", "send", rows, HOST, str(listener.port))
        ran = subprocess.run(
            [*command, "--outbox", path], capture_output=True, text=True, check=False, timeout=60
        )
    assert ran.returncode == 2
    assert ran.stderr.startswith("fastdimse: error: ")
    assert "the outbox is damaged" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
