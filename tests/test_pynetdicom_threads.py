"""The threads that send, receive and serve events after `install()`, compared with pynetdicom's."""

import contextvars
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pytest
from pynetdicom import AE, dimse_primitives, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StorageCommitmentPushModel

from associations import DEADLINE, logged, over, plain_and_installed, until
from fastdimse._core import read_p_data
from fastdimse.pynetdicom import _transport, _upper_layer, installed
from test_pynetdicom_associations import ends, of_size, report, rest

INSTANCE = "1.2.840.10008.1.20.1.1"


@contextmanager
def served(handler: Any, **settings: Any) -> Iterator[tuple[Association, Association]]:
    """Yield an association, and the acceptor's, whose events the handler answers."""
    handlers = [(evt.EVT_N_EVENT_REPORT, handler)]
    with ends(handlers=handlers, **settings) as both:
        association = both.associate()
        until(lambda: bool(both.accepted))
        rest()
        yield association, both.accepted[0]
        association.release()
        until(lambda: over(association) and over(both.accepted[0]))


def servants() -> list[threading.Thread]:
    """Return the threads that serve events."""
    return [thread for thread in threading.enumerate() if "serve_request" in thread.name]


# ------------------------------------------------------------- serving events


def test_events_that_arrive_together_are_served_together():
    started = threading.Barrier(2, timeout=DEADLINE)

    def answer(_: Any) -> tuple[int, None]:
        # The barrier opens if both are being served.
        started.wait()
        return 0x0000, None

    def converse() -> list[int]:
        with served(answer, acceptor_pdu=0) as (association, _):
            written: list[bytes] = []
            association.bind(evt.EVT_DATA_SENT, lambda event: written.append(event.data))
            received: list[Any] = []
            association.bind(evt.EVT_DIMSE_RECV, lambda event: received.append(event.message))
            thread = threading.Thread(target=report, args=(association, None, 1, 1))
            thread.start()
            until(lambda: bool(written))
            second = written[0].replace(b"\x10\1\2\0\0\0\1\0", b"\x10\1\2\0\0\0\2\0")
            association.dul.socket.socket.sendall(second)
            thread.join()
            until(lambda: len(received) == 2)
            return sorted(m.command_set.MessageIDBeingRespondedTo for m in received)

    plain, fast = plain_and_installed(converse)
    assert fast == plain == [1, 2]


def test_handlers_share_no_context():
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)
    found: list[int] = []

    def answer(_: Any) -> tuple[int, None]:
        found.append(number.get())
        number.set(len(found))
        return 0x0000, None

    def converse() -> list[int]:
        found.clear()
        with served(answer) as (association, _):
            for message_id in range(1, 4):
                report(association, None, 1, message_id)
        return list(found)

    plain, fast = plain_and_installed(converse)
    assert fast == plain == [0, 0, 0]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_events_after_a_handler_failed(error):
    def answer(event: Any) -> tuple[int, None]:
        if event.message_id == 2:
            raise error
        return 0x0000, None

    def converse() -> list[int]:
        with logged(100), served(answer) as (association, _):
            return [report(association, None, 1, number)[0] for number in (1, 2, 3)]

    plain, fast = plain_and_installed(converse)
    assert fast == plain == [0x0000, 0x0110, 0x0000]


# pynetdicom's thread ends with the error, and so does ours.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_thread_of_a_service_ends_with_its_error(monkeypatch):
    ended: list[str] = []
    monkeypatch.setattr(
        threading, "excepthook", lambda args: ended.append(type(args.exc_value).__name__)
    )

    class Failed(BaseException):
        pass

    def fail(self: Any, _: Any) -> Any:
        if threading.current_thread() in servants():
            raise Failed
        return send_msg(self, _)

    def converse() -> list[str]:
        ended.clear()
        with served(lambda _: (0x0000, None)) as (association, accepted):
            assert report(association, None, 1)[0] == 0x0000
            accepted.dul.assoc._serve_request = lambda *_: (_ for _ in ()).throw(Failed)
            association.dimse_timeout = 0.2
            association.send_n_event_report(None, 1, StorageCommitmentPushModel, INSTANCE, 2)
            until(lambda: bool(ended))
            return list(ended)

    send_msg = DIMSEServiceProvider.send_msg
    plain, fast = plain_and_installed(converse)
    assert fast == plain == ["Failed"]


