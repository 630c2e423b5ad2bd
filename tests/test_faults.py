"""``fastdimse send`` and peers that fail, each a process of its own."""

import re
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet
import pytest

from processes import Program
from scripted_peer import HOST
from test_command_line import REQUESTS, run
from test_outbox import instances
from test_send_command import reports, start

PEER = Path(__file__).parent / "faulty_peer.py"
EVENTS = 6


class Peer(Program):
    """A faulty peer.

    Attributes
    ----------
    listens_on : int
        Its port.
    """

    def __init__(self, fault: str, port: int = 0) -> None:
        super().__init__(PEER, fault, port)
        self.listens_on = int(self.find(r"listens on \S+:(\d+)$", "stdout")[1])

    def sent(self) -> list[str]:
        """End it, and return the instances of the events that it was sent."""
        self.close()
        return re.findall(r"sent (\S+)", str(self))


@contextmanager
def faulty(fault: str):
    """Run one."""
    peer = Peer(fault)
    try:
        yield peer
    finally:
        peer.close()
        print(peer)


def outcomes(folder: Path) -> dict[str, list]:
    """Read what became of the events."""
    return pyarrow.parquet.read_table(folder / "outcomes.parquet").to_pydict()


def arguments(folder: Path, port: int) -> list[object]:
    """Send some events, and write what became of them."""
    file = reports(folder / "reports.ndjson", EVENTS)
    options = ("--response-timeout", "0.5", "--outcomes", folder / "outcomes.parquet")
    return [file, HOST, port, *options]


ALL = instances(EVENTS)
# What a peer is sent that answered two events and then failed.
TWICE = [*ALL[:3], *ALL[2:]]


@pytest.mark.parametrize(
    ("fault", "sent", "told"),
    [
        ("cut", TWICE, "the peer closed the connection inside a PDU"),
        ("aborted", TWICE, "the peer aborted the association"),
        ("rejected for now", ALL, "the peer rejected the association for now"),
        ("silent", TWICE, "the peer sent no complete PDU for 0.5 s"),
        ("in reverse", ALL, None),
        ("twice and unknown", ALL, None),
        ("explicit", ALL, None),
        ("pdus of 128", ALL, None),
        ("no peer", ALL, "0x48 is not a PDU type"),
    ],
)
def test_what_passes_loses_nothing(tmp_path, fault, sent, told):
    with faulty(fault) as peer:
        ran = run("send", *arguments(tmp_path, peer.listens_on))
        assert ran.returncode == 0, (ran.stdout, ran.stderr)
        assert peer.sent() == sent
    assert outcomes(tmp_path)["Status"] == [0] * EVENTS
    assert ran.stderr.decode().count("delivery to") == (told is not None)
    assert (told or "") in ran.stderr.decode()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("rejected", "the peer rejected the association: called AE title not recognized"),
        ("no context", "the peer accepted no presentation context"),
    ],
)
def test_what_is_refused_for_good_is_told_at_once(tmp_path, fault, told):
    with faulty(fault) as peer:
        ran = run("send", *arguments(tmp_path, peer.listens_on))
        assert ran.returncode == 1, (ran.stdout, ran.stderr)
        assert peer.sent() == []
    found = outcomes(tmp_path)
    assert found["Failure"] == ["due"] * EVENTS
    assert all(reason.startswith(told) for reason in found["Reason"])
    assert told in ran.stdout.decode()


def test_a_peer_that_is_killed_and_comes_back(tmp_path):
    with faulty("killed") as peer:
        process = start(*arguments(tmp_path, peer.listens_on), "--outbox", tmp_path / "outbox")
        peer.ended()
        again = Peer("right", peer.listens_on)
        try:
            assert process.wait(30) == 0
            assert peer.sent() == ALL[:3]
            assert again.sent() == ALL[2:]
        finally:
            again.close()
    assert outcomes(tmp_path)["Status"] == [0] * EVENTS


def test_bytes_that_a_peer_takes_otherwise_encoded(tmp_path):
    """The real stream is Implicit VR Little Endian."""
    with faulty("explicit") as peer:
        options = ("--outcomes", tmp_path / "outcomes.parquet")
        ran = run("send", REQUESTS, HOST, peer.listens_on, *options)
        assert ran.returncode == 1, (ran.stdout, ran.stderr)
        assert peer.sent() == []
    found = outcomes(tmp_path)
    assert set(found["Failure"]) == {"transfer-syntax"}
    assert "1.2.840.10008.1.2.1" in found["Reason"][0]
