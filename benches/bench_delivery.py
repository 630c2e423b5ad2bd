"""Delivery of events over loopback, compared with other programs: data sets of 100 bytes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel

import delivery
import fastdimse
import fastdimse.pynetdicom
from bench_wire import DEADLINE, LISTEN, PLAIN, listener
from conftest import DATA_SET, SOP_CLASS, SOP_INSTANCE
from fastdimse import Delivery, Peer, connect, encode_events
from fastdimse.events import storage_commitment

ROOT = Path(__file__).parent.parent
RECEIVER = Path(__file__).with_name("receiver.py")
ORTHANC = Path(__file__).with_name("orthanc_receiver.py")
HOST = "127.0.0.1"
ASSOCIATIONS = 64
ONE_BY_ONE, WINDOW = 1, 64


def reports(count: int) -> pa.Table:
    """Return a table of events."""
    return pa.table(
        {
            "AffectedSOPClassUID": pa.repeat(SOP_CLASS, count),
            "AffectedSOPInstanceUID": pa.repeat(SOP_INSTANCE, count),
            "EventTypeID": pa.repeat(pa.scalar(1, pa.uint16()), count),
            "EventInformation": pa.repeat(DATA_SET, count),
        }
    )


def response_length() -> int:
    """Return the number of bytes of a response, with its PDUs."""
    response = {
        "MessageIDBeingRespondedTo": 1,
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": SOP_INSTANCE,
        "EventTypeID": 1,
        "Status": [0],
    }
    return encode_events(response).nbytes


SIZES = (str(encode_events(reports(1)).nbytes), str(response_length()))


@contextmanager
def running(*command: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and kill it at the end of the block."""
    pipe = subprocess.PIPE
    words = list(map(str, command))
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def seconds(*command: object, **options: Any) -> float:
    """Run a program, and return the duration that it prints."""
    words = list(map(str, command))
    ran = subprocess.run(words, capture_output=True, text=True, check=True, **options)
    return float(ran.stdout)


RECEIVERS, SENDERS = 0, -1