def test_an_idle_thread_serves_the_next_event_and_ends():
    threads: list[int] = []

    def answer(_: Any) -> tuple[int, None]:
        threads.append(threading.get_ident())
        return 0x0000, None

    with installed(), served(answer) as (association, _):
        for message_id in range(1, 101):
            report(association, None, 1, message_id)
            # As long as a sender usually needs for the next one.
            time.sleep(0.001)
        assert len(set(threads)) < 10
        assert len(servants()) <= 2
        # Without events, it ends before the association does.
        until(lambda: not servants())
        assert association.is_established
        assert report(association, None, 1)[0] == 0x0000
    until(lambda: not servants())


def test_abort_while_an_event_is_served():
    def converse() -> tuple[Any, ...]:
        entered, done = threading.Event(), threading.Event()

        def answer(event: Any) -> tuple[int, None]:
            entered.set()
            assert done.wait(DEADLINE)
            return 0x0000, None

        outcome: list[Any] = []
        with served(answer) as (association, accepted):

            def send() -> None:
                outcome.append(
                    association.send_n_event_report(None, 1, StorageCommitmentPushModel, INSTANCE)
                )

            thread = threading.Thread(target=send)
            association.dimse_timeout = 1
            thread.start()
            assert entered.wait(DEADLINE)
            accepted.abort()
            done.set()
            thread.join(DEADLINE)
            until(lambda: over(association) and over(accepted))
            ended = [(end.is_aborted, end.is_established) for end in (association, accepted)]
            return str(outcome), ended

    plain, fast = plain_and_installed(converse)
    assert fast == plain
    assert fast[1] == [(True, False)] * 2


# ------------------------------------------------------- sending and receiving


