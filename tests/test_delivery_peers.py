"""Delivery to the right peer: recipients of events, peers that come and go, outcomes, threads."""

import asyncio
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from fastdimse import ColumnError, Delivery, OutboxError, Peer, aio, listen
from outbox_sender import numbered
from processes import Program, resident
from scripted_peer import HOST, Conversation, peer
from test_outbox import DEADLINE, instances, until

SENDER = Path(__file__).parent / "peers_sender.py"


class Requesters:
    """A listener for many requesters, and the instances that each of them received."""

    def __init__(self) -> None:
        self.received: dict[str, list[str]] = {}
        self.listener = listen(0, host=HOST, max_connections=8192)
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        for received in self.listener:
            table = pa.table(received)
            for title, instance in zip(
                table["CalledAETitle"].to_pylist(),
                table["AffectedSOPInstanceUID"].to_pylist(),
                strict=True,
            ):
                self.received.setdefault(title, []).append(instance)

    def peer(self, title: str, **options: Any) -> Peer:
        """Return the peer of a requester."""
        return Peer(HOST, self.listener.port, called_ae=title, **options)

    def close(self) -> None:
        """Close the listener, and receive the remaining events."""
        self.listener.close()
        self._thread.join(DEADLINE)


@contextmanager
def requesters() -> Iterator[Requesters]:
    """Run a listener for many requesters."""
    found = Requesters()
    try:
        yield found
    finally:
        found.close()


def dead(title: str, **options: Any) -> Peer:
    """Return a peer that refuses connections."""
    return Peer(HOST, 1, called_ae=title, **options)


@contextmanager
def silent() -> Iterator[int]:
    """Run a server that accepts connections and never responds, and yield its port."""
    connections = []
    with socket.create_server((HOST, 0), backlog=1024) as server:

        def accept() -> None:
            try:
                while True:
                    connections.append(server.accept()[0])
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)
            for connection in connections:
                connection.close()


# ------------------------------------------------------------------ recipients

TITLES = ["CT", "MR", "CT", "US"]
EXPECTED = {"CT": ["1.2.0", "1.2.2"], "MR": ["1.2.1"], "US": ["1.2.3"]}


def rows() -> list[dict[str, Any]]:
    """Return four events with their peers."""
    return [{**event, "Peer": title} for event, title in zip(numbered(4), TITLES, strict=True)]


def columns() -> dict[str, list[Any]]:
    """Return the same events as columns."""
    return {name: [row[name] for row in rows()] for name in rows()[0]}


