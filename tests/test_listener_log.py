"""The logger of listeners, and their counters: pynetdicom and raw sockets are the peers."""

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pynetdicom import AE, build_role
from pynetdicom.sop_class import ModalityWorklistInformationFind, StorageCommitmentPushModel

from associations import until
from fastdimse import AssociationError, connect, listen
from plain_messages import COMMAND, LAST, command_set, pdu, pdv
from scripted_peer import A_RELEASE_RQ, HOST, response
from test_receiving import COMMITMENT, INSTANCE, request

EVENTS = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": [1, 2, 1],
}


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def wait(self, count: int, seconds: float = 1) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while len(self.records) < count and time.monotonic() < end:
            time.sleep(0.005)
        return [record.listener for record in self.records]  # type: ignore[attr-defined]


@pytest.fixture
def log() -> Iterator[Records]:
    logger = logging.getLogger("fastdimse.listener")
    handler = Records()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def associate(port: int, called: str = "RECEIVER") -> Any:
    ae = AE("SENDER")
    ae.add_requested_context(StorageCommitmentPushModel)
    ae.add_requested_context(ModalityWorklistInformationFind)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    return ae.associate(HOST, port, ae_title=called, ext_neg=[role])


def test_records_of_associations(log):
    with listen(0, host=HOST, called_ae="RECEIVER") as listener:
        begin = time.time()
        association = associate(listener.port)
        number = association.dul.socket.socket.getsockname()[1]
        accepted = {
            **{"kind": "accepted", "port": listener.port, "association": 1, "peer": HOST},
            **{"peer_port": number, "calling_ae": "SENDER", "called_ae": "RECEIVER"},
            **{"accepted_sop_classes": 1, "proposed_sop_classes": 2},
        }
        assert log.wait(1) == [accepted]
        uid = "1.2.840.10008.1.20.1"
        status, _ = association.send_n_event_report(None, 1, uid, uid + ".1")
        assert status.Status == 0
        association.release()
        ended = log.wait(2)[1]
        assert (ended["kind"], ended["code"], ended["reason"]) == ("ended", "released", None)
        assert (ended["events"], ended["refused"], ended["ignored"]) == (1, 0, 0)
        assert ended["bytes"] > 50
        assert 0 < ended["seconds"] < time.time() - begin

        assert not associate(listener.port, "OTHER").is_established
        rejected = log.wait(3)[2]
        assert (rejected["kind"], rejected["code"]) == ("rejected", "called-ae")
        assert (rejected["calling_ae"], rejected["called_ae"]) == ("SENDER", "OTHER")

        association = associate(listener.port)
        association.abort()
        aborted = log.wait(5)[4]
        assert (aborted["kind"], aborted["code"]) == ("ended", "aborted")

        with socket.create_connection((HOST, listener.port)) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
            failed = log.wait(6)[5]
            assert (failed["kind"], failed["code"]) == ("failed", "message")
            assert failed["peer_port"] == probe.getsockname()[1]
            assert "0x47" in failed["reason"]

        open_at_close = associate(listener.port)
        log.wait(7)
    # `close` waits for the last record.
    stopped = log.wait(8, seconds=0)[7]
    assert (stopped["kind"], stopped["code"]) == ("ended", "stopped")
    open_at_close.abort()

    levels = [record.levelname for record in log.records]
    expected = "INFO INFO WARNING INFO WARNING WARNING INFO INFO"
    assert levels == expected.split()
    for record in log.records:
        assert begin - 0.01 <= record.created <= time.time()
        assert record.name == "fastdimse.listener"
        assert f"{HOST}:{record.listener['peer_port']}" in record.getMessage()
    counters = listener.counters
    assert (counters.accepted, counters.rejected) == (3, {"called-ae": 1})
    assert counters.ended == {"released": 1, "aborted": 1, "stopped": 1}
    assert counters.failed == {"message": 1}
    assert counters.statuses == {0: 1}
    assert begin <= counters.last_event_time <= time.time()


