"""A listener responds with Success only to events that it has delivered to the program.

A model of peers divides and joins fragments, stalls, and ends in every way. The listener is real.
The bytes of the peers are not written by fastdimse.
"""

import socket
import struct
import time
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fastdimse import listen
from plain_messages import (
    ACTION_RQ,
    COMMAND,
    ECHO_RQ,
    EVENT_RQ,
    EVENT_RSP,
    LAST,
    command_set,
    pdu,
    pdvs,
)
from scripted_peer import A_ABORT, A_RELEASE_RQ, HOST
from test_receiving import COMMITMENT, request

PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.5"
"""A SOP class that a context of storage commitment does not accept."""

SUCCESS, REFUSED_BY_HANDLER = 0x0000, 0x0112


@dataclass
class Message:
    """A message that a peer sends."""

    number: int
    kind: str
    instance: str
    data: bytes
    end: int | None = None
    """Position of the end of its last PDU in the bytes of the peer."""

    def is_event(self) -> bool:
        return self.kind not in ("unexpected response", "echo", "action")


@dataclass
class Peer:
    """A peer, the bytes that it wrote, and the number of those that were sent."""

    connection: socket.socket
    messages: list[Message] = field(default_factory=list)
    fragments: list[tuple[bytes, Message | None]] = field(default_factory=list)
    stream: bytes = b""
    boundaries: list[int] = field(default_factory=lambda: [0])
    sent: int = 0
    is_open: bool = True
    reads_all: bool = True
    answers: bytes = b""

    def join(self, count: int) -> None:
        """Join fragments of one or several messages in one PDU."""
        some, self.fragments = self.fragments[:count], self.fragments[count:]
        self.stream += pdu(*(fragment for fragment, _ in some))
        self.boundaries.append(len(self.stream))
        for _, message in some:
            if message is not None:
                message.end = len(self.stream)

    def send(self, to: int) -> None:
        """Send the bytes up to a position."""
        try:
            self.connection.sendall(self.stream[self.sent : to])
            self.sent = to
        except OSError:
            # The listener ended the association, which is correct only after an error of this peer.
            self.is_open = False

    def boundary(self) -> int:
        """Position of the end of the PDU that is partly sent."""
        return min(end for end in self.boundaries if end >= self.sent)

    def complete(self) -> list[Message]:
        """The messages that were sent completely."""
        return [one for one in self.messages if one.end is not None and one.end <= self.sent]

    def read_to_end(self) -> None:
        """Read until the listener closes the connection."""
        try:
            while not self.has_last() and (found := self.connection.recv(1 << 16)):
                self.answers += found
        except OSError:
            pass
        self.connection.close()

    def has_last(self) -> bool:
        """Whether an A-RELEASE-RP or A-ABORT was received."""
        return any(kind in (6, 7) for kind, _ in self.pdus())

    def pdus(self) -> list[tuple[int, bytes]]:
        """The received PDUs."""
        found, rest = [], self.answers
        while len(rest) >= 6:
            end = 6 + struct.unpack_from(">I", rest, 2)[0]
            if len(rest) < end:
                break
            found.append((rest[0], rest[6:end]))
            rest = rest[end:]
        return found

    def answered(self) -> list[tuple[int, int]]:
        """The Message ID and the Status of each response."""
        found = []
        for kind, body in self.pdus():
            if kind != 4:
                continue
            [length] = struct.unpack_from(">I", body)
            assert length + 4 == len(body)
            assert body[5] == COMMAND | LAST
            values, at = {}, 6
            while at < len(body):
                _, number, size = struct.unpack_from("<HHI", body, at)
                values[number] = body[at + 8 : at + 8 + size]
                at += 8 + size
            [command] = struct.unpack("<H", values[0x0100])
            if command == EVENT_RSP:
                [answered], [status] = (
                    struct.unpack("<H", values[one]) for one in (0x0120, 0x0900)
                )
                found.append((answered, status))
        return found