FORMS: dict[str, Callable[[], Any]] = {
    "list of rows": rows,
    "iterator of rows": lambda: iter(rows()),
    "columns": columns,
    "columns of Arrow": lambda: {n: pa.array(v) for n, v in columns().items()},
    "Table": lambda: pa.table(columns()),
    "dictionary": lambda: pa.table({**columns(), "Peer": pa.array(TITLES).dictionary_encode()}),
    "RecordBatch": lambda: pa.RecordBatch.from_pydict(columns()),
    "reader": lambda: pa.table(columns()).to_reader(max_chunksize=1),
    "list of tables": lambda: pa.table(columns()).to_batches(max_chunksize=3),
    "iterator of tables": lambda: iter(pa.table(columns()).to_batches(max_chunksize=3)),
    "Dataset": lambda: pyarrow.dataset.dataset(pa.table(columns())),
    "Scanner": lambda: pyarrow.dataset.dataset(pa.table(columns())).scanner(),
    "polars": lambda: pl.DataFrame(columns()),
    "LazyFrame": lambda: pl.LazyFrame(columns()),
    "pandas": lambda: pd.DataFrame(columns()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_row_goes_to_its_peer(form, tmp_path):
    with requesters() as found:
        peers = [found.peer(title) for title in EXPECTED]
        with Delivery(peers, outbox=tmp_path / "outbox") as delivery:
            assert delivery.put(form()) == range(4)
        assert [delivery.outcomes(peer)["Event"] for peer in peers] == [[0, 2], [1], [3]]
        assert {s for p in peers for s in delivery.outcomes(p)["Status"]} == {0}
    assert found.received == EXPECTED


def test_many_rows_and_batches():
    """Batches of 4,096 rows are divided, and each peer receives its events in order."""
    count = 10_000
    chance = random.Random(4)
    titles = [f"P{number}" for number in range(20)]
    given = [chance.sample(titles, chance.choice([1, 1, 2, 3])) for _ in range(count)]
    expected = {
        title: [f"1.2.{number}" for number in range(count) if title in given[number]]
        for title in titles
    }
    with (
        requesters() as found,
        Delivery([found.peer(title) for title in titles], threads=4) as delivery,
    ):
        events = zip(numbered(count), given, strict=True)
        numbers = delivery.put({**event, "Peer": these} for event, these in events)
        assert numbers == range(count)
    assert found.received == expected


def test_one_event_to_many_peers():
    with requesters() as found, Delivery([found.peer(title) for title in "ABC"]) as delivery:
        [event] = numbered(1)
        # All values but the peers are repeated.
        assert delivery.put({**event, "Peer": ["A", "B", "C"]}) == range(3)
        assert delivery.put({**event, "Peer": "A"}) == range(3, 4)
        assert delivery.put([event], peer=["A", delivery.find_peer("B")]) == range(4, 5)
        assert delivery.put([event]) == range(5, 6)
    assert {title: len(got) for title, got in found.received.items()} == {"A": 4, "B": 3, "C": 2}


def test_peer_argument():
    with requesters() as found:
        ct, mr = found.peer("CT", name="scanner"), found.peer("MR")
        with Delivery([ct, mr]) as delivery:
            for to in ("scanner", "CT", " CT ", ct, [ct], ("CT", "scanner")):
                delivery.put(numbered(1), peer=to)
            delivery.put(numbered(2), peer=mr.name)
            delivery.put(numbered(3), peer={"MR": 1})
    assert {title: len(got) for title, got in found.received.items()} == {"CT": 6, "MR": 5}
    # A name or a title is also accepted elsewhere.
    assert len(delivery.outcomes("scanner")["Event"]) == 6
    assert delivery.outcomes("MR") == delivery.outcomes(mr)


def test_find_peer():
    peers = [dead("CT", name="one"), dead("CT", name="two"), dead("MR"), dead("X", name="MR")]
    with closing(Delivery(peers)) as delivery:
        assert delivery.find_peer("one") is peers[0]
        # A name precedes a title.
        assert delivery.find_peer("MR") is peers[3]
        with pytest.raises(ValueError, match=r"several peers .* 'CT': .* 'one' or 'two'"):
            delivery.find_peer("CT")
        with pytest.raises(ValueError, match=r"no peer of this delivery has the name .* 'US'"):
            delivery.find_peer("US")
        delivery.remove_peer("two")
        assert delivery.find_peer("CT") is peers[0]


def of(*given: Any) -> list[dict[str, Any]]:
    return [{**event, "Peer": one} for event, one in zip(numbered(99), given, strict=False)]


@pytest.mark.parametrize(
    ("events", "options", "error", "text"),
    [
        (of("A", "B", "XX"), {}, ValueError, "row 2: Peer: no peer .* 'XX'"),
        (of("A", "C"), {}, ValueError, "row 1: Peer: several peers .* 'c1' or 'c2'"),
        (of("A", None), {}, TypeError, "row 1: Peer: a peer is required, not None"),
        (of("A", 5), {}, TypeError, "row 1: Peer: a peer must be a Peer or a str, not int"),
        (of("A", []), {}, ValueError, "row 1: Peer: at least one peer is required"),
        (of("A", ["B", "XX"]), {}, ValueError, "row 1: Peer: no peer"),
        ([*of("A"), *numbered(1)], {}, ColumnError, "row 1 has no 'Peer', unlike"),
        ([*numbered(1), *of("A")], {}, ColumnError, "row 1 has a 'Peer', unlike"),
        (pa.Table.from_pylist(of("A", "XX")), {}, ValueError, "row 1: Peer: no peer"),
        (pa.Table.from_pylist(of("A", None)), {}, TypeError, "row 1: Peer: a peer is required"),
        (
            {**next(numbered(1)), "EventTypeID": [1, 1], "Peer": ["A"]},
            {},
            ColumnError,
            "'Peer' has 1 rows, but 'EventTypeID' has 2",
        ),
        (
            {**next(numbered(1)), "Peers": "A"},
            {},
            ColumnError,
            "unknown column 'Peers': did you mean 'Peer'",
        ),
        (
            pa.Table.from_pylist([{**next(numbered(1)), "peer": "A"}]),
            {},
            ColumnError,
            "unknown column 'peer': did you mean 'Peer'",
        ),
        (of("A"), {"peer": "A"}, ValueError, "peer must not be given for events with a column"),
        (iter(of("A")), {"peer": "A"}, ValueError, "peer must not be given"),
        (list(numbered(1)), {"peer": "XX"}, ValueError, "no peer"),
        (list(numbered(1)), {"peer": []}, ValueError, "at least one peer"),
        (list(numbered(1)), {"peer": 7}, TypeError, "a peer must be a Peer or a str, not int"),
        (list(numbered(1)), {"peer": dead("A")}, ValueError, "must be a peer of this delivery"),
    ],
)
def test_invalid_recipients(events, options, error, text):
    """Nothing is stored."""
    peers = [dead("A"), dead("B"), dead("C", name="c1"), dead("C", name="c2")]
    with closing(Delivery(peers)) as delivery:
        with pytest.raises(error, match=text):
            delivery.put(events, **options)
        assert [one.due for one in delivery.progress()] == [0, 0, 0, 0]


def test_invalid_recipient_in_a_stream():
    """The rows before the row are stored, and the next events have the next numbers."""
    with closing(Delivery(dead("A"))) as delivery:
        given = ({**event, "Peer": "A"} for event in numbered(5000))
        wrong = ({**event, "Peer": "B"} for event in numbered(1))
        with pytest.raises(ValueError, match="row 5000: Peer: no peer"):
            delivery.put(one for some in (given, wrong) for one in some)
        assert delivery.progress()[0].due == 5000
        assert delivery.put(numbered(1), peer="A") == range(5000, 5001)


def test_rejected_rows_of_a_peer(tmp_path):
    """A row whose values do not fit is an outcome of its own peer."""
    given = of("A", "B", ["A", "B"], "B")
    given[1]["EventTypeID"] = given[2]["EventTypeID"] = 1 << 16
    with requesters() as found:
        peers = [found.peer("A"), found.peer("B")]
        with Delivery(peers, outbox=tmp_path / "outbox") as delivery:
            delivery.put(given)
        assert [delivery.outcomes(one)["Event"] for one in peers] == [[0, 2], [1, 2, 3]]
        assert [delivery.outcomes(one)["Failure"] for one in peers] == [
            [None, "out-of-range"],
            ["out-of-range", "out-of-range", None],
        ]
        assert [one.failures for one in delivery.progress()] == [
            {"out-of-range": 1},
            {"out-of-range": 2},
        ]


def test_sources(tmp_path):
    path = tmp_path / "outbox"
    with requesters() as found:
        peers = [found.peer("A"), found.peer("B")]
        given = [{**event, "Peer": "AB"[number % 2]} for number, event in enumerate(numbered(9000))]
        for count in (5000, 9000, 9000):
            with Delivery(peers, outbox=path) as delivery:
                delivery.put(given[:count], source="file")
        with Delivery(peers, outbox=path) as delivery:
            assert delivery.put(numbered(3), source="for A", peer="A") == range(9000, 9003)
            assert delivery.put(numbered(3), source="for A", peer="A") == range(0)
            with pytest.raises(OutboxError, match="for some of these peers only"):
                delivery.put(numbered(3), source="for A")
            with pytest.raises(OutboxError, match=r"have no column Peer, .* had one"):
                delivery.put(numbered(3), source="file")
            with pytest.raises(OutboxError, match=r"have a column Peer, .* had none"):
                delivery.put(of("A"), source="for A")
    everything = instances(9000)
    assert found.received == {"A": everything[::2] + instances(3), "B": everything[1::2]}


# ------------------------------------------------------------- peers that come and go


def test_add_and_remove_peers(tmp_path):
    path = tmp_path / "outbox"
    with requesters() as found, Delivery(outbox=path) as delivery:
        assert delivery.peers == []
        with pytest.raises(ValueError, match="the delivery has no peers"):
            delivery.put(numbered(1))
        ct = found.peer("CT")
        delivery.add_peer(ct)
        delivery.put(numbered(3))
        assert delivery.wait(DEADLINE)
        delivery.remove_peer(ct)
        with pytest.raises(ValueError, match="no peer"):
            delivery.put(numbered(3), peer="CT")
        with pytest.raises(ValueError, match="must be a peer of this delivery"):
            delivery.remove_peer(ct)
        delivery.add_peer(ct)
        delivery.put(numbered(5), peer="CT")
        with pytest.raises(ValueError, match="different names"):
            delivery.add_peer(found.peer("CT"))
        with pytest.raises(TypeError, match="peer must be a Peer, not str"):
            delivery.add_peer("CT")
    assert found.received == {"CT": [*instances(3), *instances(5)]}
    for call in (delivery.add_peer, delivery.remove_peer):
        with pytest.raises(RuntimeError, match="the delivery is closed"):
            call(ct)


def test_events_of_a_removed_peer_stay(tmp_path):
    path = tmp_path / "outbox"
    with (
        requesters() as found,
        Delivery([dead("CT", name="ct"), found.peer("MR")], outbox=path) as delivery,
    ):
        delivery.put(of("CT", "MR", "CT"))
        until(lambda: delivery.progress()[0].state == "waiting")
        delivery.remove_peer("ct")
        assert delivery.due_to_other_peers() == {"ct": 2}
        assert delivery.wait(DEADLINE)
        assert [one.peer.called_ae for one in delivery.progress()] == ["MR"]
        # Another address, the same name.
        delivery.add_peer(found.peer("NEW", name="ct"))
        assert delivery.wait(DEADLINE)
        assert delivery.due_to_other_peers() == {}
    assert found.received == {"MR": ["1.2.1"], "NEW": ["1.2.0", "1.2.2"]}


def test_remove_while_sending():
    """Outstanding responses are awaited, and no event is sent twice."""
    seen: list[str] = []

    def script(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            seen.append(request.AffectedSOPInstanceUID)
            time.sleep(0.02)
            talk.respond(request.MessageID)

    with peer(script, script) as port:
        to = Peer(HOST, port)
        with Delivery(to) as delivery:
            delivery.put(numbered(40))
            until(lambda: len(seen) > 5)
            delivery.remove_peer(to)
            count = len(seen)
            assert 0 < count < 40
            time.sleep(0.2)
            assert len(seen) == count
            assert sum(delivery.due_to_other_peers().values()) == 40 - count
            delivery.add_peer(to)
    assert seen == instances(40)


def test_remove_a_peer_that_never_responds():
    with silent() as port, closing(Delivery(Peer(HOST, port, name="hole"))) as delivery:
        delivery.put(numbered(1))
        until(lambda: delivery.progress()[0].state == "connecting")
        begin = time.monotonic()
        delivery.remove_peer("hole")
        with requesters() as found:
            delivery.add_peer(found.peer("NEW", name="hole"))
            assert delivery.wait(DEADLINE)
            assert time.monotonic() - begin < 10
        assert found.received == {"NEW": ["1.2.0"]}


def test_peers_come_and_go_at_random(tmp_path):
    """No event is lost, delivered to another peer, or delivered in another order."""
    chance = random.Random(9)
    titles = [f"P{number}" for number in range(6)]
    put: dict[str, list[str]] = {title: [] for title in titles}
    with requesters() as found:
        peers = {title: found.peer(title) for title in titles}
        with Delivery(peers.values(), outbox=tmp_path / "outbox", threads=2) as delivery:
            stop = threading.Event()

            def change() -> None:
                while not stop.is_set():
                    title = chance.choice(titles)
                    delivery.remove_peer(title)
                    time.sleep(chance.uniform(0, 0.01))
                    delivery.add_peer(peers[title])
                time.sleep(0.02)

            changing = threading.Thread(target=change)
            changing.start()
            number = 0
            end = time.monotonic() + 5
            while time.monotonic() < end:
                these = chance.choices(titles, k=5)
                given = [
                    {**next(numbered(1)), "AffectedSOPInstanceUID": f"1.2.{number + row}"}
                    for row in range(5)
                ]
                number += 5
                rows = [{**e, "Peer": t} for e, t in zip(given, these, strict=True)]
                while True:
                    try:
                        delivery.put(rows)
                    except ValueError:
                        # One of them is removed now.
                        time.sleep(0.001)
                        continue
                    break
                for row, title in zip(rows, these, strict=True):
                    put[title].append(row["AffectedSOPInstanceUID"])
            stop.set()
            changing.join()
            assert delivery.wait(DEADLINE)
            assert delivery.due_to_other_peers() == {}
    assert number > 200
    assert found.received == put


def test_two_threads_put_to_the_same_peer(tmp_path):
    with requesters() as found:
        peers = [found.peer("A"), found.peer("B")]
        with Delivery(peers, outbox=tmp_path / "outbox") as delivery:
            numbers: list[int] = []

            def put(first: int) -> None:
                for one in range(20):
                    name = f"1.2.{first + one}"
                    event = {**next(numbered(1)), "AffectedSOPInstanceUID": name}
                    numbers.extend(delivery.put([event], peer="A"))

            threads = [threading.Thread(target=put, args=(1000 * n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert sorted(numbers) == list(range(80))
    assert list(found.received) == ["A"]
    for first in range(0, 4000, 1000):
        expected = [f"1.2.{first + one}" for one in range(20)]
        assert [one for one in found.received["A"] if one in expected] == expected
    assert len(found.received["A"]) == 80


# ------------------------------------------------------------------------ threads


def test_no_thread_without_events(monkeypatch):
    monkeypatch.setattr("fastdimse._delivery.peer_delivery._IDLE", 0.1)
    monkeypatch.setattr("fastdimse._delivery.pool._IDLE_THREAD", 0.1)
    before = threading.active_count()
    with requesters() as found:
        with_listener = threading.active_count()
        peers = [found.peer(f"P{number}") for number in range(50)]
        with Delivery(peers, threads=4) as delivery:
            most = 0
            delivery.put(numbered(10))
            while not delivery.wait(0.001):
                most = max(most, threading.active_count())
            assert most <= with_listener + 5
            until(lambda: found.listener.connections == 0)
            until(lambda: threading.active_count() == with_listener + 1)
            delivery.put(numbered(1), peer="P7")
            assert delivery.wait(DEADLINE)
    until(lambda: threading.active_count() == before)
    assert {title: len(got) for title, got in found.received.items()} == {
        f"P{number}": 11 if number == 7 else 10 for number in range(50)
    }


def test_dead_peers_do_not_delay_others():
    """More peers never respond than there are threads that send."""
    with requesters() as found, silent() as port:
        holes = [Peer(HOST, port, called_ae=f"H{n}", association_timeout=60) for n in range(10)]
        refused = [dead(f"D{n}") for n in range(20)]
        living = [found.peer(f"P{n}") for n in range(100)]
        # The dead ones are first.
        delivery = Delivery([*holes, *refused, *living], threads=4)
        begin = time.monotonic()
        delivery.put(numbered(5))
        until(lambda: not any(one.due for one in delivery.progress()[30:]))
        assert time.monotonic() - begin < 20
        assert {one.due for one in delivery.progress()[:30]} == {5}
        begin = time.monotonic()
        delivery.close()
        assert time.monotonic() - begin < 5
    assert found.received == {f"P{n}": instances(5) for n in range(100)}


def test_slow_peers_do_not_delay_others():
    def slow(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            time.sleep(0.7)
            talk.respond(request.MessageID)

    with requesters() as found, peer(slow) as first, peer(slow) as second:
        slow_ones = [Peer(HOST, port, called_ae="SLOW") for port in (first, second)]
        living = [found.peer(f"P{n}") for n in range(20)]
        delivery = Delivery([*slow_ones, *living], threads=2)
        begin = time.monotonic()
        delivery.put(numbered(10))
        until(lambda: not any(one.due for one in delivery.progress()[2:]))
        assert time.monotonic() - begin < 5
        delivery.close()


def test_one_thread_serves_peers_in_turn():
    """A peer with many events does not delay one with few."""
    with requesters() as found:
        many, few = found.peer("MANY", window=1), found.peer("FEW")
        with Delivery([many, few], threads=1) as delivery:
            delivery.put(numbered(30_000), peer="MANY")
            delivery.put(numbered(3), peer="FEW")
            until(lambda: delivery.progress()[1].due == 0)
            assert delivery.progress()[0].due > 10_000
            delivery.close(at_once=True)


def test_thousands_of_peers():
    """Peers without events need little memory and no threads."""
    with requesters() as found:
        peers = [found.peer(f"P{number}") for number in range(5000)]
        before, threads = resident(), threading.active_count()
        delivery = Delivery(peers)
        # Threads of other tests may end meanwhile.
        assert threading.active_count() <= threads + 1
        delivery.put(numbered(2), peer=["P7", "P4999"])
        assert delivery.wait(DEADLINE)
        assert resident() - before < 40 * 2**20
        assert len(delivery.progress()) == 5000
        delivery.close()
    assert found.received == {"P7": instances(2), "P4999": instances(2)}


def test_limit_of_open_associations(monkeypatch):
    monkeypatch.setattr("fastdimse._delivery.pool._MAX_OPEN", 5)
    with requesters() as found:
        peers = [found.peer(f"P{number}") for number in range(40)]
        with Delivery(peers, threads=2) as delivery:
            for _ in range(3):
                delivery.put(numbered(40))
            assert delivery.wait(DEADLINE)
            until(lambda: found.listener.connections <= 5)
    assert found.listener.take_failures() == []
    assert found.received == {f"P{n}": 3 * instances(40) for n in range(40)}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"give_up_after": -1}, "give_up_after must be at least 0 s, not -1"),
        ({"longest_delay": -0.5}, "longest_delay must be at least 0 s, not -0.5"),
        ({"longest_delay": float("nan")}, "longest_delay must be at least 0 s, not nan"),
        ({"retry_statuses": 0}, "with this Status the peer has accepted"),
    ],
)
def test_invalid_options(options, text):
    with pytest.raises(ValueError, match=text):
        Delivery(**options)


def test_outcomes_of_one_source():
    with requesters() as found, Delivery(found.peer("A")) as delivery:
        delivery.put(numbered(1), source="run")
        assert delivery.wait(10)
        assert delivery.count_outcomes("A", ["run"]) == {(0, None): 1}
        assert delivery.count_outcomes("A", "run") == {(0, None): 1}


# ----------------------------------------------------------------------- outcomes


def taken_in(batches: Iterator[dict[str, list[Any]]]) -> list[tuple[str, int, int | None]]:
    """Return the peer, event and Status of all outcomes."""
    return [
        row
        for batch in batches
        for row in zip(batch["Peer"], batch["Event"], batch["Status"], strict=True)
    ]


def counts(path: Path) -> list[int]:
    """Return the numbers of rows in the tables of an outbox that could grow."""
    with closing(sqlite3.connect(path)) as database:
        return [
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("batches", "due", "outcomes", "taken")
        ]


def test_take_outcomes(tmp_path):
    path = tmp_path / "outbox"
    with (
        requesters() as found,
        Delivery([found.peer("A", name="a"), dead("B", name="b")], outbox=path) as delivery,
    ):
        delivery.put(of("A", "B", "A"))
        assert taken_in(delivery.take_outcomes(timeout=1)) == [("a", 0, 0), ("a", 2, 0)]
        assert delivery.outcomes("a")["Event"] == []
        assert delivery.outcomes("b")["Failure"] == ["due"]
        assert counts(path) == [1, 1, 0, 0]
        delivery.remove_peer("b")
        delivery.add_peer(found.peer("B", name="b"))
        assert taken_in(delivery.take_outcomes(timeout=1)) == [("b", 1, 0)]
        assert counts(path) == [0, 0, 0, 0]
        assert delivery.put(numbered(1), peer="a") == range(3, 4)
    # Not taken.
    with Delivery(found.peer("A", name="a"), outbox=path) as delivery:
        assert taken_in(delivery.take_outcomes(timeout=0)) == [("a", 3, 0)]
    assert counts(path) == [0, 0, 0, 0]


def test_outcomes_of_an_incomplete_iteration_are_taken_again(tmp_path):
    path = tmp_path / "outbox"
    with requesters() as found:
        to = found.peer("A", name="a")
        with Delivery(to, outbox=path) as delivery:
            delivery.put(numbered(2))
            assert delivery.wait(DEADLINE)
            batches = delivery.take_outcomes()
            assert len(next(batches)["Event"]) == 2
            batches.close()
        with Delivery(to, outbox=path) as delivery:
            assert taken_in(delivery.take_outcomes(timeout=0)) == [("a", 0, 0), ("a", 1, 0)]
            assert taken_in(delivery.take_outcomes(timeout=0)) == []


def test_part_of_the_outcomes_of_a_batch(tmp_path):
    """Events with a taken outcome are not sent again, also by the next delivery."""
    seen: list[str] = []

    def script(talk: Conversation) -> None:
        talk.accept()
        for request in talk.requests():
            seen.append(request.AffectedSOPInstanceUID)
            last = request.AffectedSOPInstanceUID == "1.2.20"
            talk.respond(request.MessageID, status=0x0110 if last else 0)

    path = tmp_path / "outbox"
    with peer(script) as port, closing(Delivery(Peer(HOST, port, name="a"), outbox=path)) as to:
        to.put(numbered(30))
        until(lambda: to.progress()[0].answered == 29)
        assert [event for _, event, _ in taken_in(to.take_outcomes(timeout=0))] == [
            *range(20),
            *range(21, 30),
        ]
        assert counts(path)[1:] == [1, 0, 29]
    with requesters() as found:
        with Delivery(found.peer("A", name="a"), outbox=path) as to:
            pass
        until(lambda: found.received == {"A": ["1.2.20"]})
        with Delivery(found.peer("A", name="a"), outbox=path) as to:
            assert taken_in(to.take_outcomes(timeout=0)) == [("a", 20, 0)]
    assert counts(path) == [0, 0, 0, 0]


def test_outcomes_for_a_thread(tmp_path):
    """The iteration ends when the delivery is closed, after all outcomes."""
    with requesters() as found:
        got: list[tuple[str, int, int | None]] = []
        with Delivery(found.peer("A", name="a"), outbox=tmp_path / "outbox") as delivery:
            thread = threading.Thread(target=lambda: got.extend(taken_in(delivery.take_outcomes())))
            thread.start()
            for _ in range(20):
                delivery.put(numbered(100))
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert sorted(got) == [("a", number, 0) for number in range(2000)]


def test_one_iterator_at_a_time():
    with closing(Delivery(dead("A"))) as delivery:
        first = delivery.take_outcomes(timeout=0.5)
        thread = threading.Thread(target=lambda: next(first, None))
        thread.start()
        time.sleep(0.1)
        with pytest.raises(RuntimeError, match="taken by another iterator"):
            next(delivery.take_outcomes())
        thread.join()
        assert next(delivery.take_outcomes(timeout=0), None) is None


def test_callback(tmp_path, caplog):
    path = tmp_path / "outbox"
    got: list[tuple[str, int, int | None]] = []
    calls: list[str] = []

    def on_outcomes(outcomes: dict[str, list[Any]]) -> None:
        calls.append(threading.current_thread().name)
        if len(calls) == 2:
            raise OSError("the database is locked")
        got.extend(taken_in(iter([outcomes])))

    with requesters() as found:
        to = [found.peer("A", name="a"), found.peer("B", name="b")]
        with Delivery(to, outbox=path, on_outcomes=on_outcomes) as delivery:
            for _ in range(10):
                delivery.put(numbered(10))
                time.sleep(0.05)
            with pytest.raises(RuntimeError, match="the outcomes are passed to on_outcomes"):
                next(delivery.take_outcomes())
    expected = [(name, number, 0) for name in "ab" for number in range(100)]
    assert sorted(got) == expected
    assert counts(path) == [0, 0, 0, 0]
    assert set(calls) == {"fastdimse delivery worker"}
    assert "on_outcomes failed" in caplog.text
    assert "the database is locked" in caplog.text


def test_failing_callback_loses_no_outcome(tmp_path, caplog):
    path = tmp_path / "outbox"

    def fail(outcomes: dict[str, list[Any]]) -> None:
        raise OSError

    with requesters() as found:
        to = found.peer("A", name="a")
        with Delivery(to, outbox=path, on_outcomes=fail) as delivery:
            delivery.put(numbered(3))
        assert delivery.outcomes()["Status"] == [0, 0, 0]
        got: list[tuple[str, int, int | None]] = []
        with Delivery(
            to, outbox=path, on_outcomes=lambda outcomes: got.extend(taken_in(iter([outcomes])))
        ):
            pass
    assert got == [("a", 0, 0), ("a", 1, 0), ("a", 2, 0)]


def test_callback_that_puts_and_closes(tmp_path):
    """A callback may use the delivery, also close it."""
    calls: list[int] = []

    def on_outcomes(outcomes: dict[str, list[Any]]) -> None:
        calls.append(len(outcomes["Event"]))
        if len(calls) < 3:
            delivery.put(numbered(1))
        else:
            delivery.close()

    with requesters() as found:
        delivery = Delivery(found.peer("A"), outbox=tmp_path / "outbox", on_outcomes=on_outcomes)
        delivery.put(numbered(1))
        until(lambda: len(calls) == 3)
        with pytest.raises(RuntimeError, match="closed"):
            delivery.put(numbered(1))
        delivery.close()
    assert found.received == {"A": ["1.2.0"] * 3}


def put_events(delivery: Delivery) -> None:
    for _ in range(5):
        delivery.put(numbered(500))
        delivery.put(of(*["A", "B", ["A", "B"]] * 33))


def test_outbox_does_not_grow(tmp_path):
    """An outbox whose outcomes are taken needs no more room than one run without taking them.

    How many events wait at a time depends on the machine, and the size of the file on that.
    """
    path, full = tmp_path / "outbox", tmp_path / "full"
    with requesters() as found:
        peers = [found.peer("A", name="a"), found.peer("B", name="b")]
        with Delivery(peers, outbox=full) as delivery:
            put_events(delivery)
        for _ in range(8):
            taken: list[Any] = []
            with Delivery(
                peers,
                outbox=path,
                on_outcomes=lambda outcomes, taken=taken: taken.extend(outcomes["Event"]),
            ) as delivery:
                put_events(delivery)
            assert counts(path) == [0, 0, 0, 0]
            assert len(taken) == 5 * (1000 + 4 * 33)
    assert path.stat().st_size <= full.stat().st_size


# ------------------------------------------------------------------ kills and damage


def test_killed_during_put(tmp_path):
    """Every event arrives at its peer, and only there; a taken outcome is not repeated."""
    path, count, titles = tmp_path / "outbox", 30_000, ["P0", "P1", "P2"]
    chance = random.Random(5)
    with requesters() as found:
        for attempt in range(25):
            program = Program(SENDER, found.listener.port, path, count)
            try:
                program.find("begins", "stdout")
                if attempt < 24:
                    time.sleep(chance.uniform(0, 0.25))
                else:
                    program.find("delivered", "stdout")
            finally:
                program.close()
            until(lambda: found.listener.connections == 0)
            time.sleep(0.15)
    for number, title in enumerate(titles):
        assert set(found.received[title]) == set(instances(count)[number::3])
    # Each outcome was taken at least once, and none remains.
    lines = (tmp_path / "outbox.taken").read_text().split()
    assert set(lines) >= {f"P{number % 3}:{number}" for number in range(count)}
    assert counts(path) == [0, 0, 0, 0]


def test_damaged_batch_of_one_peer(tmp_path):
    """The other peers get their events."""
    path = tmp_path / "outbox"
    with requesters() as found:
        peers = [dead("A", name="a"), dead("B", name="b")]
        with closing(Delivery(peers, outbox=path)) as delivery:
            delivery.put(of("A", "B", "A", "B"))
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE batches SET events = zeroblob(9) WHERE first = 1")
            database.commit()
        peers = [found.peer("A", name="a"), found.peer("B", name="b")]
        with (
            pytest.raises(
                OutboxError, match=r"delivery to b: .*events 1 to 3 has a wrong checksum"
            ),
            Delivery(peers, outbox=path) as delivery,
        ):
            until(lambda: delivery.progress()[0].due == 0)
        # A peer that was removed is no longer a reason for an error.
        with Delivery(peers, outbox=path) as delivery:
            until(lambda: delivery.progress()[1].state == "failed")
            delivery.remove_peer("b")
            delivery.put(of("A"))
    assert found.received == {"A": ["1.2.0", "1.2.2", "1.2.0"]}


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE batches SET offsets = x'00000000' WHERE first = 0", "wrong checksum: 1"),
        ("UPDATE counters SET stored = 9", "table counters with a wrong checksum: 1"),
        ("DELETE FROM counters", "inconsistent with other tables"),
        ("DELETE FROM due; DELETE FROM batches", "inconsistent with other tables"),
    ],
)
def test_invalid_rows(tmp_path, statement, text):
    path = tmp_path / "outbox"
    peers = [dead("A"), dead("B")]
    with closing(Delivery(peers, outbox=path)) as delivery:
        delivery.put(of("A", "B", "A"))
    with closing(sqlite3.connect(path)) as database:
        database.executescript(statement)
    with pytest.raises(OutboxError, match=text):
        Delivery(peers, outbox=path)


def test_two_deliveries_on_one_outbox(tmp_path):
    path = tmp_path / "outbox"
    with (
        closing(Delivery(dead("A"), outbox=path)),
        pytest.raises(
            OutboxError,
            match=r"another Delivery of this process .*; use one Delivery with several peers",
        ),
    ):
        Delivery(dead("B"), outbox=path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")
def test_forked_process(tmp_path):
    """A child cannot use the delivery, and does not hang, whatever threads held locks."""
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fastdimse import Delivery, Peer
from outbox_sender import numbered
delivery = Delivery([Peer("127.0.0.1", 1, name="a")], outbox={str(tmp_path / "outbox")!r})
delivery.put(numbered(3))
delivery._pool.lock.acquire()
delivery._storing.acquire()
if os.fork() == 0:
    calls = [
        lambda: delivery.put(numbered(1), peer="a"),
        lambda: delivery.add_peer(Peer("127.0.0.1", 1)),
        lambda: delivery.remove_peer("a"),
        lambda: next(delivery.take_outcomes()),
        lambda: delivery.wait(),
    ]
    for call in calls:
        try:
            call()
        except OSError as error:
            print(type(error).__name__)
    delivery.close()
    print("closed", flush=True)
    os._exit(0)
os.wait()
delivery._storing.release()
delivery._pool.lock.release()
delivery.close()
"""

    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split() == ["OutboxError"] * 5 + ["closed"]


# ------------------------------------------------------------------------ asyncio


def test_asyncio(tmp_path):
    async def deliver() -> list[tuple[str, int, int | None]]:
        got = []
        async with aio.deliver(outbox=tmp_path / "outbox") as delivery:
            a, b = found.peer("A", name="a"), found.peer("B", name="b")
            await asyncio.gather(delivery.add_peer(a), delivery.add_peer(b))
            assert await delivery.put(of("A", "B")) == range(2)
            assert await delivery.put(numbered(2), peer="B") == range(2, 4)
            assert await delivery.wait(DEADLINE)
            async for outcomes in delivery.take_outcomes(timeout=0.5):
                got += taken_in(iter([outcomes]))
            await delivery.remove_peer("A")
            assert delivery.delivery.peers == [b]
            with pytest.raises(ValueError, match="no peer"):
                await delivery.put(of("A"))
        return got

    with requesters() as found:
        got = asyncio.run(deliver())
    assert sorted(got) == [("a", 0, 0), ("b", 1, 0), ("b", 2, 0), ("b", 3, 0)]
    assert found.received == {"A": ["1.2.0"], "B": ["1.2.1", "1.2.0", "1.2.1"]}
    assert counts(tmp_path / "outbox") == [0, 0, 0, 0]


def test_asyncio_tasks():
    """A task that takes outcomes ends with the delivery, or can be cancelled."""

    async def deliver() -> None:
        got = []

        async def take() -> None:
            async for outcomes in delivery.take_outcomes():
                got.extend(outcomes["Event"])

        async with aio.deliver(found.peer("A")) as delivery:
            task = asyncio.create_task(take())
            await delivery.put(numbered(5))
            assert await delivery.wait(DEADLINE)
            while len(got) < 5:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            task = asyncio.create_task(take())
            await delivery.put(numbered(5))
        await asyncio.wait_for(task, DEADLINE)
        with pytest.raises(RuntimeError, match="the delivery is closed"):
            await delivery.put(numbered(1))
        # The last batch of the cancelled task may be taken again.
        assert set(got) == set(range(10))

    with requesters() as found:
        asyncio.run(deliver())


def test_asyncio_exception_in_the_block():
    async def deliver() -> None:
        async with aio.deliver(dead("A")) as delivery:
            await delivery.put(numbered(5))
            assert not await delivery.wait(0.1)
            raise KeyError

    begin = time.monotonic()
    with pytest.raises(KeyError):
        asyncio.run(deliver())
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("options", [[], ["--ignore-columns"]])
@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".parquet", ".arrow"])
def test_column_peer(tmp_path, suffix, options):
    """Each row is sent to the peer with its called AE title."""
    path = tmp_path / f"rows{suffix}"
    rows = [
        {
            "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
            "AffectedSOPInstanceUID": f"1.2.{number}",
            "EventTypeID": 1,
            "Peer": title,
            **({"Colour": 1} if options else {}),
        }
        for number, title in enumerate(["CT", "MR", "CT"])
    ]
    table = pa.Table.from_pylist(rows)
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    elif suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with requesters() as found:
        port = found.listener.port
        command = [sys.executable, "-m", "fastdimse", "send", *options, str(path), HOST]
        command += [str(port), "--called-ae", "CT", "--peer", f"{HOST}:{port}:MR"]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert ran.returncode == 0, ran.stderr
        command[-1] = f"{HOST}:{port}:US"
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        # A row of text is rejected, and the other rows are sent.
        is_text = suffix in (".ndjson", ".csv")
        assert ran.returncode == (1 if is_text else 2)
        reason = "Peer: no peer of this delivery has the name or called AE title 'MR'"
        if is_text:
            line = 2 if suffix == ".ndjson" else 3
            reason = f"not sent: line {line}, Peer: 'MR' is not a peer to send to"
        assert reason in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert len(found.received["CT"]) == (4 if is_text else 2)
    assert found.received["MR"] == ["1.2.1"]
    assert found.received["CT"][:2] == ["1.2.0", "1.2.2"]


def test_column_peer_of_several_files(tmp_path):
    """Structured data sets, and a file without the column, whose rows have no peer."""
    for name, titles in (("a", ["CT", "MR"]), ("b", ["MR"])):
        rows = [{**e, "Peer": t} for e, t in zip(numbered(2), titles, strict=False)]
        (tmp_path / f"{name}.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    without = tmp_path / "c" / "c.ndjson"
    without.parent.mkdir()
    without.write_text("".join(f"{json.dumps(row)}\n" for row in numbered(1)))
    with requesters() as found:
        port = found.listener.port
        command = [sys.executable, "-m", "fastdimse", "send", str(tmp_path / "a.ndjson")]
        options = [HOST, str(port), "--called-ae", "CT", "--peer", f"{HOST}:{port}:MR"]
        ran = subprocess.run(
            [*command, str(tmp_path / "b.ndjson"), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        ran = subprocess.run(
            [*command, str(without), *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 2, ran.stdout
    assert found.received["CT"][:1] == ["1.2.0"]
    assert found.received["MR"][:2] == ["1.2.1", "1.2.0"]
    # No event without a peer was sent to all.
    assert sum(map(len, found.received.values())) <= 5
