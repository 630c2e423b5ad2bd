"""Delivery until each peer has responded: several peers, faults, and the outbox."""

import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import fastdimse
from fastdimse import AssociationError, Delivery, OutboxError, Peer, listen
from outbox_sender import numbered
from processes import Program
from scripted_peer import A_ABORT, EXPLICIT, HOST, Conversation, peer
from test_delivery import events, listener, responding

SENDER = Path(__file__).parent / "outbox_sender.py"
DEADLINE = 30


class RecordingReceiver:
    """A listener, and the instances of the events that it received, in order."""

    def __init__(self, **options: Any) -> None:
        self.instances: list[str] = []
        self.listener = listen(0, host=HOST, **options)
        self.peer = Peer(HOST, self.listener.port)
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        for received in self.listener:
            self.instances += pa.table(received)["AffectedSOPInstanceUID"].to_pylist()

    def close(self) -> None:
        """Close the listener, and receive the remaining events."""
        self.listener.close()
        self._thread.join(DEADLINE)


@contextmanager
def recording_receiver(**options: Any) -> Iterator[RecordingReceiver]:
    """Run a listener that records instances."""
    found = RecordingReceiver(**options)
    try:
        yield found
    finally:
        found.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def instances(count: int) -> list[str]:
    """Return the instances of numbered events."""
    return [f"1.2.{number}" for number in range(count)]


def test_every_peer_gets_every_event(tmp_path):
    with recording_receiver() as receiver, recording_receiver() as other:
        with Delivery([receiver.peer, other.peer], outbox=tmp_path / "outbox") as delivery:
            assert delivery.put(numbered(10_000)) == range(10_000)
            assert delivery.put(events(2)) == range(10_000, 10_002)
        for peer_ in (receiver.peer, other.peer):
            outcomes = delivery.outcomes(peer_)
            assert outcomes["Event"] == list(range(10_002))
            assert set(outcomes["StatusName"]) == {"0x0000 Success"}
            assert pa.table(outcomes).num_rows == 10_002
        with pytest.raises(ValueError, match="peer is required: the delivery has 2 peers"):
            delivery.outcomes()
    for each in (receiver, other):
        assert each.instances == [*instances(10_000), *["1.2.840.10008.1.20.1.1"] * 2]


