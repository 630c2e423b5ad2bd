"""``fastdimse send`` with faulty peers, each of them a process."""

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
        """End the peer, and return the instances of the events that it received."""
        self.close()
        return re.findall(r"sent (\S+)", str(self))


@contextmanager
def faulty(fault: str):
    """Run a faulty peer."""
    peer = Peer(fault)
    try:
        yield peer
    finally:
        peer.close()
        print(peer)


def outcomes(folder: Path) -> dict[str, list]:
    """Read the outcomes of the events."""
    return pyarrow.parquet.read_table(folder / "outcomes.parquet").to_pydict()


def arguments(folder: Path, port: int) -> list[object]:
    """Return arguments that send some events and write their outcomes."""
    file = reports(folder / "reports.ndjson", EVENTS)
    options = ("--response-timeout", "0.5", "--outcomes", folder / "outcomes.parquet")
    return [file, HOST, port, *options]


ALL = instances(EVENTS)
# The events that a peer receives if it fails after two responses.
TWICE = [*ALL[:3], *ALL[2:]]


@pytest.mark.parametrize(
    ("fault", "sent", "expected"),
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
def test_temporary_faults_lose_no_events(tmp_path, fault, sent, expected):
    with faulty(fault) as peer:
        ran = run("send", *arguments(tmp_path, peer.listens_on))
        assert ran.returncode == 0, (ran.stdout, ran.stderr)
        assert peer.sent() == sent
    assert outcomes(tmp_path)["Status"] == [0] * EVENTS
    assert ran.stderr.decode().count("delivery to") == (expected is not None)
    assert (expected or "") in ran.stderr.decode()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("rejected", "the peer rejected the association: called AE title not recognized"),
        ("no context", "the peer accepted no presentation context"),
    ],
)
def test_permanent_faults_are_reported(tmp_path, fault, expected):
    with faulty(fault) as peer:
        ran = run("send", *arguments(tmp_path, peer.listens_on))
        assert ran.returncode == 1, (ran.stdout, ran.stderr)
        assert peer.sent() == []
    found = outcomes(tmp_path)
    assert found["Failure"] == ["due"] * EVENTS
    assert all(reason.startswith(expected) for reason in found["Reason"])
    assert expected in ran.stdout.decode()


def test_killed_and_restarted_peer(tmp_path):
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


def test_bytes_for_another_transfer_syntax(tmp_path):
    """The captured stream is in Implicit VR Little Endian."""
    with faulty("explicit") as peer:
        options = ("--outcomes", tmp_path / "outcomes.parquet")
        ran = run("send", REQUESTS, HOST, peer.listens_on, *options)
        assert ran.returncode == 1, (ran.stdout, ran.stderr)
        assert peer.sent() == []
    found = outcomes(tmp_path)
    assert set(found["Failure"]) == {"transfer-syntax"}
    assert "1.2.840.10008.1.2.1" in found["Reason"][0]