@contextmanager
def on_processor(which: int) -> Iterator[None]:
    """Run this thread, and the programs that it starts, on one of the processors, where possible.

    Two processes that exchange messages take turns. On one processor they are several times as fast
    as on two, which have to wake each other, and the scheduler chooses either. A comparison of two
    pairs of processes therefore has all senders on one processor and all receivers on another.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(processors)[which]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


@pytest.fixture(scope="module")
def raw() -> Iterator[tuple[Path, int]]:
    """The program with raw sockets, and the port of its server."""
    build = ["cargo", "build", "--locked", "--release", "--quiet"]
    build += ["--package", "fastdimse-delivery", "--example", "raw_sockets"]
    subprocess.run(build, check=True, cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release" / "examples" / "raw_sockets"
    with ExitStack() as stack:
        with on_processor(RECEIVERS):
            server = stack.enter_context(running(program, "serve", *SIZES))
        assert server.stdout is not None
        yield program, int(server.stdout.readline())


@pytest.fixture(scope="module")
def receiver() -> Iterator[int]:
    """The port of a `fastdimse.listen` that discards the received events."""
    with ExitStack() as stack:
        with on_processor(RECEIVERS):
            process = stack.enter_context(running(sys.executable, RECEIVER))
        assert process.stdout is not None
        yield int(process.stdout.readline())


@pytest.fixture
def measured(benchmark: Any) -> Any:
    """Measure functions of a number of events that return a duration.

    The functions of a group are called in turns, so that other load of the machine affects all of
    them.
    """

    def run(calls: dict[str, tuple[Any, int]], rounds: int = 7) -> None:
        best = dict.fromkeys(calls, float("inf"))
        benchmark.group = delivery.GROUP

        def measure_all() -> None:
            for name, (call, events) in calls.items():
                best[name] = min(best[name], call(events) / events)

        benchmark.pedantic(measure_all, rounds=rounds)
        benchmark.extra_info.update(rival="fastdimse", events=1, seconds=best)

    return run


def timed(call: Any) -> Any:
    """Return a function that calls `call` and returns the duration."""

    def run(events: int) -> float:
        begin = time.perf_counter()
        call(events)
        return time.perf_counter() - begin

    return run


def test_to_our_receiver(measured, raw, receiver):
    program, port = raw
    table = reports(200_000)

    def plain(outstanding: int) -> Any:
        return lambda events: seconds(program, "send", port, *SIZES, events, outstanding)

    with (
        on_processor(SENDERS),
        connect(HOST, receiver, window=ONE_BY_ONE) as one,
        connect(HOST, receiver, window=WINDOW) as many,
    ):

        def ours(association: fastdimse.Association) -> Any:
            def send(events: int) -> None:
                assert association.send(table.slice(0, events)).answered == events

            return timed(send)

        measured(
            {
                delivery.RAW: (plain(ONE_BY_ONE), 20_000),
                delivery.OURS: (ours(one), 20_000),
                delivery.RAW_WINDOW: (plain(WINDOW), 200_000),
                delivery.OURS_WINDOW: (ours(many), 200_000),
            },
            rounds=9,
        )


def data_set() -> Dataset:
    """Return a data set of 100 bytes."""
    found = Dataset()
    found.TextValue = "x" * 92
    return found


def test_to_and_from_pynetdicom(measured):
    table = reports(300)

    def sender_of(association: fastdimse.Association) -> Any:
        def send(events: int) -> None:
            assert association.send(table.slice(0, events)).answered == events

        return timed(send)

    with listener(PLAIN) as theirs, listener(LISTEN) as ours, connect(HOST, theirs) as sender:
        measured(
            {
                delivery.PYNETDICOM: (by_pynetdicom(Target(theirs)), 20),
                delivery.TO_PYNETDICOM: (sender_of(sender), 300),
                delivery.FROM_PYNETDICOM: (by_pynetdicom(Target(ours)), 100),
            },
            rounds=5,
        )


@dataclass
class Target:
    """A receiver, the AE titles of the association, and the data set of each event."""

    port: int
    called_ae: str = "ANY-SCP"
    calling_ae: str = "FASTDIMSE"
    data_set: Any = None


def by_pynetdicom(target: Target, *, installed: bool = False) -> Any:
    """Return a function that sends events with pynetdicom on a new association in each call."""
    ae = AE(target.calling_ae)
    ae.acse_timeout = ae.connection_timeout = DEADLINE
    # pynetdicom's reactor sometimes consumes a response that arrives immediately, and the caller
    # waits for it until this timeout. The round is then repeated.
    ae.dimse_timeout = 2
    ae.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]

    def report(events: int) -> float | None:
        association = ae.associate(HOST, target.port, ae_title=target.called_ae, ext_neg=roles)
        assert association.is_established
        begin = time.perf_counter()
        for number in range(events):
            status, _ = association.send_n_event_report(
                target.data_set or data_set(),
                1,
                StorageCommitmentPushModel,
                SOP_INSTANCE,
                number + 1,
            )
            if "Status" not in status:
                return None
            assert status.Status == 0
        took = time.perf_counter() - begin
        association.release()
        return took

    def timed(events: int) -> float:
        with fastdimse.pynetdicom.installed() if installed else nullcontext():
            tries = (report(events) for _ in range(10))
            return next(took for took in tries if took is not None)

    return timed


def by_connect(target: Target, information: Any) -> Any:
    """Return a function that sends events one at a time on a new association in each call."""

    def send(events: int) -> float:
        table = pa.table(
            {
                "AffectedSOPClassUID": pa.repeat(SOP_CLASS, events),
                "AffectedSOPInstanceUID": pa.repeat(SOP_INSTANCE, events),
                "EventTypeID": pa.repeat(pa.scalar(1, pa.uint16()), events),
                "EventInformation": pa.array([information] * events),
            }
        )
        titles = {"called_ae": target.called_ae, "calling_ae": target.calling_ae}
        with connect(HOST, target.port, window=ONE_BY_ONE, **titles) as association:
            begin = time.perf_counter()
            outcomes = association.send(table)
            took = time.perf_counter() - begin
        assert outcomes.to_pydict()["Status"] == [0] * events
        return took

    return send


@pytest.fixture(scope="module")
def orthanc() -> Iterator[tuple[int, str]]:
    """The port of a running Orthanc, and the transaction that it has requested."""
    with running(sys.executable, ORTHANC) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline().split()
        if not line:
            pytest.skip("Orthanc is not installed: ./dev peers")
        port, transaction = line
        yield int(port), transaction
        process.stdin.close()
        process.wait(DEADLINE)


def test_to_orthanc(measured, orthanc):
    """The result of a commitment with one reference, to Orthanc with its default settings."""
    port, transaction = orthanc
    reference = ("1.2.840.10008.5.1.4.1.1.2", "1.2.826.0.1.3680043.8.498.1")
    information = storage_commitment(transaction, [reference], [])["EventInformation"]
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    found = Dataset()
    found.TransactionUID, found.ReferencedSOPSequence = transaction, [item]
    target = Target(port, "ORTHANC", "FASTDIMSE", found)
    measured(
        {
            delivery.PYNETDICOM_TO_ORTHANC: (by_pynetdicom(target), 20),
            delivery.INSTALLED_TO_ORTHANC: (by_pynetdicom(target, installed=True), 1_000),
            delivery.TO_ORTHANC: (by_connect(target, information), 5_000),
        },
        rounds=5,
    )


@pytest.fixture(scope="module")
def dcmtk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that uses DCMTK."""
    program = tmp_path_factory.mktemp("dcmtk") / "dcmtk_events"
    source = Path(__file__).with_name("dcmtk_events.cc")
    libraries = ["-ldcmnet", "-ldcmdata", "-loflog", "-lofstd"]
    if shutil.which("g++") is None or not Path("/usr/include/dcmtk").is_dir():
        pytest.skip("DCMTK needs g++ and libdcmtk-dev: ./dev peers benches")
    subprocess.run(["g++", "-O2", source, "-o", program, *libraries], check=True)
    return program


