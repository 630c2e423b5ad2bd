"""Associations of pynetdicom without and with fastdimse: everything observable is the same."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel, Verification

import fastdimse
from associations import logged, over, plain_and_installed, thread, until
from fastdimse.pynetdicom import install, installed, is_installed, uninstall

INSTANCE = "1.2.840.10008.1.20.1.1"
CERTIFICATES = Path(pynetdicom.__file__).parent / "tests" / "cert_files"
# What is received and sent.
OF = ("DATA", "PDU", "DIMSE")
# The longest text that pydicom accepts.
TEXT = "x" * 10_000


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    uninstall()


def of_size(characters: int) -> Dataset:
    """Return event information of about this number of bytes."""
    information = Dataset()
    information.ReferencedSOPSequence = []
    while characters > 0:
        item = Dataset()
        item.PatientComments = TEXT[: min(characters, len(TEXT))]
        information.ReferencedSOPSequence.append(item)
        characters -= len(TEXT)
    return information


def image() -> Dataset:
    stored = Dataset()
    stored.SOPClassUID = CTImageStorage
    stored.SOPInstanceUID = "1.2.3"
    stored.PatientName = "A^B"
    stored.file_meta = FileMetaDataset()
    stored.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return stored


def answer(event: Any) -> tuple[int, Dataset | None]:
    """Respond with the received data set, depending on the event type."""
    if event.event_type == 1:
        return 0x0000, None
    if event.event_type == 2:
        return 0x0000, event.event_information
    return 0x0110, None


def act(event: Any) -> tuple[int, Dataset | None]:
    """Respond with the received data set, depending on the action type."""
    if event.action_type == 1:
        return 0x0000, None
    if event.action_type == 2:
        return 0x0000, event.action_information
    return 0x0123, None


class Ends:
    """An acceptor, and associations with it, which have the same settings."""

    def __init__(
        self,
        *,
        handlers: list[Any] | None = None,
        acceptor_pdu: int = 16382,
        requestor_pdu: int = 16382,
        tls: bool = False,
    ) -> None:
        self.accepted: list[Association] = []
        self._handlers = handlers or []
        self._requestor_pdu, self._tls = requestor_pdu, tls
        ae = AE()
        ae.maximum_pdu_size = acceptor_pdu
        ae.maximum_associations = 20
        for context in (StorageCommitmentPushModel, Verification, CTImageStorage):
            ae.add_supported_context(context)
        self._server = ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            ssl_context=tls_context(server=True) if tls else None,
            evt_handlers=[
                (evt.EVT_N_EVENT_REPORT, answer),
                (evt.EVT_N_ACTION, act),
                (evt.EVT_C_STORE, lambda event: 0x0000),
                (evt.EVT_ESTABLISHED, lambda event: self.accepted.append(event.assoc)),
                *self._handlers,
            ],
        )

    def associate(self, *, sent: list[bytes] | None = None, **settings: Any) -> Association:
        """Open an association, and record the PDUs that it sends if `sent` is given."""
        ae = AE()
        ae.maximum_pdu_size = self._requestor_pdu
        ae.dimse_timeout = 5
        for name, value in settings.items():
            setattr(ae, name, value)
        for context in (StorageCommitmentPushModel, Verification, CTImageStorage):
            ae.add_requested_context(context, ImplicitVRLittleEndian)
        handlers = [(evt.EVT_N_EVENT_REPORT, answer), *self._handlers]
        if sent is not None:
            handlers.append((evt.EVT_DATA_SENT, lambda event: sent.append(event.data)))
        association = ae.associate(
            *self.address,
            tls_args=(tls_context(server=False), None) if self._tls else None,
            evt_handlers=handlers,
        )
        assert association.is_established
        return association

    @property
    def address(self) -> Any:
        return self._server.socket.getsockname()

    def close(self) -> None:
        self._server.shutdown()


@contextmanager
def ends(**settings: Any) -> Iterator[Ends]:
    both = Ends(**settings)
    try:
        yield both
    finally:
        both.close()


def report(
    association: Association, information: Dataset | None, event_type: int, message_id: int = 1
) -> tuple[int, str]:
    status, reply = association.send_n_event_report(
        information, event_type, StorageCommitmentPushModel, INSTANCE, message_id
    )
    return status.Status, str(reply)


def ask(
    association: Association, information: Dataset | None, action_type: int, message_id: int
) -> tuple[int, str]:
    status, reply = association.send_n_action(
        information, action_type, StorageCommitmentPushModel, INSTANCE, message_id
    )
    return status.Status, str(reply)


# -------------------------------------------------------- observable behaviour


def rest() -> None:
    """Wait until pynetdicom's reactor is idle: it could consume the next response."""
    time.sleep(0.01)