def test_connections_beyond_the_maximum_and_users(log):
    with listen(0, host=HOST, max_connections=1, authenticate=lambda name, code: True) as listener:
        association = associate(listener.port)
        assert not associate(listener.port).is_established
        kinds = [(one["kind"], one.get("code")) for one in log.wait(2)]
        assert kinds == [("accepted", None), ("rejected", "limit")]
        association.release()
    with listen(0, host=HOST, authenticate=lambda name, code: False) as listener:
        assert not associate(listener.port).is_established
        assert listener.counters.rejected == {"user": 1}


def test_refused_messages_are_limited(log):
    """A peer that sends many invalid messages cannot fill the log, and the counters are exact."""
    count = 1500
    wrong_context = pdu(pdv(command_set(7, INSTANCE, "1.2.840.10008.3.1.2.3.5"), COMMAND | LAST))
    with listen(0, host=HOST) as listener:
        with socket.create_connection((HOST, listener.port)) as peer:
            peer.sendall(request() + wrong_context * count + response(9) * 2 + A_RELEASE_RQ)
            while peer.recv(1 << 16):
                pass
        until(lambda: sum(one.get("omitted", 0) for one in log.wait(1)) == count + 2 - 1000)
        until(lambda: any(one["kind"] == "ended" for one in log.wait(1)))
        records = log.wait(1)
        [accepted, *refused, ended] = [one for one in records if one["kind"] != "omitted"]
        assert (accepted["kind"], ended["kind"], ended["code"]) == ("accepted", "ended", "released")
        assert (ended["events"], ended["refused"], ended["ignored"]) == (count, count, 2)
        assert {(one["kind"], one["message_id"], one["status"]) for one in refused} == {
            ("refused", 7, 0x0122)
        }
        assert len(refused) == 1000
        omitted = [one["omitted"] for one in records if one["kind"] == "omitted"]
        assert sum(omitted) == listener.counters.omitted_records == count + 2 - 1000
        assert (listener.counters.statuses, listener.counters.ignored) == ({0x0122: count}, 2)


def test_unsupported_requests_are_recorded(log):
    with listen(0, host=HOST) as listener:
        with socket.create_connection((HOST, listener.port)) as peer:
            get = pdu(pdv(command_set(5, INSTANCE, COMMITMENT, command=0x0110), COMMAND | LAST))
            peer.sendall(request() + get + A_RELEASE_RQ)
            while peer.recv(1 << 16):
                pass
        [_, refused, ended] = log.wait(3)
        assert (refused["kind"], refused["message_id"], refused["status"]) == ("refused", 5, 0x0211)
        assert "N-GET-RQ" in refused["reason"]
        assert (ended["events"], ended["refused"]) == (0, 1)


def test_slow_handler_delays_no_association(log):
    """Associations continue while a handler of `logging` waits, and their records wait."""
    go_on = threading.Event()
    log.addFilter(lambda record: go_on.wait(30))
    count = 2_000
    with listen(0, host=HOST) as listener:
        for _ in range(count):
            with socket.create_connection((HOST, listener.port)) as probe:
                probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert probe.recv(100)[:1] == b"\x07"
        with connect(HOST, listener.port) as association:
            outcomes = association.send(EVENTS)
        assert listener.counters.failed == {"message": count}
        assert len(outcomes) == 3
        assert not log.records
        go_on.set()
        assert len(log.wait(count + 2, 20)) == count + 2


def test_close_in_a_handler_of_logging_does_not_wait_for_itself(log):
    with listen(0, host=HOST) as listener:
        log.addFilter(lambda record: listener.close() is None)
        # The listener may close it before it is released.
        with suppress(AssociationError):
            connect(HOST, listener.port).release()
        log.wait(1)
        deadline = time.monotonic() + 5
        while not listener.closed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert listener.closed


@pytest.mark.parametrize("way", ["close", "no close"])
def test_exit_of_the_interpreter(way):
    """The last records are logged before the interpreter ends, in order, and nothing crashes."""
    program = f"""
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from fastdimse import connect, listen
listener = listen(0, host="{HOST}")
association = connect("{HOST}", listener.port)
if {way == "close"}:
    listener.close()
"""
    for _ in range(5):
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        accepted, stopped = ended.stdout.splitlines()
        assert "accepted" in accepted
        assert "ended by the listener" in stopped
