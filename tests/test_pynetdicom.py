"""`fastdimse.pynetdicom.install()`: the observable behaviour of pynetdicom is unchanged."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pynetdicom
import pynetdicom.dimse_primitives
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import PrintJob, StorageCommitmentPushModel

import fastdimse
import fastdimse.pynetdicom
from associations import until
from fastdimse.pynetdicom import install, installed, is_installed, uninstall
from services import EACH_SERVICE, SERVICES

INSTANCE = "1.2.840.10008.1.20.1.1"


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    yield
    uninstall()


def state() -> dict[tuple[str, ...], Any]:
    """Return all names and values of pynetdicom's modules and classes."""
    found: dict[tuple[str, ...], Any] = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] != "pynetdicom":
            continue
        for name, value in vars(module).items():
            found[module_name, name] = value
            if isinstance(value, dict) and not name.startswith("__"):
                found[module_name, name, "items"] = list(value.items())
            if isinstance(value, type):
                found[module_name, name, "members"] = [
                    (key, member) for key, member in vars(value).items() if key[:2] != "__"
                ] + [value.__dict__.get("__init__")]
    return found


def test_uninstall_restores_everything():
    # An association of another test can be open and send a message of fastdimse.
    until(lambda: not any(isinstance(thread, Association) for thread in threading.enumerate()))
    install()
    uninstall()
    before = state()
    install()
    install()
    assert is_installed()
    for module in (pynetdicom.dimse_primitives, pynetdicom.association, pynetdicom.service_class):
        assert module.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
        assert module.N_ACTION is fastdimse.N_ACTION
    uninstall()
    uninstall()
    assert not is_installed()
    after = state()
    assert after.keys() == before.keys()
    assert [
        key for key in before if before[key] is not after[key] and before[key] != after[key]
    ] == []


def test_nested_blocks():
    with installed():
        with installed():
            assert is_installed()
        assert is_installed()
    assert not is_installed()


def test_installed_version_is_supported():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        install()


def test_unsupported_version_gets_only_the_classes(monkeypatch):
    encode_msg = pynetdicom.dimse_messages.N_EVENT_REPORT_RQ.encode_msg
    monkeypatch.setattr(pynetdicom, "__version__", "9.9.9")
    with pytest.warns(UserWarning, match=r"9\.9\.9"):
        install()
    assert pynetdicom.dimse_primitives.N_EVENT_REPORT is fastdimse.N_EVENT_REPORT
    assert pynetdicom.dimse_primitives.N_ACTION is fastdimse.N_ACTION
    assert pynetdicom.dimse_messages.N_EVENT_REPORT_RQ.encode_msg is encode_msg