class Seen:
    """Notifications of all handlers, by the thread of the handler."""

    def __init__(self, *, look: bool, only: set[str]) -> None:
        self.events: dict[str, list[tuple[str, str]]] = {}
        self._look, self._only = look, only

    def handlers(self) -> list[Any]:
        events = evt._NOTIFICATION_EVENTS
        return [(e, self._note) for e in events if not self._only or e.name in self._only]

    def _note(self, event: Any) -> None:
        name = event.event.name
        seen = ""
        if name in ("EVT_DATA_SENT", "EVT_DATA_RECV"):
            seen = event.data.hex()
        elif name in ("EVT_PDU_SENT", "EVT_PDU_RECV"):
            seen = str(event.pdu)
        elif name in ("EVT_DIMSE_SENT", "EVT_DIMSE_RECV"):
            seen = type(event.message).__name__
            if self._look:
                seen += f"{event.message.context_id}\n{event.message.command_set}"
                data_set = event.message.data_set
                seen += str(data_set and data_set.getvalue())
        elif name == "EVT_FSM_TRANSITION":
            seen = f"{event.current_state} {event.fsm_event} {event.action} {event.next_state}"
        elif name in ("EVT_ACSE_SENT", "EVT_ACSE_RECV"):
            seen = type(event.primitive).__name__
        self.events.setdefault(thread(), []).append((name, seen))


def everything(**settings: Any) -> tuple[Any, ...]:
    """Use all services on one association; return responses, log lines and notifications."""
    look = settings.pop("look", True)
    level = settings.pop("level", logging.DEBUG)
    # The names of the notifications that have a handler: all, if it is empty.
    seen = Seen(look=look, only=settings.pop("only", set()))
    with logged(level) as log, ends(handlers=seen.handlers(), **settings) as both:
        association = both.associate()
        until(lambda: bool(both.accepted))
        answers = []
        for step in (
            lambda: str(association.send_c_echo()),
            lambda: report(association, None, 1),
            lambda: report(association, of_size(100), 2, 2),
            lambda: str(association.send_c_store(image())),
            lambda: report(association, of_size(40_000), 2, 3),
            lambda: report(association, of_size(100), 3, 4),
            lambda: str(association.send_c_echo()),
            lambda: report(association, None, 1, 65535),
            lambda: ask(association, None, 1, 5),
            lambda: ask(association, of_size(100), 2, 6),
            lambda: ask(association, of_size(40_000), 2, 7),
            lambda: ask(association, of_size(100), 3, 8),
        ):
            rest()
            answers.append(step())
        rest()
        association.release()
        until(lambda: over(association) and over(both.accepted[0]))
    return answers, log.lines, seen.events


@pytest.mark.parametrize("look", [True, False], ids=["looked at", "not looked at"])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO], ids=["debug", "info"])
def test_observable_behaviour_is_unchanged(look, level):
    plain, fast = plain_and_installed(lambda: everything(look=look, level=level))
    for ours, theirs in zip(fast, plain, strict=True):
        assert ours == theirs
    # pynetdicom 2.0 and 2.1 do not log N-ACTION messages.
    names = ("N-EVENT-REPORT", "N-ACTION")[: 1 if pynetdicom.__version__ < "3" else 2]
    for name in names:
        assert any(name in line for lines in plain[1].values() for line in lines) == (
            level == logging.DEBUG
        )