def test_dead_and_slow_peers_do_not_delay_others():
    def slow(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            time.sleep(0.2)
            talk.respond(request.MessageID)

    with recording_receiver() as quick, peer(slow) as slow_port:
        dead, tardy = Peer(HOST, 1), Peer(HOST, slow_port)
        delivery = Delivery([dead, tardy, quick.peer])
        with closing(delivery):
            delivery.put(numbered(1000))
            until(lambda: delivery.progress()[2].due == 0)
            of_dead, of_tardy, of_quick = delivery.progress()
            assert of_quick.answered == 1000
            assert of_tardy.due > 0
            assert (of_dead.due, of_dead.answered) == (1000, 0)
            assert "Connection refused" in (of_dead.failure or "")
            assert not delivery.wait(0.1)
        assert delivery.outcomes(dead)["Failure"] == ["due"] * 1000
        assert "Connection refused" in delivery.outcomes(dead)["Reason"][0]
        # The delivery waited for responses to events that were sent.
        answered = delivery.outcomes(tardy)["Status"]
        assert answered == [0] * (1000 - answered.count(None)) + [None] * answered.count(None)


def test_failed_association_is_reopened():
    seen: list[str] = []

    def script(then: Callable[[Conversation], object], count: int) -> Callable[..., None]:
        def run(talk: Conversation) -> None:
            talk.accept()
            requests = talk.requests()
            for _ in range(count):
                request = next(requests)
                seen.append(request.AffectedSOPInstanceUID)
                talk.respond(request.MessageID)
            seen.append(f"unanswered {next(requests).AffectedSOPInstanceUID}")
            then(talk)

        return run

    def to_the_end(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            seen.append(request.AffectedSOPInstanceUID)
            talk.respond(request.MessageID)

    scripts = [
        script(lambda talk: talk.write(A_ABORT), 2),
        lambda talk: talk.reject(2, 1, 1),
        script(lambda talk: None, 0),
        to_the_end,
    ]
    with (
        peer(*scripts) as port,
        Delivery(Peer(HOST, port), longest_delay=0.1) as delivery,
    ):
        delivery.put(numbered(5))
    assert seen == [
        *("1.2.0", "1.2.1", "unanswered 1.2.2", "unanswered 1.2.2"),
        *("1.2.2", "1.2.3", "1.2.4"),
    ]
    [progress] = delivery.progress()
    assert (progress.answered, progress.due, progress.attempts) == (5, 0, 4)
    assert delivery.outcomes()["Status"] == [0] * 5


def test_permanent_rejection_is_reported_and_not_retried():
    """Each Status is a response; a row that no peer accepts has a reason."""
    given = events(4, AffectedSOPInstanceUID=["1.2", "1.2", "wrong", "1.2"])
    given["EventTypeID"] = [1, 0x0112 + 1, 1, 1 << 16]
    with listener() as (port, got), Delivery(Peer(HOST, port)) as delivery:
        delivery.put(given)
    outcomes = delivery.outcomes()
    assert outcomes["Status"] == [0, 0x0112, None, None]
    assert outcomes["Failure"] == [None, None, "uid", "out-of-range"]
    assert "AffectedSOPInstanceUID" in outcomes["Reason"][2]
    assert "EventTypeID" in outcomes["Reason"][3]
    assert len(got) == 2
    [progress] = delivery.progress()
    assert progress.statuses == {0: 1, 0x0112: 1}
    assert progress.failures == {"uid": 1, "out-of-range": 1}
    assert (progress.due, progress.answered) == (0, 2)


def test_peer_with_another_transfer_syntax():
    data_set = fastdimse.encode_events(events(1), on_invalid="skip")
    assert len(data_set) == 1

    def script(talk: Conversation) -> None:
        talk.accept(transfer_syntax=EXPLICIT)
        assert list(talk.requests()) == []

    with peer(script) as port, Delivery(Peer(HOST, port)) as delivery:
        delivery.put(events(1, EventInformation=[b"\x08\0\x95\x11\x02\0\0\x001\0"]))
    assert delivery.outcomes()["Failure"] == ["transfer-syntax"]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        (lambda talk: talk.reject(1, 1, 7), "called AE title"),
        (lambda talk: (talk.accept(result=3), talk.read()), "no presentation context"),
    ],
)
def test_permanent_rejection_of_the_association(script, text):
    with peer(script) as port, Delivery(Peer(HOST, port)) as delivery:
        delivery.put(events(2))
    [progress] = delivery.progress()
    assert (progress.state, progress.attempts, progress.due) == ("refused", 1, 2)
    assert text in (progress.failure or "")
    assert text in delivery.outcomes()["Reason"][0]


def test_give_up_after():
    with Delivery(Peer(HOST, 1), give_up_after=0.3, longest_delay=0.1) as delivery:
        delivery.put(events(2))
    [progress] = delivery.progress()
    assert (progress.state, progress.due) == ("given up", 2)
    assert progress.attempts > 2


def test_idle_association_is_released(monkeypatch):
    monkeypatch.setattr("fastdimse._delivery.peer_delivery._IDLE", 0.1)
    with recording_receiver() as receiver, Delivery(receiver.peer) as delivery:
        for number in range(3):
            delivery.put(events(1, AffectedSOPInstanceUID=f"1.2.{number}"))
            until(lambda number=number: receiver.instances == instances(number + 1))
            until(lambda: receiver.listener.connections == 0)
    assert receiver.listener.take_failures() == []
    assert delivery.progress()[0].attempts == 3


def test_an_outbox_is_delivered_by_the_next_process(tmp_path):
    path = tmp_path / "outbox"
    delivery = Delivery(Peer(HOST, 1, name="one"), outbox=path)
    delivery.put(numbered(5000))
    delivery.close()
    with recording_receiver() as receiver:
        # The same name with another address.
        peer_ = Peer(HOST, receiver.listener.port, name="one")
        with Delivery(peer_, outbox=path) as delivery:
            assert delivery.progress()[0].due > 0
        with Delivery(peer_, outbox=path) as delivery:
            assert delivery.progress()[0].due == 0
    assert receiver.instances == instances(5000)
    assert delivery.outcomes()["Status"] == [0] * 5000
    # Delivered events are deleted.
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(events), count(*) FROM batches").fetchone() == (0, 2)