class Listening(RuleBasedStateMachine):
    """A listener, and its peers."""

    peers = Bundle("peers")

    @initialize(way=st.sampled_from(["receive", "handler", "batch_handler"]))
    def begin(self, way: str) -> None:
        self.way = way
        self.all: list[Peer] = []
        self.numbers: dict[int, Peer] = {}
        # Delivered events by association: instance, data set, and whether the handler accepted it.
        self.given: dict[str, list[tuple[str, bytes]]] = {}
        self.kept: dict[str, list[str]] = {}
        options: dict[str, Any] = {"max_waiting": 2000, "idle_timeout": 5}
        if way == "handler":
            options["handler"] = self.handle
        elif way == "batch_handler":
            options["batch_handler"] = self.handle_batch
        self.listener = listen(0, host=HOST, **options)

    def give(self, title: str, instance: str, data: bytes) -> int:
        self.given.setdefault(title, []).append((instance, data))
        if self.way != "receive" and instance.endswith("7"):
            return REFUSED_BY_HANDLER
        self.kept.setdefault(title, []).append(instance)
        return SUCCESS

    def handle(self, event: Any, calling_ae: str) -> int:
        data = event.EventInformation.getvalue() if event.EventInformation else b""
        return self.give(calling_ae, event.AffectedSOPInstanceUID, data)

    def handle_batch(self, received: Any) -> list[int]:
        names = ("CallingAETitle", "AffectedSOPInstanceUID", "EventInformation")
        rows = pa.table(received).select(names).to_pylist()
        return [self.give(row[names[0]], row[names[1]], row[names[2]] or b"") for row in rows]

    @precondition(lambda self: len(self.all) < 3)
    @rule(target=peers)
    def connect(self) -> Peer:
        connection = socket.create_connection((HOST, self.listener.port), timeout=10)
        connection.sendall(request(calling=f"PEER{len(self.all)}"))
        accepted = connection.recv(6, socket.MSG_WAITALL)
        assert accepted[0] == 2
        connection.recv(struct.unpack_from(">I", accepted, 2)[0], socket.MSG_WAITALL)
        peer = Peer(connection)
        self.all.append(peer)
        return peer

    @rule(
        peer=peers,
        kind=st.sampled_from(
            [
                "good",
                "good",
                "good",
                "empty",
                "long",
                "class",
                "unexpected response",
                "echo",
                "action",
            ]
        ),
        data=st.binary(max_size=30).map(lambda one: one + b"\0" * (len(one) % 2)),
        sizes=st.lists(st.integers(0, 60), max_size=3),
        more=st.lists(st.integers(0, 20), max_size=2),
    )
    def write(self, peer: Peer, kind: str, data: bytes, sizes: list[int], more: list[int]) -> None:
        number = len(peer.messages) + 1
        instance = f"1.{number}" if kind != "long" else "1." + "9" * 70
        data = data if kind in ("good", "long", "class") else b""
        # A data set of zero bytes that the command set announces.
        announced = bool(data) or kind == "empty"
        message = Message(number, kind, instance, data)
        command = {"unexpected response": EVENT_RSP, "echo": ECHO_RQ, "action": ACTION_RQ}.get(
            kind, EVENT_RQ
        )
        sop_class = PROCEDURE_STEP if kind == "class" else COMMITMENT
        commands = command_set(number, instance, sop_class, command, data=announced)
        parts = pdvs(commands, COMMAND, sizes) + (pdvs(data, 0, more) if announced else [])
        peer.fragments += [(part, None) for part in parts[:-1]] + [(parts[-1], message)]
        peer.messages.append(message)

    @rule(peer=peers, count=st.integers(1, 6))
    def join(self, peer: Peer, count: int) -> None:
        if peer.fragments:
            peer.join(count)

    @rule(peer=peers, part=st.floats(0, 1))
    def send(self, peer: Peer, part: float) -> None:
        if peer.is_open:
            peer.send(peer.sent + round(part * (len(peer.stream) - peer.sent)))

    @rule()
    def stall(self) -> None:
        time.sleep(0.002)

    @precondition(lambda self: self.way == "receive")
    @rule()
    def receive(self) -> None:
        received = self.listener.receive(timeout=0.002, linger=0)
        if received is not None:
            self.handle_batch(received)

    @rule(peer=peers, how=st.sampled_from(["release", "close", "abort", "garbage", "reset"]))
    def end(self, peer: Peer, how: str) -> None:
        if not peer.is_open:
            return
        if how == "release":
            while peer.fragments:
                peer.join(2)
            peer.send(len(peer.stream))
        elif how in ("abort", "garbage"):
            peer.send(peer.boundary())
        peer.is_open = False
        peer.reads_all = how != "reset"
        try:
            match how:
                case "release":
                    peer.connection.sendall(A_RELEASE_RQ)
                case "close":
                    peer.connection.shutdown(socket.SHUT_WR)
                case "abort":
                    peer.connection.sendall(A_ABORT)
                case "garbage":
                    peer.connection.sendall(b"\xff" * 10)
                case "reset":
                    linger = struct.pack("ii", 1, 0)
                    peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    peer.connection.close()
        except OSError:
            peer.reads_all = False

    def teardown(self) -> None:
        if not hasattr(self, "listener"):
            return
        for peer in self.all:
            self.end(peer, "close")
        for peer in self.all:
            if not peer.reads_all:
                continue
            if self.way == "receive":
                # Peers that wait for room continue.
                peer.connection.settimeout(0.01)
                while not self.has_ended(peer):
                    self.receive()
            peer.connection.settimeout(10)
            peer.read_to_end()
        self.listener.close()
        while (received := self.listener.receive() if self.way == "receive" else None) is not None:
            self.handle_batch(received)
        for number, peer in enumerate(self.all):
            self.check(peer, f"PEER{number}")

    def has_ended(self, peer: Peer) -> bool:
        try:
            found = peer.connection.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            return True
        peer.answers += found
        return not found or peer.has_last()

    def check(self, peer: Peer, title: str) -> None:
        given, kept = self.given.get(title, []), self.kept.get(title, [])
        complete = [one for one in peer.complete() if one.is_event()]
        good = [one for one in complete if one.kind in ("good", "empty")]
        # Delivered: complete events as they were sent, in order, once.
        assert given == [(one.instance, one.data) for one in good][: len(given)]
        answered = peer.answered()
        by_number = {one.number: one for one in peer.messages}
        successes = [by_number[number].instance for number, status in answered if not status]
        assert successes == kept[: len(successes)]
        refused = [by_number[number].kind for number, status in answered if status]
        assert {"good", "empty", "long", "class"} >= set(refused)
        if peer.reads_all:
            assert len(given) == len(good)
            assert successes == kept
            # All have a response; those of a batch after others that were rejected immediately.
            assert sorted(number for number, _ in answered) == [one.number for one in complete]


def test_success_only_for_delivered_events():
    run_state_machine_as_test(
        Listening,
        settings=settings(max_examples=settings().max_examples, stateful_step_count=15),
    )


@pytest.mark.parametrize("end", ["close", "abort", "garbage", "reset"])
@pytest.mark.parametrize("way", ["receive", "handler", "batch_handler"])
def test_pdu_with_fragments_of_two_events(way, end):
    """The PDUs of an event also contain fragments of other events."""
    machine = Listening()
    machine.begin(way)
    peer = machine.connect()
    for _ in range(100):
        machine.write(peer, "good", b"", [20], [])
    peer.join(1)
    while peer.fragments:
        peer.join(2)
    machine.send(peer, 1.0)
    machine.end(peer, end)
    machine.teardown()