class Seen:
    """Events that handlers of both applications received."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.messages: list[str] = []
        self.events: list[tuple[Any, ...]] = []

    def handlers(self, *, look: bool) -> list[Any]:
        def message(event: Any) -> None:
            if look:
                self.messages.append(f"{type(event.message).__name__}\n{event.message.command_set}")

        return [
            (evt.EVT_DATA_SENT, lambda event: self.sent.append(bytes(event.data))),
            (evt.EVT_DATA_RECV, lambda event: self.received.append(bytes(event.data))),
            (evt.EVT_DIMSE_SENT, message),
            (evt.EVT_DIMSE_RECV, message),
        ]


@contextmanager
def served(seen: Seen, *, look: bool) -> Iterator[int]:
    def report(event: Any) -> tuple[int, Dataset | None]:
        return answer(event, event.event_type, event.event_information)

    def act(event: Any) -> tuple[int, Dataset | None]:
        return answer(event, event.action_type, event.action_information)

    def answer(event: Any, type_id: int, information: Dataset) -> tuple[int, Dataset | None]:
        seen.events.append((event.event.name, type_id, str(information), event.message_id))
        if type_id == 3:
            return 0x0110, None
        reply = Dataset()
        reply.PatientID = "answer"
        return 0x0000, reply if type_id == 2 else None

    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel)
    handlers = [
        (evt.EVT_N_EVENT_REPORT, report),
        (evt.EVT_N_ACTION, act),
        *seen.handlers(look=look),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def conversation(
    *, look: bool, count: int = 4, send: str = "send_n_event_report"
) -> tuple[Seen, Seen, list[str]]:
    """Send some events or actions on a real association."""
    ours, theirs = Seen(), Seen()
    answers = []
    with served(theirs, look=look) as port:
        ae = AE()
        ae.add_requested_context(StorageCommitmentPushModel)
        association = ae.associate("127.0.0.1", port, evt_handlers=ours.handlers(look=look))
        assert association.is_established
        for number in range(1, count + 1):
            information = Dataset()
            information.TransactionUID = "1.2.3"
            information.RetrieveAETitle = "A" * 16
            information.PatientComments = "x" * (40_000 if number == 4 else 60)
            status, reply = getattr(association, send)(
                information, number, StorageCommitmentPushModel, INSTANCE, msg_id=number
            )
            answers.append(f"{status}\n{reply}")
        association.release()
    return ours, theirs, answers


SENDS = pytest.mark.parametrize("send", ["send_n_event_report", "send_n_action"])


@pytest.mark.parametrize("look", [True, False], ids=["looked at", "not looked at"])
@SENDS
def test_conversation_is_unchanged(send, look):
    plain = conversation(look=look, send=send)
    with installed():
        fast = conversation(look=look, send=send)
    assert fast[2] == plain[2]
    for ours, theirs in zip(fast[:2], plain[:2], strict=True):
        assert ours.sent[1:-1] == theirs.sent[1:-1]
        assert ours.received[1:-1] == theirs.received[1:-1]
        assert ours.messages == theirs.messages
        assert ours.events == theirs.events
    # A-ASSOCIATE and A-RELEASE, and a command and a data set for each message, three for the last.
    assert len(fast[0].sent) == 2 + 3 * 2 + 4


@SENDS
def test_many_messages(send):
    with installed():
        _, theirs, answers = conversation(look=False, count=300, send=send)
    assert [event[3] for event in theirs.events] == list(range(1, 301))
    assert len(answers) == 300
    assert all("Status" in answer for answer in answers)


def test_event_immediately_after_the_association_is_accepted():
    with installed():
        for _ in range(10):
            assert "Status" in conversation(look=False, count=1)[2][0]


def test_event_while_a_request_is_outstanding():
    def answer(event: Any) -> tuple[int, Dataset]:
        status, _ = event.assoc.send_n_event_report(None, 1, PrintJob, INSTANCE)
        return status.Status, Dataset()

    def ask() -> None:
        association = client.associate(
            *address, evt_handlers=[(evt.EVT_N_EVENT_REPORT, lambda event: (0x0000, None))]
        )
        for _ in range(10):
            status, _ = association.send_n_get([0x00080008, 0x00080018], PrintJob, INSTANCE)
            answers.append(status.Status)
        association.release()

    answers: list[int] = []
    client, provider = AE(), AE()
    client.add_requested_context(PrintJob)
    provider.add_supported_context(PrintJob)
    with installed():
        server = provider.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_GET, answer)]
        )
        address = server.socket.getsockname()
        # In a thread, so that a conversation without an end fails the test.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(30)
        server.shutdown()
    assert not asking.is_alive()
    assert answers == [0x0000] * 10


@EACH_SERVICE
def test_changed_command_set_is_sent(service):
    with installed():
        primitive = service.ours()
        primitive.MessageID = 1
        setattr(primitive, service.sop_class, StorageCommitmentPushModel)
        setattr(primitive, service.sop_instance, INSTANCE)
        setattr(primitive, service.type_id, 1)
        message = pynetdicom.dimse._RQ_TO_MESSAGE[service.ours]()
        message.primitive_to_message(primitive)
        message.command_set.MessageID = 77
        (fragment,) = message.encode_msg(1, 16382)
        data = fragment.presentation_data_value_list[0][1]
        assert service.ours.decode_command_set(data[1:]).MessageID == 77


@EACH_SERVICE
def test_original_class_works(service):
    theirs = service.oracle()
    theirs.MessageID = 1
    with installed():
        message = pynetdicom.dimse._RQ_TO_MESSAGE[type(theirs)]()
        message.primitive_to_message(theirs)
        assert message.command_set.MessageID == 1


@EACH_SERVICE
def test_primitive_in_a_message_of_the_other_service(service):
    """A message of the other service gets pynetdicom's elements: those that it has."""

    def sent() -> bytes:
        other = next(one for one in SERVICES if one is not service)
        primitive = getattr(pynetdicom.dimse_primitives, str(service))()
        primitive.MessageID = 7
        message = pynetdicom.dimse._RQ_TO_MESSAGE[other.oracle]()
        message.primitive_to_message(primitive)
        (fragment,) = message.encode_msg(1, 16382)
        return fragment.presentation_data_value_list[0][1]

    def outcome() -> tuple[str, str]:
        try:
            return "sent", sent().hex()
        except Exception as error:
            return type(error).__name__, str(error)

    plain = outcome()
    with installed():
        assert outcome() == plain