def test_dcmtk(measured, dcmtk):
    """With the default settings, and with the variable that makes DCMTK set TCP_NODELAY."""
    plain = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    quick = plain | {"TCP_NODELAY": "1"}
    calls, servers = {}, []
    for name, environment, events in (
        (delivery.DCMTK, plain, 10),
        (delivery.DCMTK_NO_DELAY, quick, 10_000),
    ):
        port = free_port()
        servers.append(subprocess.Popen([dcmtk, "serve", str(port)], env=environment))
        wait_for(port)

        def send(events: int, port: int = port, environment: Any = environment) -> float:
            return seconds(dcmtk, "send", port, events, env=environment)

        calls[name] = (send, events)
    try:
        measured(calls)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def test_to_dcmtk(measured, dcmtk):
    """To a receiver with DCMTK's default settings."""
    environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    port = free_port()
    with running(dcmtk, "serve", port, env=environment):
        wait_for(port)
        target = Target(port, "DCMTK")
        measured(
            {
                delivery.PYNETDICOM_TO_DCMTK: (by_pynetdicom(target), 20),
                delivery.INSTALLED_TO_DCMTK: (by_pynetdicom(target, installed=True), 1_000),
                delivery.TO_DCMTK: (by_connect(target, {"TextValue": "x" * 92}), 5_000),
            },
            rounds=5,
        )