@pytest.mark.parametrize(
    "name", ["ABORTED", "FSM_TRANSITION", *(f"{of}_{to}" for of in OF for to in ("RECV", "SENT"))]
)
def test_handlers_of_one_notification(name):
    # Steps of the upper layer are left out if none of them has a handler.
    plain, fast = plain_and_installed(
        lambda: everything(look=False, level=logging.INFO, only={f"EVT_{name}"})
    )
    assert fast == plain
    assert bool(plain[2]) == (name != "ABORTED")


# With the smallest, a command set has several fragments.
@pytest.mark.parametrize(
    ("acceptor_pdu", "requestor_pdu"), [(50, 50), (0, 0), (16382, 128), (1 << 20, 0)]
)
@pytest.mark.parametrize("only", [set(), {"EVT_DIMSE_RECV"}], ids=["all", "no PDUs"])
def test_any_maximum_pdu_length(acceptor_pdu, requestor_pdu, only):
    settings = {"acceptor_pdu": acceptor_pdu, "requestor_pdu": requestor_pdu, "only": only}
    plain, fast = plain_and_installed(
        lambda: everything(look=False, level=logging.INFO, **settings)
    )
    assert fast == plain


def test_without_standard_handlers(monkeypatch):
    monkeypatch.setattr(_config, "LOG_HANDLER_LEVEL", "none")
    plain, fast = plain_and_installed(everything)
    assert fast == plain


@pytest.mark.skipif(not CERTIFICATES.is_dir(), reason="this pynetdicom ships no certificates")
def test_tls():
    plain, fast = plain_and_installed(lambda: everything(tls=True, look=False))
    assert fast == plain


