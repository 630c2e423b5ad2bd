"""Statuses of failures to retry: the event is sent again, and none is lost."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from fastdimse import Delivery, Peer
from outbox_sender import numbered
from scripted_peer import HOST
from test_command_line import run
from test_outbox import instances, until
from test_send_command import reports

FAILURE, LIMIT = 0x0110, 0x0213


class Declining:
    """A peer with pynetdicom that responds with these Statuses, and repeats the last of them."""

    def __init__(self, statuses: list[int]) -> None:
        self.asked: list[str] = []
        self.accepted: list[str] = []
        self.statuses = statuses
        self.port = 0

    def answer(self, event: Any) -> tuple[int, None]:
        """Handle an event, and return its Status."""
        self.asked.append(event.request.AffectedSOPInstanceUID)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            self.accepted.append(event.request.AffectedSOPInstanceUID)
        return status, None


@contextmanager
def declining(*statuses: int) -> Iterator[Declining]:
    found = Declining(list(statuses))
    ae = AE("PEER")
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, found.answer)]
    server = ae.start_server((HOST, 0), block=False, evt_handlers=handlers)
    found.port = server.socket.getsockname()[1]
    try:
        yield found
    finally:
        server.shutdown()


def test_declined_events_are_sent_again_in_order(caplog):
    caplog.set_level(logging.WARNING, "fastdimse")
    with (
        declining(0, FAILURE, FAILURE, LIMIT, 0) as peer,
        Delivery(Peer(HOST, peer.port)) as delivery,
    ):
        delivery.put(numbered(1))
        until(lambda: peer.accepted)
        delivery.put(list(numbered(5))[1:])
    assert peer.accepted[0] == "1.2.0"
    assert sorted(peer.accepted) == instances(5)
    # Only events that were outstanding with the first declined one can come before it.
    assert delivery.outcomes()["Status"] == [0] * 5
    [progress] = delivery.progress()
    assert (progress.answered, progress.due, progress.attempts) == (5, 0, 1)
    assert progress.statuses == {0: 5}
    assert len(peer.asked) == 8
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    assert 1 <= len(caplog.records) <= 3


def test_one_event_at_a_time_after_a_declined_one():
    with declining(FAILURE) as peer:
        delivery = Delivery(Peer(HOST, peer.port), longest_delay=0.2)
        with closing(delivery):
            delivery.put(numbered(200))
            until(lambda: len(peer.asked) > 64 + 3)
            [progress] = delivery.progress()
            assert progress.due == 200
            assert progress.failure == "0x0110 Processing Failure"
            outcomes = delivery.outcomes()
            assert outcomes["Status"] == [FAILURE] * 64 + [None] * 136 or (
                outcomes["Status"] == [FAILURE] + [None] * 199
            )
            assert set(outcomes["Failure"]) == {"due"}
            asked = len(peer.asked)
            peer.statuses = [0]
            assert delivery.wait(30)
    assert set(peer.asked[64:asked]) == {"1.2.0"}
    # All in order, because none was accepted before.
    assert peer.accepted == instances(200)


def test_give_up_with_the_last_status():
    with declining(FAILURE) as peer:
        begin = time.monotonic()
        with Delivery(Peer(HOST, peer.port), give_up_after=1.0) as delivery:
            delivery.put(numbered(3))
        assert 1.0 <= time.monotonic() - begin < 10
        [progress] = delivery.progress()
        assert (progress.state, progress.due, progress.answered) == ("given up", 3, 0)
        assert progress.failure == "0x0110 Processing Failure"
        outcomes = delivery.outcomes()
        assert outcomes["Status"][0] == FAILURE
        assert outcomes["StatusName"][0] == "0x0110 Processing Failure"
        assert outcomes["Failure"] == ["due"] * 3
        # The delay increases.
        assert len(peer.asked) < 20


def test_selected_statuses():
    with declining(0x0112, FAILURE) as peer:
        with Delivery(Peer(HOST, peer.port), retry_statuses=()) as delivery:
            delivery.put(numbered(2))
        assert delivery.outcomes()["Status"] == [0x0112, FAILURE]
    with declining(0xC001, 0) as peer:
        with Delivery(Peer(HOST, peer.port), retry_statuses=[0xC001]) as delivery:
            delivery.put(numbered(2))
        assert delivery.outcomes()["Status"] == [0, 0]
    assert len(peer.asked) == 3


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107])
def test_accepted_events_are_not_sent_again(status):
    with pytest.raises(
        ValueError, match=f"0x{status:04X} .*: with this Status the peer has accepted the event"
    ):
        Delivery(Peer(HOST, 1), retry_statuses=[status])


def test_next_run_sends_declined_events(tmp_path):
    file, outbox = reports(tmp_path / "reports.ndjson", 20), tmp_path / "outbox"
    with declining(FAILURE) as peer:
        arguments = ("send", file, HOST, peer.port, "--outbox", outbox)
        ran = run(*arguments, "--give-up-after", "0.5")
        assert ran.returncode == 1
        assert "not delivered: 0x0110 Processing Failure" in ran.stdout.decode()
        assert ran.stderr.decode().count("0x0110") == 1
        peer.statuses = [0]
        ran = run(*arguments)
        assert ran.returncode == 0, ran.stderr
        assert peer.accepted == instances(20)
        assert run(*arguments).returncode == 0


def test_outcomes_of_earlier_runs_count(tmp_path):
    file, outbox = reports(tmp_path / "reports.ndjson", 3), tmp_path / "outbox"
    other = tmp_path / "other.ndjson"
    other.write_text(file.read_text().replace("1.2.0", "1.2.9"))
    with declining(0, FAILURE, 0x0112, 0) as peer:
        arguments = ("send", file, HOST, peer.port, "--outbox", outbox, "--retry-status", "none")
        ran = run(*arguments)
        assert ran.returncode == 1
        assert "failed earlier" not in ran.stderr.decode()
        again = run(*arguments)
        assert again.returncode == 1
        for outcome in ("0x0110 Processing Failure", "0x0112 No such SOP Instance"):
            line = f"1 event of this input failed earlier: {outcome}"
            assert line in again.stderr.decode()
        # Another content is another source.
        ran = run("send", other, HOST, peer.port, "--outbox", outbox)
        assert ran.returncode == 0, ran.stderr
    assert len(peer.asked) == 6


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("slow", "--retry-status must be a hexadecimal Status such as 0110"),
        ("0000H", "0x0000 Success: with this Status the peer has accepted the event"),
    ],
)
def test_invalid_statuses(tmp_path, status, text):
    file = reports(tmp_path / "reports.ndjson", 1)
    ran = run("send", file, HOST, 1, "--retry-status", status)
    assert ran.returncode == 2
    assert text in ran.stderr.decode()