def free_port() -> int:
    """Return a free port."""
    with socket.create_server((HOST, 0)) as held:
        return int(held.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server listens on the port."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            fastdimse.echo(HOST, port)
        except fastdimse.AssociationError as error:
            if error.code != "connect":
                return
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


def test_many_associations(measured):
    """The same number of events on one association and on many; all of them arrive."""
    events, rounds = 128_000, 5
    table = reports(events)
    with running(sys.executable, RECEIVER) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = int(process.stdout.readline())

        def over(count: int, window: int) -> Any:
            def send(events: int) -> None:
                each = events // count
                part = table.slice(0, each)
                answered = []

                def send_part(association: fastdimse.Association) -> None:
                    answered.append(association.send(part).answered)

                threads = [
                    threading.Thread(target=send_part, args=(association,))
                    for association in associations
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert answered == [each] * count

            send_timed = timed(send)

            def run(events: int) -> float:
                nonlocal associations
                associations = [connect(HOST, port, window=window) for _ in range(count)]
                took = send_timed(events)
                for association in associations:
                    association.release()
                return took

            associations: list[fastdimse.Association] = []
            return run

        measured(
            {
                delivery.ONE: (over(1, ONE_BY_ONE), 12_800),
                delivery.MANY: (over(ASSOCIATIONS, ONE_BY_ONE), 12_800),
                delivery.ONE_WINDOW: (over(1, WINDOW), events),
                delivery.MANY_WINDOW: (over(ASSOCIATIONS, WINDOW), events),
            },
            rounds=rounds,
        )
        process.stdin.close()
        found = json.loads(process.stdout.read())
    assert found["events"] == rounds * 2 * (12_800 + events)
    assert found["failures"] == []


def test_many_peers(measured):
    """Each peer has its own events. One in ten is dead: it refuses connections, or never responds.

    Measured is the time from `put` until all events of the peers that respond have an outcome.
    """
    count, each = 1000, 20

    def rows(peers: list[Peer]) -> pa.Table:
        table = reports(count * each)
        return table.append_column("Peer", pa.array([peer.called_ae for peer in peers] * each))

    def deliver(ports: list[int]) -> Any:
        peers = [
            Peer(HOST, port, called_ae=f"PEER{number}", sop_classes=[SOP_CLASS])
            for number, port in enumerate(ports)
        ]
        living = [peer for peer in peers if peer.port == receiving]
        table = rows(peers)

        def run(events: int) -> float:
            assert events == each * len(living)
            done: Counter[str] = Counter()
            finished = threading.Event()

            def on_outcomes(outcomes: dict[str, list[Any]]) -> None:
                assert set(outcomes["Status"]) == {0}
                done.update(outcomes["Peer"])
                if done.total() == events:
                    finished.set()

            several = Delivery(peers, on_outcomes=on_outcomes)
            begin = time.perf_counter()
            several.put(table)
            assert finished.wait(DEADLINE)
            took = time.perf_counter() - begin
            several.close(at_once=True)
            assert done == {peer.name: each for peer in living}
            return took

        return run

    with (
        running(sys.executable, RECEIVER, 4 * count) as process,
        # Connections are established, and nothing accepts or reads them.
        socket.create_server((HOST, 0), backlog=4096) as silent,
    ):
        assert process.stdout is not None
        receiving = int(process.stdout.readline())
        refusing, hole = free_port(), silent.getsockname()[1]
        dead = {3: refusing, 13: hole}
        measured(
            {
                delivery.PEERS: (deliver([receiving] * count), count * each),
                delivery.LIVING_PEERS: (
                    deliver([dead.get(number % 20, receiving) for number in range(count)]),
                    count * each * 9 // 10,
                ),
            },
            rounds=5,
        )


def test_memory_of_the_receiver(benchmark):
    """The peak memory of the receiver for a million events."""
    events = 1_000_000
    table = reports(events)
    benchmark.group = delivery.GROUP
    with running(sys.executable, RECEIVER) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        port = int(process.stdout.readline())

        def send() -> None:
            with connect(HOST, port, window=WINDOW) as association:
                assert association.send(table).answered == events

        benchmark.pedantic(send, rounds=1)
        process.stdin.close()
        found = json.loads(process.stdout.read())
    assert found["events"] == events
    above = found["peak"] - found["interpreter"]
    benchmark.extra_info.update(rival="fastdimse", events=events, bytes={delivery.MEMORY: above})