def tls_context(*, server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if server:
        context.load_cert_chain(CERTIFICATES / "server.crt", CERTIFICATES / "server.key")
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# ---------------------------------------------------------------- how quickly


def per_second(association: Association, count: int) -> float:
    start = time.perf_counter()
    for message_id in range(1, count + 1):
        assert report(association, of_size(100), 1, message_id)[0] == 0x0000
    return count / (time.perf_counter() - start)


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_events_per_second(tls):
    if tls and not CERTIFICATES.is_dir():
        pytest.skip("this pynetdicom ships no certificates")
    with ends(tls=tls) as both:
        association = both.associate()
        plain = per_second(association, 20)
        association.release()
        with installed():
            association = both.associate()
            fast = per_second(association, 200)
            association.release()
    # About 20 with pynetdicom, and hundreds with fastdimse, on a busy machine too.
    assert fast > 4 * plain


def sent_pdus(both: Ends, **settings: Any) -> list[bytes]:
    """Return the PDUs of a requestor that sends one event."""
    sent: list[bytes] = []
    association = both.associate(**settings, sent=sent)
    assert report(association, of_size(10), 1, 1)[0] == 0x0000
    association.release()
    return sent


def seconds_in_pieces(address: Any, request: bytes, pieces: list[bytes], count: int) -> float:
    """Send events in several small writes, as most other implementations do."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(request)
        assert connection.recv(10_000)[0] == 2
        start = time.perf_counter()
        for _ in range(count):
            for piece in pieces:
                connection.sendall(piece)
            assert connection.recv(10_000)[0] == 4
        return time.perf_counter() - start


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux has it")
def test_peer_with_small_writes():
    with ends() as both:
        plain_request, *_ = sent_pdus(both)
        request, *pieces, _ = sent_pdus(both, implementation_class_uid="1.2.3")
        assert len(pieces) == 2
        plain = seconds_in_pieces(both.address, request, pieces, 20)
        with installed():
            fast = seconds_in_pieces(both.address, request, pieces, 40)
            # With pynetdicom's requestor, its reactor would consume responses.
            as_before = seconds_in_pieces(both.address, plain_request, pieces, 20)
    # One or two milliseconds each instead of 40.
    assert fast / 40 < plain / 20 / 4
    assert as_before > plain / 2


def test_time_of_a_long_message_is_linear():
    with installed(), ends(acceptor_pdu=200) as both:
        association = both.associate()
        # 3,000 PDUs: it would take minutes if each of them processed all waiting PDUs.
        start = time.perf_counter()
        assert report(association, of_size(600_000), 1)[0] == 0x0000
        assert time.perf_counter() - start < 5
        association.release()


# ------------------------------------------------------- several associations


def run(*calls: Callable[[], None]) -> None:
    """Run functions at the same time; raise the exception of one of them."""
    raised: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    if raised:
        raise raised[0]
    assert not any(one.is_alive() for one in threads)


def test_several_associations():
    with installed(), ends() as both:

        def talk(number: int) -> None:
            association = both.associate()
            for message_id in range(1, 30):
                information = Dataset()
                information.PatientID = f"{number} {message_id}"
                assert report(association, information, 2, message_id) == (0, str(information))
                if message_id % 10 == 0:
                    assert association.send_c_echo().Status == 0x0000
            association.release()

        run(*[lambda number=number: talk(number) for number in range(6)])


def test_events_in_both_directions():
    with installed(), ends() as both:
        association = both.associate()
        until(lambda: bool(both.accepted))

        def talk(end: Association) -> None:
            for message_id in range(1, 301):
                assert report(end, of_size(10), 1, message_id)[0] == 0x0000

        run(lambda: talk(association), lambda: talk(both.accepted[0]))
        association.release()


def test_large_events_in_both_directions():
    # With 8 MB, the two block each other, also without fastdimse.
    with installed(), ends() as both:
        association = both.associate()
        until(lambda: bool(both.accepted))
        much = of_size(1_000_000)
        one, other = association, both.accepted[0]
        run(lambda: report(one, much, 1), lambda: report(other, much, 1))
        association.release()


def test_handler_sends_on_its_association():
    statuses: list[int] = []

    def report_back(event: Any) -> tuple[int, None]:
        if event.assoc.is_acceptor:
            statuses.append(report(event.assoc, of_size(10), 1, 9)[0])
        return 0x0000, None

    with installed(), ends(handlers=[(evt.EVT_N_EVENT_REPORT, report_back)]) as both:
        association = both.associate(dimse_timeout=2)
        # Both have exactly one response.
        assert report(association, None, 1)[0] == 0x0000
        assert statuses == [0x0000]
        association.release()


# ------------------------------------------------------------------ timeouts


IDLE = 0.3


@pytest.mark.parametrize("response", ["A-ABORT", "A-RELEASE"])
@pytest.mark.parametrize("mode", ["requestor", "acceptor"])
def test_network_timeout(mode, response):
    def idle() -> tuple[Any, ...]:
        with logged(logging.INFO) as log, ends() as both:
            requestor = both.associate()
            until(lambda: bool(both.accepted))
            acceptor = both.accepted[0]
            of_interest = requestor if mode == "requestor" else acceptor
            of_interest.network_timeout_response = response
            of_interest.network_timeout = IDLE
            start = time.monotonic()
            until(lambda: over(requestor) and over(acceptor))
            took.append(time.monotonic() - start)
        return [(end.is_aborted, end.is_released) for end in (requestor, acceptor)], log.lines

    took: list[float] = []
    plain, fast = plain_and_installed(idle)
    assert fast == plain
    # The abort needs additional time.
    assert all(IDLE / 2 < seconds < IDLE + 2 for seconds in took)


def test_acse_timeout_of_the_requestor():
    def ask() -> tuple[Any, ...]:
        ae = AE()
        ae.acse_timeout = IDLE
        ae.add_requested_context(Verification)
        with logged(logging.INFO) as log, socket.create_server(("127.0.0.1", 0)) as silent:
            start = time.monotonic()
            association = ae.associate(*silent.getsockname())
            until(lambda: over(association))
            took.append(time.monotonic() - start)
        return association.is_aborted, association.is_established, log.lines

    took: list[float] = []
    plain, fast = plain_and_installed(ask)
    assert fast == plain
    assert all(IDLE / 2 < seconds < IDLE + 2 for seconds in took)


def test_acse_timeout_of_the_acceptor():
    def listen() -> tuple[Any, ...]:
        ae = AE()
        ae.acse_timeout = IDLE
        ae.add_supported_context(Verification)
        with logged(logging.INFO) as log:
            server = ae.start_server(("127.0.0.1", 0), block=False)
            start = time.monotonic()
            with socket.create_connection(server.socket.getsockname()) as quiet:
                received = quiet.recv(100)
                took.append(time.monotonic() - start)
            server.shutdown()
        return received, log.lines

    took: list[float] = []
    plain, fast = plain_and_installed(listen)
    assert fast == plain
    assert all(IDLE / 2 < seconds < IDLE + 2 for seconds in took)


def test_network_timeout_after_uninstall():
    with ends() as both:
        with installed():
            association = both.associate()
        association.network_timeout_response = "A-RELEASE"
        association.network_timeout = IDLE
        until(lambda: over(association))
        assert association.is_released


# ------------------------------------------------------- install and uninstall


def test_install_in_several_threads():
    theirs = pynetdicom.dimse_primitives.N_EVENT_REPORT
    start = threading.Barrier(8)

    def put() -> None:
        start.wait()
        for _ in range(20):
            install()
            assert is_installed()

    run(*[put] * 8)
    uninstall()
    assert not is_installed()
    assert pynetdicom.dimse_primitives.N_EVENT_REPORT is theirs


def test_blocks_in_several_threads():
    theirs = pynetdicom.dimse_primitives.N_EVENT_REPORT
    start = threading.Barrier(8)

    def block() -> None:
        start.wait()
        for _ in range(20):
            with installed():
                assert pynetdicom.dimse_primitives.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
                time.sleep(0.001)

    run(*[block] * 8)
    assert not is_installed()
    assert pynetdicom.dimse_primitives.N_EVENT_REPORT is theirs


def test_overlapping_blocks():
    first, second = installed(), installed()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_installed()
    second.__exit__(None, None, None)
    assert not is_installed()


def test_install_within_a_block_is_permanent():
    with installed():
        install()
    assert is_installed()


def test_uninstall_and_install_between_events():
    with ends() as both:
        association = both.associate()
        for message_id in range(1, 11):
            rest()
            (uninstall if message_id % 2 else install)()
            assert report(association, of_size(50), 2, message_id)[0] == 0x0000
        uninstall()
        with installed():
            later = both.associate()
        assert report(later, of_size(50), 2)[0] == 0x0000
        later.release()
        association.release()


def test_messages_after_uninstall():
    kept: list[Any] = []

    def keep(event: Any) -> None:
        kept.append(event.message)

    handlers = [(evt.EVT_DIMSE_SENT, keep), (evt.EVT_DIMSE_RECV, keep)]
    with installed():
        with ends(handlers=handlers) as both:
            association = both.associate()
            report(association, of_size(10), 1, 7)
            association.release()
        fresh = pynetdicom.dimse_messages.N_EVENT_REPORT_RQ()
    plain = pynetdicom.dimse_messages.N_EVENT_REPORT_RQ()
    assert fresh.command_set == plain.command_set
    requests = [m for m in kept if type(m).__name__ == "N_EVENT_REPORT_RQ"]
    responses = [m for m in kept if type(m).__name__ == "N_EVENT_REPORT_RSP"]
    assert [m.command_set.MessageID for m in requests] == [7, 7]
    assert [m.command_set.MessageIDBeingRespondedTo for m in responses] == [7, 7]
    assert requests[0].message_to_primitive().AffectedSOPInstanceUID == INSTANCE


def test_attributes_of_a_message():
    theirs = pynetdicom.dimse_messages.N_EVENT_REPORT_RSP()
    with installed():
        ours = pynetdicom.dimse_messages.N_EVENT_REPORT_RSP()
        assert ours.command_set == theirs.command_set
        assert not hasattr(ours, "no_such")
        with pytest.raises(AttributeError) as here:
            _ = ours.no_such
    with pytest.raises(AttributeError) as there:
        _ = theirs.no_such
    assert str(here.value) == str(there.value)


def test_replaced_data_set_is_sent():
    def replace(event: Any) -> None:
        if type(event.message).__name__ == "N_EVENT_REPORT_RQ":
            event.message.data_set = BytesIO(bytes.fromhex("1000200004000000") + b"new ")

    def talk() -> tuple[int, str]:
        with ends(handlers=[(evt.EVT_DIMSE_SENT, replace)]) as both:
            association = both.associate()
            statuses = report(association, of_size(10), 2)
            association.release()
        return statuses

    plain = talk()
    with installed():
        assert talk() == plain
    assert "new" in plain[1]