class _Sent:
    """A connection that keeps what is sent."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def send(self, data: bytes) -> int:
        self.data.append(bytes(data))
        return len(data)

    sendall = send


def test_the_rest_of_a_message_is_sent_before_other_pdus():
    with installed(), served(lambda _: (0x0000, None)) as (association, accepted):
        waker = _upper_layer.waker_of(accepted.dul)
        assert waker is not None
        connection = accepted.dul.socket
        sent = _Sent()
        # As the thread of the upper layer, which sends nothing meanwhile.
        with waker.turn:
            before, connection.socket = connection.socket, sent
            waker.unsent = b"rest"
            connection.send(b"later")
            connection.socket = before
        assert sent.data == [b"rest", b"later"]
        assert report(association, None, 1)[0] == 0x0000


def test_several_threads_send_with_one_ae():
    def converse() -> list[list[int]]:
        with ends() as both:
            ae = AE()
            ae.dimse_timeout = DEADLINE
            ae.add_requested_context(StorageCommitmentPushModel)
            statuses: list[list[int]] = [[] for _ in range(4)]

            def send(found: list[int]) -> None:
                association = ae.associate(*both.address)
                for message_id in range(1, 26):
                    rest()
                    found.append(report(association, of_size(50), 1, message_id)[0])
                association.release()

            threads = [threading.Thread(target=send, args=(found,)) for found in statuses]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return statuses

    plain, fast = plain_and_installed(converse)
    assert fast == plain == [[0x0000] * 25] * 4


def test_messages_that_the_connection_takes_in_parts(monkeypatch):
    rests: list[int] = []

    def send_rest(provider: Any) -> None:
        waker = _upper_layer.waker_of(provider)
        if waker is not None and waker.unsent:
            rests.append(len(waker.unsent))
        original(provider)

    original = _upper_layer.send_rest
    for module in (_upper_layer, _transport):
        monkeypatch.setattr(module, "send_rest", send_rest)
    numbers = list(range(1, 21))

    def converse() -> list[Any]:
        received: list[Any] = []
        read_on = threading.Event()

        def hold(event: Any) -> None:
            if event.assoc.is_acceptor:
                # The acceptor's upper layer does not read in the meantime.
                assert read_on.wait(DEADLINE)
            else:
                received.append(event.message.command_set.MessageIDBeingRespondedTo)

        with ends(handlers=[(evt.EVT_DIMSE_RECV, hold)]) as both:
            association = both.associate()
            until(lambda: bool(both.accepted))
            both.accepted[0].dul.socket.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000
            )
            association.dul.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
            rest()
            for number in numbers:
                request = dimse_primitives.N_EVENT_REPORT()
                request.MessageID = number
                request.AffectedSOPClassUID = StorageCommitmentPushModel
                request.AffectedSOPInstanceUID = INSTANCE
                request.EventTypeID = 2
                request.EventInformation = BytesIO(encode(of_size(60_000), True, True))
                association.dimse.send_msg(request, 1)
            read_on.set()
            until(lambda: len(received) == len(numbers))
            association.abort()
        return sorted(received)

    plain, fast = plain_and_installed(converse)
    assert fast == plain == numbers
    assert rests


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("way", ["close", "shutdown"])
def test_program_closes_the_connection(way):
    def converse() -> tuple[Any, ...]:
        with ends() as both:
            association = both.associate()
            until(lambda: bool(both.accepted))
            assert report(association, None, 1)[0] == 0x0000
            rest()
            connection = association.dul.socket.socket
            if way == "close":
                connection.close()
            else:
                connection.shutdown(socket.SHUT_RDWR)
            until(lambda: over(association))
            return association.is_aborted, association.is_established, association.is_released

    plain, fast = plain_and_installed(converse)
    assert fast == plain == (True, False, False)


def pdu_types(received: bytes) -> list[int]:
    """Return the types of complete PDUs."""
    found, start = [], 0
    while start < len(received):
        found.append(received[start])
        start += 6 + int.from_bytes(received[start + 2 : start + 6], "big")
    return found


@pytest.mark.parametrize("then", [b"", b"\7\0\0\0\0\4\0\0\0\0"], ids=["close", "A-ABORT"])
def test_an_event_is_answered_although_the_association_ends(then):
    """The end of the connection, or an A-ABORT, arrives directly after an event."""

    def converse() -> list[list[int]]:
        found = []
        with ends(handlers=[(evt.EVT_N_EVENT_REPORT, lambda _: (0x0000, None))]) as both:
            sent: list[bytes] = []
            association = both.associate(sent=sent)
            rest()
            report(association, None, 1)
            association.release()
            request, event = sent[0], b"".join(pdu for pdu in sent if pdu[0] == 4)
            for _ in range(20):
                with socket.create_connection(both.address, DEADLINE) as connection:
                    received = b""
                    for written in (request, *[event] * 5):
                        connection.sendall(written)
                        received += connection.recv(1 << 16)
                    connection.sendall(event + then)
                    connection.shutdown(socket.SHUT_WR)
                    received += b"".join(iter(lambda: connection.recv(1 << 16), b""))
                    found.append(pdu_types(received))
        return found

    answered = [2, *[4] * 6]
    # On a busy machine pynetdicom's thread can be late, too: then the result says nothing.
    for _ in range(3):
        plain, fast = plain_and_installed(converse)
        if plain.count(answered) > 10:
            break
    assert plain.count(answered) > 10
    assert fast.count(answered) > 10


def test_replaced_methods_of_an_object_are_called():
    def converse(ways: list[str]) -> list[tuple[str, int]]:
        calls: list[tuple[str, int]] = []
        with ends() as both:
            association = both.associate()
            rest()
            provider = association.dul
            owners = {
                "_send": provider,
                "_decode_pdu": provider,
                "send": provider.socket,
                "recv": provider.socket,
                "do_action": provider.state_machine,
            }
            for name in ways:
                spy(owners[name], name, calls)
            assert report(association, of_size(50), 1)[0] == 0x0000
            association.release()
        return calls

    def spy(owner: Any, name: str, calls: list[tuple[str, int]]) -> None:
        method = getattr(owner, name)

        def call(*args: Any) -> Any:
            calls.append((name, len(args)))
            return method(*args)

        setattr(owner, name, call)

    for name in ("_send", "_decode_pdu", "send", "recv", "do_action"):
        plain, fast = plain_and_installed(lambda name=name: converse([name]))
        assert fast == plain
        assert fast


def test_handler_bound_during_an_association():
    def converse() -> list[str]:
        seen: list[str] = []

        def note(event: Any) -> None:
            seen.append(event.event.name)

        with ends() as both:
            association = both.associate()
            rest()
            report(association, of_size(50), 1, 1)
            association.bind(evt.EVT_PDU_SENT, note)
            association.bind(evt.EVT_PDU_RECV, note)
            rest()
            report(association, of_size(50), 1, 2)
            association.unbind(evt.EVT_PDU_SENT, note)
            association.unbind(evt.EVT_PDU_RECV, note)
            rest()
            report(association, of_size(50), 1, 3)
            association.release()
        return seen

    plain, fast = plain_and_installed(converse)
    assert fast == plain
    assert fast.count("EVT_PDU_SENT") == 2


@pytest.mark.parametrize("instance", ["1.02.3", "1.2.3"])
def test_status_with_a_value_that_pydicom_warns_about(instance):
    def converse() -> tuple[list[Any], list[str]]:
        response = dimse_primitives.N_EVENT_REPORT()
        response.MessageIDBeingRespondedTo = 1
        response.Status = 0x0000
        response.AffectedSOPInstanceUID = instance
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            status = Association(AE(), "requestor")._check_received_status(response)
        return [(element.tag, element.value) for element in status], [
            str(w.message) for w in warned
        ]

    plain, fast = plain_and_installed(converse)
    assert fast == plain
    assert bool(fast[1]) == (instance == "1.02.3")


def test_status_elements_are_the_same():
    def converse() -> list[tuple[Any, ...]]:
        with ends() as both:
            association = both.associate()
            rest()
            status, _ = association.send_n_event_report(
                None, 3, StorageCommitmentPushModel, INSTANCE
            )
            association.release()
        return [
            (element.tag, type(element.tag), element.VR, element.value, type(element.value))
            for element in status
        ]

    plain, fast = plain_and_installed(converse)
    assert fast == plain
    assert len(fast) > 1


PDV = b"\0\0\0\4\1\3ab"
WHOLE = b"\4\0\0\0\0\x08" + PDV


@pytest.mark.parametrize(
    ("received", "start"),
    [
        (WHOLE, 0),
        (b"xyz" + WHOLE + WHOLE, 3),
        (b"\4\0\0\0\0\x10" + PDV + PDV.replace(b"\1\3ab", b"\xff\2\0\0"), 0),
        (b"\4\0\0\0\0\6\0\0\0\2\1\3", 0),
    ],
    ids=["one PDV", "between others", "two PDVs", "no fragment"],
)
def test_p_data_is_read_as_in_pynetdicom(received, start):
    end, values = read_p_data(received, start)
    pdu = P_DATA_TF()
    pdu.decode(received[start:end])
    assert end == start + 6 + int.from_bytes(received[start + 2 : start + 6], "big")
    assert values == pdu.to_primitive().presentation_data_value_list


@pytest.mark.parametrize(
    ("received", "start"),
    [
        *((WHOLE[:size], 0) for size in range(len(WHOLE))),
        (WHOLE, 1),
        (WHOLE, 100),
        (WHOLE.replace(b"\4", b"\5", 1), 0),
        (b"\4\0\0\0\0\0" + WHOLE, 0),
        (WHOLE.replace(b"\0\4\1", b"\0\5\1"), 0),
        (WHOLE.replace(b"\0\4\1", b"\0\3\1"), 0),
        (WHOLE.replace(b"\0\4\1", b"\0\1\1"), 0),
        (WHOLE.replace(b"\0\4\1", b"\0\0\1"), 0),
    ],
)
def test_p_data_that_is_left_to_pynetdicom(received, start):
    assert read_p_data(received, start) is None
