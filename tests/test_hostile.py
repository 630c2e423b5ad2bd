"""Hostile peers and a receiver, which is a process."""

import os
import random
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from fastdimse import connect
from oracle import encode_p_data, primitive
from outbox_sender import numbered
from processes import resident
from scripted_peer import HOST
from test_receive_command import Receiver, received
from test_receiving import request

MEBIBYTE = 1 << 20


@contextmanager
def receiver(folder, *options: object) -> Iterator[Receiver]:
    """Run a receiver, and check that it ends in order."""
    program = Receiver(folder, "--format", "ndjson", *options)
    try:
        yield program
        program.send_signal(2)
        assert program.ended() == 0, program
        assert "panicked" not in str(program)
    finally:
        program.close()


def memory(program: Receiver) -> int:
    """Return the resident memory of a program in bytes."""
    return resident(program.pid)


def is_served(port: int, count: int = 100) -> None:
    """Check that events of a normal peer are received."""
    with connect(HOST, port, window=1) as talk:
        assert talk.send(numbered(count)).answered == count


def is_served_again(port: int) -> None:
    """Check the same after the receiver has detected closed connections."""
    end = time.monotonic() + 20
    while True:
        try:
            is_served(port)
            return
        except OSError:
            assert time.monotonic() < end


def test_ten_thousand_half_open_connections(tmp_path):
    """Connections are opened and closed, up to the limit of this process at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with receiver(tmp_path, "--max-connections", 64) as program, ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        port = program.listens_on
        is_served(port)
        before = memory(program)
        served = connect(HOST, port, window=1)
        done = 0
        while done < 10_000:
            some = [socket.create_connection((HOST, port)) for _ in range(min(1000, hard // 4))]
            for number, one in enumerate(some):
                # Some send a few bytes, most send nothing.
                if number % 10 == 0:
                    one.sendall(b"\x01\0\0\0\x01\0"[: number % 7])
            # An open association is served meanwhile.
            assert served.send(numbered(10)).answered == 10
            done += len(some)
            for one in some:
                one.close()
        served.release()
        is_served_again(port)
        assert memory(program) - before < 64 * MEBIBYTE


def seconds_of_work(program: Receiver) -> float:
    """Return the processor time of a program in seconds."""
    with open(f"/proc/{program.pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux has prlimit")
@pytest.mark.parametrize("ends", [False, True], ids=["connections end", "the receiver ends"])
def test_no_descriptors_left(tmp_path, ends):
    """Connections that cannot be accepted wait, and need no processor time."""
    with receiver(tmp_path) as program, ExitStack() as connections:
        port = program.listens_on
        is_served(port)
        there = len(list(Path(f"/proc/{program.pid}/fd").iterdir()))
        _, hard = resource.prlimit(program.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (there + 20, hard))
        for _ in range(40):
            connections.enter_context(socket.create_connection((HOST, port)))
        begin = seconds_of_work(program)
        time.sleep(1)
        assert seconds_of_work(program) - begin < 0.3
        if not ends:
            connections.close()
            is_served_again(port)


def p_data(*pdvs: bytes) -> bytes:
    """Return a P-DATA-TF PDU."""
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def pdv(header: int, fragment: bytes, context_id: int = 1) -> bytes:
    """Return a PDV."""
    return struct.pack(">IBB", len(fragment) + 2, context_id, header) + fragment


HOSTILE = {
    "a PDU of 4 GiB": b"\x04\0\xff\xff\xff\xff",
    "a request of 4 GiB": b"\x01\0\xff\xff\xff\xff",
    "a PDV of 4 GiB": b"\x04\0\0\0\0\x0a\xff\xff\xff\xff\x01\x03\0\0\0\0",
    "a PDV of nothing": b"\x04\0\0\0\0\x04\0\0\0\0",
    "an element of 4 GiB": p_data(pdv(3, b"\0\0\0\0\xff\xff\xff\xff")),
    "a command set that is none": p_data(pdv(3, b"\xff" * 100)),
    "a data set without a command": p_data(pdv(2, b"\0" * 100)),
    "commands that go on": p_data(pdv(1, b"\0" * 1000)) * 1000,
}


@pytest.mark.parametrize("begun", [False, True], ids=["at once", "on an association"])
def test_hostile_bytes(tmp_path, begun):
    with receiver(tmp_path) as program:
        port = program.listens_on
        is_served(port)
        before = memory(program)
        for sent in HOSTILE.values():
            with socket.create_connection((HOST, port)) as one:
                one.settimeout(10)
                if begun:
                    one.sendall(request())
                    assert one.recv(1 << 16)[:1] == b"\x02"
                one.sendall(sent)
                one.shutdown(socket.SHUT_WR)
                while one.recv(1 << 16):
                    pass
        is_served(port)
        assert memory(program) - before < 32 * MEBIBYTE
    assert len(received(tmp_path)) == 200


def test_random_and_truncated_bytes(tmp_path):
    """Truncated and changed bytes of a valid association."""
    chance = random.Random(11)
    with receiver(tmp_path) as program:
        port = program.listens_on
        honest = request() + bytes(1)
        for _ in range(500):
            sent = bytearray(honest[: chance.randrange(1, len(honest))])
            for _ in range(chance.randrange(4)):
                sent[chance.randrange(len(sent))] = chance.randrange(256)
            with socket.create_connection((HOST, port)) as one:
                one.sendall(sent + chance.randbytes(chance.randrange(50)))
        is_served(port)


def test_a_data_set_without_an_end(tmp_path):
    with receiver(tmp_path) as program:
        port = program.listens_on
        is_served(port)
        before = memory(program)
        with socket.create_connection((HOST, port)) as one:
            one.settimeout(10)
            one.sendall(request())
            one.recv(1 << 16)
            command = commands_of_an_event()
            one.sendall(p_data(pdv(3, command)))
            fragment = p_data(pdv(0, bytes(16_000)))
            # 64 MiB are received. Further bytes are read for a second and discarded.
            with suppress(ConnectionError):
                for _ in range(100 * MEBIBYTE // 16_000):
                    one.sendall(fragment)
        is_served(port)
        assert memory(program) - before < 300 * MEBIBYTE
    assert "1 association failed: a message has more than the maximum of 67108864 bytes" in str(
        program
    )


def commands_of_an_event() -> bytes:
    """Return the command set of a request with a data set, encoded by pynetdicom."""
    event = primitive(
        MessageID=1,
        AffectedSOPClassUID="1.2.840.10008.1.20.1",
        AffectedSOPInstanceUID="1.2",
        EventTypeID=1,
    )
    command = encode_p_data(event, 1)[12:]
    # A data set follows (PS3.7 E.1).
    return command.replace(b"\0\0\0\x08\x02\0\0\0\x01\x01", b"\0\0\0\x08\x02\0\0\0\x01\0")


def test_a_byte_at_a_time(tmp_path):
    """Ten slow peers, and one that is not slow."""
    with receiver(tmp_path) as program:
        port = program.listens_on
        stop = threading.Event()

        def drip() -> None:
            with socket.create_connection((HOST, port)) as one:
                for byte in request() * 100:
                    if stop.wait(0.005):
                        return
                    one.sendall(bytes([byte]))

        threads = [threading.Thread(target=drip) for _ in range(10)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        is_served(port, 500)
        assert time.monotonic() - begin < 10
        stop.set()
        for thread in threads:
            thread.join()
