"""Idle associations need no more processor time than in pynetdicom, and release all resources."""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, Verification

from fastdimse.pynetdicom import installed
from processes import running

DESCRIPTORS = Path("/dev/fd")
PROGRAM = Path(__file__).parent / "idle_association.py"
PERIODS = 5
ASSOCIATIONS = 3


def test_processor_time_of_an_idle_association():
    with running(PROGRAM, "plain") as plain, running(PROGRAM, "installed") as fast:
        seconds: list[tuple[float, float]] = []
        # At the same time, so that both have the same share of the machine.
        for _ in range(PERIODS):
            plain.tell()
            fast.tell()
            seconds.append((float(plain.line()), float(fast.line())))
    theirs, ours = (min(column) for column in zip(*seconds, strict=True))
    assert theirs > 0
    assert ours < 1.4 * theirs, seconds


def left() -> tuple[int, list[str]]:
    """Return the number of open descriptors, and the threads of associations."""
    # The folder is open while it is read.
    threads = [str(t) for t in threading.enumerate() if "reactor" in t.name or "Thread@" in t.name]
    return len(os.listdir(DESCRIPTORS)), threads


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """Resources must be released without garbage collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def released(association: Association) -> None:
    association.release()


def aborted(association: Association) -> None:
    association.abort()


def cut(association: Association) -> None:
    association.dul.socket.socket.shutdown(socket.SHUT_RDWR)


def aborted_by_the_acceptor(association: Association) -> None:
    (acceptor,) = (t for t in threading.enumerate() if isinstance(t, Association) and t.is_acceptor)
    acceptor.abort()


def left_to_the_server(association: Association) -> None:
    association.ae.shutdown()


def timed_out(association: Association) -> None:
    association.network_timeout = 0.05


ENDINGS = [released, aborted, cut, aborted_by_the_acceptor, left_to_the_server, timed_out]


def wait_for_descriptors(descriptors: int) -> None:
    end = time.monotonic() + 10
    while left()[0] > descriptors and time.monotonic() < end:
        time.sleep(0.01)
    assert left() == (descriptors, [])


def descriptors_left(ending: Callable[[Association], None]) -> int:
    """Return the number of descriptors that some associations leave open."""
    ae = AE()
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    before = left()
    server = ae.start_server(("127.0.0.1", 0), block=False)
    for _ in range(1 if ending is left_to_the_server else ASSOCIATIONS):
        association = ae.associate(*server.socket.getsockname())
        assert association.is_established
        ending(association)
        association.join(10)
        association.dul.join(10)
    if ae._servers:
        server.shutdown()
    end = time.monotonic() + 10
    while left()[1] and time.monotonic() < end:
        time.sleep(0.01)
    assert left()[1] == []
    return left()[0] - before[0]


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="open file descriptors can't be counted")
@pytest.mark.parametrize("ending", ENDINGS)
def test_resources_after_an_association(ending: Callable[[Association], None]):
    # If the connection is closed, pynetdicom usually leaves its sockets to the garbage collection:
    # two for each association. Those of fastdimse would be four more.
    theirs = 2 * ASSOCIATIONS if ending is cut else 0
    assert descriptors_left(ending) <= theirs
    with installed():
        assert descriptors_left(ending) <= theirs


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="open file descriptors can't be counted")
def test_resources_after_a_failed_association():
    with installed():
        ae = AE()
        ae.acse_timeout = ae.connection_timeout = 0.2
        ae.add_requested_context(CTImageStorage)
        before = left()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = silent.getsockname()
            assert not ae.associate(*address).is_established
        # The port is closed.
        assert not ae.associate(*address).is_established
        ae.require_called_aet = True
        ae.add_supported_context(Verification)
        server = ae.start_server(("127.0.0.1", 0), block=False)
        assert ae.associate(*server.socket.getsockname(), ae_title="WRONG").is_rejected
        # The same for an acceptor without associations.
        with socket.create_connection(server.socket.getsockname()) as quiet:
            assert quiet.recv(1) == b""
        server.shutdown()
        wait_for_descriptors(before[0])


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="open file descriptors can't be counted")
def test_uninstall_during_an_association():
    ae = AE()
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    before = left()
    server = ae.start_server(("127.0.0.1", 0), block=False)
    with installed():
        association = ae.associate(*server.socket.getsockname())
    assert association.send_c_echo().Status == 0x0000
    with installed():
        assert association.send_c_echo().Status == 0x0000
    association.release()
    server.shutdown()
    wait_for_descriptors(before[0])