def test_nonconformant_uids(tmp_path):
    path = tmp_path / "outbox"
    reference = {"ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}
    report = {
        "TransactionUID": "1.2.03",
        "ReferencedSOPSequence": [{**reference, "ReferencedSOPInstanceUID": "1.2.04"}],
    }
    given = events(1, AffectedSOPInstanceUID="1.2.05", EventInformation=[report])
    with closing(Delivery(Peer(HOST, 1, name="one"), outbox=path)) as delivery:
        delivery.put(given, enforce_uid_conformance=False)
        delivery.put(given)
    # The next process reads this option from the outbox.
    with listener() as (port, got), Delivery(Peer(HOST, port, name="one"), outbox=path) as delivery:
        pass
    assert delivery.outcomes()["Status"] == [0, None]
    assert delivery.outcomes()["Failure"] == [None, "uid"]
    [(*_, instance, information)] = got
    assert (instance, information.TransactionUID) == ("1.2.05", "1.2.03")
    [item] = information.ReferencedSOPSequence
    assert item.ReferencedSOPInstanceUID == "1.2.04"


def test_source_is_stored_once(tmp_path):
    with recording_receiver() as receiver:
        for count in (10, 5000, 5000):
            with Delivery(receiver.peer, outbox=tmp_path / "outbox") as delivery:
                delivery.put(numbered(count), source="file")
        with (
            Delivery(
                [receiver.peer, Peer(HOST, 1)], outbox=tmp_path / "outbox", give_up_after=0
            ) as delivery,
            pytest.raises(
                OutboxError, match="events of file were stored for some of these peers only"
            ),
        ):
            delivery.put(numbered(5000), source="file")
    assert receiver.instances == instances(5000)


def test_close_during_put(tmp_path):
    """`put` returns the stored events; the others were not accepted."""
    path = tmp_path / "outbox"
    delivery = Delivery(Peer(HOST, 1, name="peer"), outbox=path)

    def some() -> Iterator[dict[str, Any]]:
        for number, event in enumerate(numbered(10_000)):
            if number == 5000:
                delivery.close()
            yield event

    with pytest.raises(
        RuntimeError, match="closed while events were added: stored events 0 to 4095"
    ):
        delivery.put(some())
    with closing(Delivery(Peer(HOST, 1, name="peer"), outbox=path)) as again:
        assert again.progress()[0].due == 4096


def test_conflicting_source(tmp_path):
    path = tmp_path / "outbox"
    with closing(Delivery(Peer(HOST, 1, called_ae="ONE"), outbox=path)) as delivery:
        delivery.put(numbered(5))
    with Delivery(Peer(HOST, 1, called_ae="TWO"), outbox=path) as delivery:
        assert delivery.due_to_other_peers() == {f"ONE@{HOST}:1 from EVENT-SCP": 5}


def test_outbox_is_locked(tmp_path):
    path = tmp_path / "outbox"
    with closing(Delivery(Peer(HOST, 1), outbox=path)) as delivery:
        delivery.put(numbered(5))
        with pytest.raises(
            OutboxError,
            match="outbox: another Delivery of this process delivers from this outbox; use one",
        ):
            Delivery(Peer(HOST, 1), outbox=path)
        # The outbox can be read meanwhile.
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("SELECT sum(count) FROM batches").fetchone() == (5,)


def test_other_files(tmp_path):
    text = tmp_path / "text"
    text.write_text("no database, but more than a hundred bytes of text" * 100)
    other = tmp_path / "other"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE other (number INTEGER)")
    for path, why in [
        (text, "file is not a database"),
        (other, "a database of another application"),
        (tmp_path / "no" / "folder", "No such file or directory"),
    ]:
        with pytest.raises(OutboxError, match=why):
            Delivery(Peer(HOST, 1), outbox=path)


def test_invalid_peers():
    with (
        closing(Delivery([])) as delivery,
        pytest.raises(ValueError, match="the delivery has no peers"),
    ):
        delivery.put(events(1))
    with pytest.raises(ValueError, match=r"ANY-SCP@a:1 from EVENT-SCP occurs 2 times"):
        Delivery([Peer("a", 1), Peer("a", 1)])
    with pytest.raises(AssociationError):
        Peer(HOST, 1).connect()
    delivery = Delivery(Peer(HOST, 1))
    delivery.close()
    with pytest.raises(RuntimeError, match="closed"):
        delivery.put(events(1))


def test_invalid_options():
    for options, error, text in [
        ({"window": -1}, ValueError, "window must be 0 to 65535, not -1"),
        ({"max_pdu_length": 4095}, ValueError, "must be 0, or 4096 to 4294967295, not 4095"),
        ({"sop_classes": ["1.2", "Image"]}, ValueError, r"sop_classes\[1\], 'Image'"),
        ({"called_ae": "far too long a title"}, ValueError, "called_ae"),
        ({"sop_classes": []}, ValueError, "1 to 128"),
        ({"passcode": "secret"}, ValueError, "needs a username"),
        ({"tls": "yes"}, TypeError, "tls must be a TLS, True or None, not str"),
        ({"colour": 1}, TypeError, "colour"),
    ]:
        with pytest.raises(error, match=text):
            Peer(HOST, 1, **options)


def test_close_without_waiting():
    with peer(responding(1, lambda talk: talk.read())) as port:
        delivery = Delivery(Peer(HOST, port))
        delivery.put(events(3))
        until(lambda: delivery.progress()[0].state == "sending")
        time.sleep(0.2)
        begin = time.monotonic()
        delivery.close(at_once=True)
        assert time.monotonic() - begin < 5
    assert delivery.outcomes()["Status"] == [0, None, None]
    assert delivery.outcomes()["Failure"] == [None, "due", "due"]


def test_close_without_waiting_aborts_idle_associations():
    def script(talk: Conversation) -> None:
        talk.accept()
        talk.respond(next(talk.requests()).MessageID)
        assert talk.read()[:1] == A_ABORT[:1]

    with peer(script) as port:
        delivery = Delivery(Peer(HOST, port))
        delivery.put(events(1))
        assert delivery.wait(DEADLINE)
        delivery.close(at_once=True)


def instances_with_response(path: Path) -> set[str]:
    """Return the instances of the events with a response in the outbox."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as database:
        try:
            found = database.execute("SELECT event FROM outcomes WHERE Status = 0").fetchall()
        except sqlite3.OperationalError:
            # The process was killed before the tables were created.
            return set()
    return {f"1.2.{event}" for (event,) in found}


def test_killed_a_hundred_times(tmp_path):
    """Every event is delivered. Events with a stored response are not sent again."""
    path, count = tmp_path / "outbox", 120_000
    chance = random.Random(7)
    noted: set[str] = set()
    kills = moments_of_sending = 0
    with recording_receiver(window=1) as receiver:
        while len(noted) < count:
            begin = len(receiver.instances)
            program = Program(SENDER, receiver.listener.port, path, count)
            try:
                program.find("begins", "stdout")
                if kills < 100:
                    time.sleep(chance.uniform(0, 0.12))
                    kills += 1
                else:
                    program.find("delivered", "stdout")
            finally:
                program.close()
            until(lambda: receiver.listener.connections == 0)
            # Received events are read within this time.
            time.sleep(0.15)
            assert not noted.intersection(receiver.instances[begin:])
            now = instances_with_response(path)
            moments_of_sending += 0 < len(now) < count
            assert noted <= now
            noted = now
    assert kills == 100
    assert moments_of_sending > 50
    assert set(receiver.instances) == set(instances(count))


def test_killed_while_the_outbox_is_created(tmp_path):
    """The outbox is complete or does not exist."""
    chance = random.Random(3)
    for number in range(20):
        path = tmp_path / str(number)
        program = Program(SENDER, 1, path, 10)
        try:
            program.find("begins", "stdout")
            time.sleep(chance.uniform(0, 0.03))
        finally:
            program.close()
        with closing(Delivery(Peer(HOST, 1), outbox=path)) as delivery:
            assert delivery.progress()[0].due in (0, 10)


MOUNTED = f"""
mount -t tmpfs -o size=400k tmpfs "$1" && exec {sys.executable} - "$1" <<'END'
import sys
from pathlib import Path
from fastdimse import Delivery, OutboxError, Peer, listen
sys.path.insert(0, "{Path(__file__).parent}")
from outbox_sender import numbered

outbox = Path(sys.argv[1], "outbox")
delivery = Delivery(Peer("127.0.0.1", 1, name="peer"), outbox=outbox)
try:
    delivery.put(numbered(100_000))
except OutboxError as error:
    print(error)
delivery.close()
stored = len(delivery.outcomes()["Event"])
with listen(0, host="127.0.0.1") as listener:
    peer = Peer("127.0.0.1", listener.port, name="peer")
    try:
        with Delivery(peer, outbox=outbox, give_up_after=1) as delivery:
            pass
    except OutboxError as error:
        print(error)
    print(stored, len(set(delivery.outcomes()["Event"])))
END
"""


def run_mounted(script: str, folder: Path) -> list[str]:
    """Run a script that mounts a small disk at a folder, and return the lines that it prints."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "Operation not permitted" in ran.stderr:
        pytest.skip("no file system can be mounted here")
    lines = ran.stdout.splitlines()
    assert lines, ran.stderr
    return lines


def test_full_disk(tmp_path):
    """An event that cannot be stored is an error; stored events are kept."""
    lines = run_mounted(MOUNTED, tmp_path)
    assert lines[0].endswith("outbox: cannot write to the outbox: database or disk is full")
    before, after = map(int, lines[-1].split())
    assert 0 < before < 100_000
    assert before % 4096 == 0
    assert after == before


FILLED = f"""
mount -t tmpfs -o size=2m tmpfs "$1" && exec {sys.executable} - "$1" <<'END'
import sys, time
from contextlib import suppress
from pathlib import Path
from fastdimse import Delivery, OutboxError, Peer, listen
sys.path.insert(0, "{Path(__file__).parent}")
from outbox_sender import numbered

outbox, other = Path(sys.argv[1], "outbox"), Path(sys.argv[1], "other")
def fill(event, calling_ae):
    with other.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass

with listen(0, host="127.0.0.1", handler=fill) as listener:
    with Delivery(outbox=outbox) as delivery:
        peer = Peer("127.0.0.1", listener.port)
        delivery.add_peer(peer)
        delivery.put(numbered(2_000))
        def progress():
            [found] = delivery.progress()
            return found
        while "disk is full" not in (progress().failure or ""):
            time.sleep(0.01)
        print(progress().state, delivery.wait(0.1))
        try:
            delivery.put(numbered(10_000))
        except OutboxError as error:
            print(error.is_temporary)
        listener.close()
        other.unlink()
        with listen(listener.port, host="127.0.0.1"):
            print(delivery.wait(30), progress().state in ("idle", "closed"))
            print(delivery.outcomes(peer)["StatusName"].count("0x0000 Success") >= 2_000)
END
"""


def test_a_disk_that_is_full_for_a_time(tmp_path):
    """The delivery continues without another one when there is space."""
    assert run_mounted(FILLED, tmp_path) == ["waiting False", "True", "True True", "True"]


def test_open_delivery_at_the_end_of_the_interpreter(tmp_path):
    code = """
import sys
from fastdimse import Delivery, Peer
storage_commitment = "1.2.840.10008.1.20.1"
delivery = Delivery(Peer("127.0.0.1", int(sys.argv[1])), outbox=sys.argv[2])
delivery.put(
    {
        "AffectedSOPClassUID": storage_commitment,
        "AffectedSOPInstanceUID": "1.2",
        "EventTypeID": [1] * 5000,
    }
)
"""
    path = tmp_path / "outbox"
    with recording_receiver() as receiver:
        command = [sys.executable, "-c", code, str(receiver.listener.port), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        # Events without a response are in the outbox.
        with Delivery(Peer(HOST, receiver.listener.port), outbox=path) as delivery:
            pass
        assert delivery.progress()[0].due == 0
    assert len(receiver.instances) >= 5000


def test_no_peers():
    with pytest.raises(TypeError, match="each of peers must be a Peer, not str"):
        Delivery("localhost:104")
