"""Failures of associations are the same as in pynetdicom: values, errors and logs."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import A_RELEASE
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from associations import logged, over, plain_and_installed, thread, until

INSTANCE = "1.2.840.10008.1.20.1.1"
# Timeout of the requestor in seconds.
SHORT = 0.3


def p_data(fragment: bytes, control: int = 3) -> bytes:
    pdv = bytes([1, control]) + fragment
    return b"\4\0" + (len(pdv) + 4).to_bytes(4, "big") + len(pdv).to_bytes(4, "big") + pdv


def response(service: str, **elements: Any) -> bytes:
    """Encode the command set of a response of a service with pydicom."""
    command_set = Dataset()
    is_action = service == "N_ACTION"
    values = {
        "AffectedSOPClassUID": StorageCommitmentPushModel,
        "CommandField": 0x8130 if is_action else 0x8100,
        "MessageIDBeingRespondedTo": 7,
        "CommandDataSetType": 0x0101,
        "Status": 0x0000,
        "AffectedSOPInstanceUID": INSTANCE,
        "ActionTypeID" if is_action else "EventTypeID": 1,
        **elements,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(command_set, keyword, value)
    length = len(encode(command_set, True, True))
    command_set.CommandGroupLength = length
    return encode(command_set, True, True)


def connection(event: Any) -> socket.socket:
    return event.assoc.dul.socket.socket


def waits_for_the_end(event: Any) -> None:
    """Wait until the peer has ended the association.

    The handler of an action runs in the thread that takes note of the end. It looks at the upper
    layer instead, and fails: a status would be sent to nobody.
    """
    association = event.assoc
    if threading.current_thread() is not association:
        until(lambda: not association.is_established)
        return
    upper_layer = association.dul
    until(lambda: not upper_layer.is_alive() or isinstance(upper_layer.peek_next_pdu(), A_RELEASE))
    raise ConnectionError("the peer has ended the association")


def service_of(event: Any) -> str:
    return event.event.name.removeprefix("EVT_")


def says(pdus: bytes | Callable[..., bytes]) -> Callable[[Any], None]:
    """Return a handler that sends these bytes instead of a response, and nothing else.

    A function is called with the function that encodes a response.
    """

    def handler(event: Any) -> None:
        sent = pdus(partial(response, service_of(event))) if callable(pdus) else pdus
        connection(event).sendall(sent)
        waits_for_the_end(event)

    return handler


def aborts(event: Any) -> tuple[int, None]:
    event.assoc.abort()
    return 0x0000, None


def drops(event: Any) -> None:
    connection(event).shutdown(socket.SHUT_RDWR)
    waits_for_the_end(event)


def cuts(event: Any) -> None:
    connection(event).sendall(p_data(response(service_of(event)))[:30])
    drops(event)


def raises(event: Any) -> None:
    raise ValueError("the handler's own")


def is_late(event: Any) -> tuple[int, None]:
    time.sleep(2 * SHORT)
    return 0x0000, None


def returns(value: Any) -> Callable[[Any], Any]:
    return lambda event: value


def status_without() -> Dataset:
    status = Dataset()
    status.ErrorComment = "no status"
    return status


def status_with_comment() -> Dataset:
    status = Dataset()
    status.Status = 0x0110
    status.ErrorComment = "disk full"
    return status


def unencodable() -> Dataset:
    reply = Dataset()
    reply.PatientName = "x"
    reply["PatientName"]._value = 1.5
    return reply


HANDLERS: dict[str, Callable[[Any], Any]] = {
    "aborts": aborts,
    "drops the connection": drops,
    "drops the connection within the answer": cuts,
    "raises": raises,
    "is late": is_late,
    "an unknown status": returns((0xFFF0, None)),
    "a warning": returns((0x0107, None)),
    "a status beyond 16 bits": returns((0x10000, None)),
    "a status that is no number": returns(("good", None)),
    "no tuple": returns(None),
    "a status without Status": returns((status_without(), None)),
    "a status with a comment": returns((status_with_comment(), None)),
    "a reply that can't be encoded": returns((0x0000, unencodable())),
    "an answer without Status": says(lambda of: p_data(of(Status=None))),
    "an answer without Message ID": says(lambda of: p_data(of(MessageIDBeingRespondedTo=None))),
    "an answer to another message": says(lambda of: p_data(of(MessageIDBeingRespondedTo=8))),
    "an answer of another service": says(lambda of: p_data(of(CommandField=0x8030))),
    "an answer of no service": says(lambda of: p_data(of(CommandField=0x7777))),
    "an event instead": says(lambda of: p_data(of(CommandField=0x0100, MessageID=1))),
    "an action instead": says(lambda of: p_data(of(CommandField=0x0130, MessageID=1))),
    "an answer with a UID that is none": says(
        lambda of: p_data(of().replace(b".1.20.1.1", b".1.20.1.x"))
    ),
    "an answer that is no command set": says(p_data(b"\xff" * 21)),
    "an empty answer": says(p_data(b"")),
    "a data set that doesn't come": says(lambda of: p_data(of(CommandDataSetType=1))),
    "a data set that is none": says(
        lambda of: p_data(of(CommandDataSetType=1)) + p_data(b"\xff" * 21, control=2)
    ),
    "in another presentation context": says(lambda of: p_data(of()).replace(b"\1\3", b"\5\3", 1)),
    "an unknown PDU": says(b"\x09\0\0\0\0\4abcd"),
    "a PDU that can't be decoded": says(b"\4\0\0\0\0\4\0\0\1\0"),
    "an A-ABORT of the provider": says(b"\7\0\0\0\0\4\0\0\2\0"),
}

# After an exception in a service class, the connection is closed immediately after the A-ABORT.
ABORT_AT_ONCE = {"no tuple", "a status beyond 16 bits"}
if pynetdicom.__version__ < "3":
    # Its abort() does not wait for the peer either.
    ABORT_AT_ONCE.add("aborts")
VARIED = ["aborts", "raises", "an unknown status", "an answer of another service"]

REQUESTS: dict[str, dict[str, Any]] = {
    "no data set": {"dataset": None},
    "an empty data set": {"dataset": Dataset()},
    "a data set that can't be encoded": {"dataset": unencodable()},
    "a SOP class without a presentation context": {"class_uid": Verification},
    "no SOP class": {"class_uid": None},
    "a SOP instance that is no UID": {"instance_uid": "1.x"},
    "a SOP instance of 65 characters": {"instance_uid": "1." * 32 + "1"},
    "a type beyond 16 bits": {"type": 0x10000},
    "a type that is no number": {"type": "1"},
    "no type": {"type": None},
    "a message ID beyond 16 bits": {"msg_id": 0x10000},
    "no message ID": {"msg_id": None},
}


SERVICES = {"send_n_event_report": evt.EVT_N_EVENT_REPORT, "send_n_action": evt.EVT_N_ACTION}


class Acceptor:
    """A server with an exchangeable handler."""

    def __init__(self, *, watches_pdus: bool) -> None:
        self.handler: Callable[[Any], Any] = returns((0x0000, None))
        self.associations: list[Association] = []
        self.happened: dict[str, list[str]] = {}
        # Without handlers of these events, their steps are left out.
        self.watches_pdus = watches_pdus
        ae = AE()
        ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [
            *((event, lambda event: self.handler(event)) for event in SERVICES.values()),
            *self.notes(),
        ]
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.address = self._server.socket.getsockname()
        self.close = self._server.shutdown

    def notes(self) -> list[Any]:
        names = ["ESTABLISHED", "ABORTED", "RELEASED", "CONN_CLOSE"]
        if self.watches_pdus:
            names += ["PDU_RECV", "PDU_SENT"]
        return [(getattr(evt, f"EVT_{name}"), self._note) for name in names]

    def _note(self, event: Any) -> None:
        if event.event is evt.EVT_ESTABLISHED and event.assoc.is_acceptor:
            self.associations.append(event.assoc)
        self.happened.setdefault(thread(), []).append(event.event.name)


@pytest.fixture(scope="module")
def acceptor() -> Iterator[Acceptor]:
    acceptor = Acceptor(watches_pdus=True)
    yield acceptor
    acceptor.close()


@pytest.fixture(scope="module")
def unwatched() -> Iterator[Acceptor]:
    acceptor = Acceptor(watches_pdus=False)
    yield acceptor
    acceptor.close()


def conversation(
    acceptor: Acceptor, handler: Callable[[Any], Any], request: dict[str, Any], send: str
) -> dict[str, Any]:
    """Send an event or an action, and return the results in both applications."""
    acceptor.handler, acceptor.associations, acceptor.happened = handler, [], {}
    ae = AE()
    ae.add_requested_context(StorageCommitmentPushModel)
    ae.dimse_timeout = SHORT
    information = Dataset()
    information.TransactionUID = "1.2.3"
    arguments = {
        "dataset": information,
        "class_uid": StorageCommitmentPushModel,
        "instance_uid": INSTANCE,
        "msg_id": 7,
        **request,
    }
    type_id = arguments.pop("type", 1)
    arguments["action_type" if send == "send_n_action" else "event_type"] = type_id
    with logged(logging.INFO) as log:
        association = ae.associate(*acceptor.address, evt_handlers=acceptor.notes())
        until(lambda: bool(acceptor.associations))
        try:
            result = [str(part) for part in getattr(association, send)(**arguments)]
        except Exception as error:
            result = [type(error).__name__, str(error)]
        # The effects follow within some rounds of the reactors.
        time.sleep(0.05)
        state = [association.is_established, association.is_aborted, association.is_released]
        association.release()
        association.abort()
        other = acceptor.associations[0]
        for end in (association, other):
            # A failed state machine does not do this.
            with suppress(AttributeError, OSError):
                end.dul.socket.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: over(association) and over(other))
    return {"result": result, "state": state, "happened": acceptor.happened, "log": log.lines}


# In some cases, pynetdicom's upper layer ends with an exception.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:End of file reached")
@pytest.mark.parametrize("name", HANDLERS)
@pytest.mark.parametrize("send", SERVICES)
def test_failures_of_the_acceptor(acceptor, name, send):
    compare_failures(acceptor, name, send)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:End of file reached")
@pytest.mark.parametrize("name", HANDLERS)
def test_failures_of_the_acceptor_without_handlers_of_pdus(unwatched, name):
    compare_failures(unwatched, name, "send_n_event_report")


def compare_failures(acceptor: Acceptor, name: str, send: str) -> None:
    plain, fast = plain_and_installed(lambda: conversation(acceptor, HANDLERS[name], {}, send))
    if name in ABORT_AT_ONCE:
        # Either the A-ABORT or the end of the connection is detected first.
        assert fast["result"] == plain["result"]
        assert fast["state"] == plain["state"]
    else:
        assert fast == plain


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length")
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("send", SERVICES)
def test_failures_of_the_requestor(acceptor, name, send):
    answers = returns((0x0000, None))
    plain, fast = plain_and_installed(lambda: conversation(acceptor, answers, REQUESTS[name], send))
    assert fast == plain


@pytest.mark.parametrize("send", SERVICES)
def test_the_outcomes_differ(acceptor, send):
    # The comparison is only significant if the outcomes differ.
    outcomes = {str(conversation(acceptor, HANDLERS[name], {}, send)["result"]) for name in VARIED}
    assert len(outcomes) == len(VARIED)
