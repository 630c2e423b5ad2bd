"""Actions on associations: requests, responses, and the reports that belong to them.

pynetdicom is the other side, as SCU and as SCP, with each role negotiation and each time of the
report.
"""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import pyarrow
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from fastdimse import (
    AcceptedAssociation,
    Association,
    AssociationError,
    ColumnError,
    Outcomes,
    ReceivedRequest,
    connect,
    listen,
)
from turns import TURNS

CLASS, INSTANCE = str(StorageCommitmentPushModel), str(StorageCommitmentPushModelInstance)
TIMEOUT = 10


def action(transaction: str = "1.2.3", **more: Any) -> dict[str, Any]:
    """Return a request for storage commitment."""
    return {
        "RequestedSOPClassUID": CLASS,
        "RequestedSOPInstanceUID": INSTANCE,
        "ActionTypeID": 1,
        "ActionInformation": {"TransactionUID": transaction},
    } | more


def event(transaction: str = "1.2.3") -> dict[str, Any]:
    """Return a report of storage commitment."""
    return {
        "AffectedSOPClassUID": CLASS,
        "AffectedSOPInstanceUID": INSTANCE,
        "EventTypeID": 1,
        "EventInformation": {"TransactionUID": transaction},
    }


def data_set(transaction: str) -> Dataset:
    """Return the information of an action or event for pynetdicom."""
    found = Dataset()
    found.TransactionUID = transaction
    return found


def statuses(outcomes: Outcomes) -> list[int | None]:
    """Return the Status of each row."""
    found: list[int | None] = outcomes.to_pydict()["Status"]
    return found


@contextmanager
def pynetdicom_scp(
    handle: Callable[[evt.Event], Any], **roles: Any
) -> Iterator[tuple[int, list[evt.Event]]]:
    """Serve actions with pynetdicom; yield the port and the events of actions."""
    received: list[evt.Event] = []

    def on_action(action: evt.Event) -> Any:
        received.append(action)
        return handle(action)

    ae = AE()
    ae.add_supported_context(StorageCommitmentPushModel, **roles)
    server = ae.start_server(
        ("localhost", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, on_action)]
    )
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()


@contextmanager
def pynetdicom_scu(
    port: int, handle: Callable[[evt.Event], Any] | None = None, role: Any = None
) -> Iterator[Any]:
    """Associate with pynetdicom as the requestor."""
    ae = AE()
    ae.add_requested_context(StorageCommitmentPushModel)
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, handle), TURNS] if handle else []
    association = ae.associate(
        "localhost", port, ext_neg=[role] if role else [], evt_handlers=handlers
    )
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


# The requestor.


@pytest.mark.parametrize("role", ["scu", "both"])
def test_pynetdicom_performs_our_actions(role: str) -> None:
    reply = data_set("1.9")
    roles = {"scu_role": True, "scp_role": True}
    with (
        pynetdicom_scp(lambda _: (0x0000, reply), **roles) as (port, received),
        connect("localhost", port, sop_classes=CLASS, role=role) as association,
    ):
        outcomes = association.request([action("1.1", MessageID=76), action("1.2", MessageID=77)])
    assert statuses(outcomes) == [0, 0]
    assert [one.action_information.TransactionUID for one in received] == ["1.1", "1.2"]
    assert [one.request.MessageID for one in received] == [76, 77]
    assert {one.request.RequestedSOPInstanceUID for one in received} == {INSTANCE}
    expected = encode(reply, True, True)
    assert outcomes.replies == [expected, expected]
    assert repr(outcomes) == "<Outcomes: 2 actions, 2 answered>"
    copied = pickle.loads(pickle.dumps(outcomes))
    assert (copied.to_pydict(), copied.replies) == (outcomes.to_pydict(), outcomes.replies)


def primitive(transaction: str) -> N_ACTION:
    """Return a primitive of pynetdicom."""
    request = N_ACTION()
    request.MessageID = 5
    request.RequestedSOPClassUID = CLASS
    request.RequestedSOPInstanceUID = INSTANCE
    request.ActionTypeID = 1
    request.ActionInformation = BytesIO(encode(data_set(transaction), True, True) or b"")
    return request


def test_actions_may_be_primitives_columns_and_tables() -> None:
    columns = action() | {"ActionTypeID": [1, 2], "ActionInformation": [None, {}]}
    table = pyarrow.Table.from_pylist([action(ActionInformation=None)])
    inputs = [primitive("1.5"), [primitive("1.5")], columns, table, action()]
    with (
        pynetdicom_scp(lambda one: (one.action_type, None)) as (port, received),
        connect("localhost", port, sop_classes=CLASS, role="scu") as association,
    ):
        found = [statuses(association.request(one)) for one in inputs]
    assert found == [[1], [1], [1, 2], [1], [1]]
    uids = [one.request.ActionInformation for one in received]
    expected = encode(data_set("1.5"), True, True)
    assert [uids[0].getvalue(), uids[1].getvalue()] == [expected, expected]


def test_rejected_rows_are_outcomes_and_the_others_are_sent() -> None:
    rows = [action(), action(RequestedSOPInstanceUID="1.02"), action(ActionTypeID=65536), action()]
    with (
        pynetdicom_scp(lambda _: (0, None)) as (port, received),
        connect("localhost", port, sop_classes=CLASS, role="scu") as association,
    ):
        outcomes = association.request(rows).to_pydict()
        of_events = association.request([action() | {"EventTypeID": 1}]).to_pydict()
        with pytest.raises(ColumnError, match="unknown column 'EventTypeID'; the columns of act"):
            association.request(action() | {"EventTypeID": 1})
    assert outcomes["Status"] == [0, None, None, 0]
    assert outcomes["Reason"][1].startswith("RequestedSOPInstanceUID: '1.02'")
    assert outcomes["Reason"][2] == "ActionTypeID: 65536 is outside 0 to 65535 (VR US)"
    assert of_events["Reason"][0].startswith("unknown column 'EventTypeID'; the columns of actions")
    assert len(received) == 2


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("role", ["scu", "both"])
def test_pynetdicom_reports_on_the_same_association(before: bool, role: str) -> None:
    """Its report arrives before or after the N-ACTION response, and is handled either way."""
    answers: list[int] = []
    reported = threading.Event()

    def report(association: Any) -> None:
        status, _ = association.send_n_event_report(data_set("1.7"), 1, CLASS, INSTANCE)
        answers.append(status.Status)
        reported.set()

    def perform(request: evt.Event) -> Any:
        if before:
            # pynetdicom cannot wait for a response in a handler, but it can send.
            threading.Thread(target=report, args=[request.assoc]).start()
            time.sleep(0.2)
        else:
            threading.Timer(0.2, report, args=[request.assoc]).start()
        return 0, None

    handled: list[ReceivedRequest] = []
    roles = {"scu_role": True, "scp_role": True}
    with pynetdicom_scp(perform, **roles) as (port, _):
        association = connect(
            "localhost", port, sop_classes=CLASS, role=role, event_handler=handled.append
        )
        with association:
            assert statuses(association.request(action("1.7"))) == [0]
            assert association.handle_events(timeout=TIMEOUT, count=0 if handled else 1)
            assert reported.wait(TIMEOUT)
    assert answers == [0]
    [received] = handled
    assert received.attributes == {"TransactionUID": "1.7"}
    assert received.data_set == data_set("1.7")
    assert received.request.EventTypeID == 1
    assert received.association is association
    assert (received.calling_ae, received.called_ae) == ("EVENT-SCP", "ANY-SCP")
    assert received.address[1] == port


def test_events_are_answered_when_the_program_has_taken_them() -> None:
    answers: list[int] = []

    def perform(request: evt.Event) -> Any:
        def report() -> None:
            for number in range(4):
                status, _ = request.assoc.send_n_event_report(
                    data_set(f"1.{number}"), 1, CLASS, INSTANCE
                )
                answers.append(status.Status)

        threading.Timer(0.05, report).start()
        return 0, None

    with (
        pynetdicom_scp(perform) as (port, _),
        connect("localhost", port, sop_classes=CLASS, role="scu") as association,
    ):
        association.request(action())
        found = []
        for received in association.events(timeout=TIMEOUT, count=4):
            # The event before has its response, this one has none.
            assert len(answers) <= len(found)
            found.append(received.attributes["TransactionUID"])
            if len(found) == 2:
                received.respond(0x0110)
                with pytest.raises(RuntimeError, match="has a response already"):
                    received.respond()
        assert list(association.events(timeout=0.2)) == []
        deadline = time.monotonic() + TIMEOUT
        while len(answers) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert found == ["1.0", "1.1", "1.2", "1.3"]
    assert answers == [0, 0x0110, 0, 0]


def test_an_event_has_no_response_if_the_program_fails() -> None:
    answers: list[Any] = []
    done = threading.Event()

    def perform(request: evt.Event) -> Any:
        def report() -> None:
            status, _ = request.assoc.send_n_event_report(data_set("1.2"), 1, CLASS, INSTANCE)
            answers.append(status.get("Status"))
            done.set()

        threading.Timer(0.05, report).start()
        return 0, None

    with pynetdicom_scp(perform) as (port, _):

        def use_one_event() -> None:
            with connect("localhost", port, sop_classes=CLASS, role="scu") as association:
                association.request(action())
                for _received in association.events(timeout=TIMEOUT):
                    raise KeyError

        with pytest.raises(KeyError):
            use_one_event()
        assert done.wait(TIMEOUT)
    assert answers == [None]


def request_and_wait(association: Association) -> None:
    """Request an action, and wait for its report."""
    association.request(action())
    association.handle_events(timeout=TIMEOUT, count=1)


def test_a_handler_that_raises_refuses_the_event(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: ReceivedRequest) -> None:
        raise ValueError("no")

    def interrupt(_: ReceivedRequest) -> None:
        raise KeyboardInterrupt

    def perform(received: ReceivedRequest) -> None:
        received.association.report(event()).add_done_callback(futures.append)

    futures: list[Any] = []
    with listen(0, host="localhost", action_handler=perform) as listener:
        with connect("localhost", listener.port, role="scu", event_handler=fail) as association:
            association.request(action())
            association.handle_events(timeout=TIMEOUT, count=1)
        assert statuses(futures[0].result()) == [0x0110]
        assert "the handler failed" in caplog.text
        association = connect("localhost", listener.port, role="scu", event_handler=interrupt)
        with pytest.raises(KeyboardInterrupt):
            request_and_wait(association)


def test_the_peer_may_release_the_association() -> None:
    def perform(request: evt.Event) -> Any:
        threading.Timer(0.1, request.assoc.release).start()
        return 0, None

    with pynetdicom_scp(perform) as (port, _):
        association = connect("localhost", port, sop_classes=CLASS, role="scu")
        association.request(action())
        assert list(association.events(timeout=TIMEOUT)) == []
        with pytest.raises(RuntimeError, match="the association is released by the peer"):
            association.request(action())
        association = connect(
            "localhost", port, sop_classes=CLASS, role="scu", event_handler=lambda _: 0
        )
        association.request(action())
        assert not association.handle_events(timeout=TIMEOUT)


def test_a_role_that_is_missing_is_named() -> None:
    with pynetdicom_scp(lambda _: (0, None), scu_role=True, scp_role=False) as (port, _):
        with pytest.raises(AssociationError, match=r"\(role selection\).*add_supported_context"):
            connect("localhost", port, sop_classes=CLASS)
        with connect("localhost", port, sop_classes=CLASS, role="both") as association:
            assert statuses(association.request(action())) == [0]
            [reason] = association.send(event()).to_pydict()["Reason"]
    assert "role selection: the local side is not an SCP" in reason
    with (
        listen(0, host="localhost") as listener,
        connect("localhost", listener.port) as association,
    ):
        [reason] = association.request(action()).to_pydict()["Reason"]
    assert "role selection: the local side is not an SCU" in reason
    with pytest.raises(ValueError, match="role must be 'scp', 'scu' or 'both', not 'SCU'"):
        connect("localhost", 1, role="SCU")


# The listener.


ROLES = {
    "no role selection": None,
    "scu": build_role(StorageCommitmentPushModel, scu_role=True),
    "both": build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True),
}


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_we_report_to_pynetdicom_on_the_association_of_its_request(role: Any) -> None:
    received: list[ReceivedRequest] = []
    reports: list[Any] = []

    def perform(request: ReceivedRequest) -> Any:
        received.append(request)
        transaction = request.attributes["TransactionUID"]
        reports.append(request.association.report(event(transaction)))
        return 0, {"TransactionUID": "1.6"}

    handled: list[str] = []

    def handle(report: evt.Event) -> Any:
        handled.append(report.event_information.TransactionUID)
        return 0, None

    with (
        listen(
            0, host="localhost", action_handler=perform, transfer_syntaxes="1.2.840.10008.1.2.1"
        ) as listener,
        pynetdicom_scu(listener.port, handle, role) as association,
    ):
        status, reply = association.send_n_action(data_set("1.3"), 1, CLASS, INSTANCE)
        assert (status.Status, reply.TransactionUID) == (0, "1.6")
        outcomes = reports[0].result(TIMEOUT)
        assert statuses(outcomes) == [0]
        # Another thread reports later.
        later = received[0].association.report([event("1.4"), event("1.5")])
        assert statuses(later.result(TIMEOUT)) == [0, 0]
    assert handled == ["1.3", "1.4", "1.5"]
    [request] = received
    assert isinstance(request.association, AcceptedAssociation)
    assert request.transfer_syntax == "1.2.840.10008.1.2.1"
    assert (request.abstract_syntax, request.association_number) == (CLASS, 1)
    assert not request.association.is_open
    late = request.association.report(event()).result(TIMEOUT).to_pydict()
    assert (late["Failure"], late["Reason"]) == (
        ["not-sent"],
        ["the peer released the association"],
    )


def test_a_peer_that_is_only_scp_gets_no_report() -> None:
    reports: list[Any] = []

    def handle(received: ReceivedRequest) -> None:
        reports.append(received.association.report(event()))

    with listen(0, host="localhost", event_handler=handle, action_handler=handle) as listener:
        with connect("localhost", listener.port) as association:
            association.send(event())
        [reason] = reports[0].result(TIMEOUT).to_pydict()["Reason"]
    assert "role selection" in reason
    with listen(0, host="localhost", event_handler=handle) as listener:
        with connect("localhost", listener.port) as association:
            association.send(event())
        [reason] = reports[1].result(TIMEOUT).to_pydict()["Reason"]
    assert reason


def test_a_report_ends_with_its_association() -> None:
    """However the peer leaves, the future has a result."""
    reports: list[Any] = []

    def perform(received: ReceivedRequest) -> None:
        reports.append(received.association.report([event()] * 3))

    def abort(association: Association) -> None:
        association.abort()

    def leave(association: Association) -> None:
        association.release()

    with listen(0, host="localhost", action_handler=perform) as listener:
        for end in (abort, leave):
            association = connect(
                "localhost", listener.port, role="scu", sop_classes=CLASS, window=1
            )
            association.request(action())
            end(association)
        failures = [report.result(TIMEOUT).to_pydict()["Failure"] for report in reports]
        association = connect("localhost", listener.port, role="scu", sop_classes=CLASS)
        association.request(action())
    assert all(all(one) for one in failures)
    assert all(reports[2].result(TIMEOUT).to_pydict()["Failure"])


def test_actions_without_a_handler_are_refused_and_reported() -> None:
    with listen(0, host="localhost") as listener:
        with pynetdicom_scu(listener.port) as association:
            status, _ = association.send_n_action(data_set("1.3"), 1, CLASS, INSTANCE)
        [failure] = listener.take_failures()
    assert status.Status == 0x0211
    assert "an action was refused with Status 0x0211" in failure
    assert "no action_handler" in failure


def test_handlers_of_actions_and_events_share_a_listener() -> None:
    seen: list[tuple[str, Any]] = []

    def on_event(received: ReceivedRequest) -> Any:
        seen.append(("event", received.attributes))
        return 0x0107, {"TransactionUID": "1.8"}

    def on_action(received: ReceivedRequest) -> int:
        seen.append(("action", received.attributes))
        return 0x0123

    with listen(0, host="localhost", event_handler=on_event, action_handler=on_action) as listener:
        with connect("localhost", listener.port, sop_classes=CLASS, role="both") as association:
            assert statuses(association.request(action())) == [0x0123]
            assert statuses(association.send(event("1.1"))) == [0x0107]
        with pytest.raises(RuntimeError, match="the listener has a handler"):
            listener.receive(timeout=0)
    assert seen == [("action", {"TransactionUID": "1.2.3"}), ("event", {"TransactionUID": "1.1"})]
    with pytest.raises(ValueError, match="only one of handler, event_handler and batch_handler"):
        listen(0, handler=print, event_handler=print)


def test_nested_attributes_are_lists_of_dictionaries() -> None:
    information = {
        "TransactionUID": "1.2",
        "ReferencedSOPSequence": [
            {"ReferencedSOPClassUID": "1.3", "ReferencedSOPInstanceUID": f"1.4.{number}"}
            for number in range(3)
        ],
    }
    received: list[Any] = []

    def handler(request: ReceivedRequest) -> None:
        received.append(request.attributes)

    with (
        listen(0, host="localhost", action_handler=handler) as listener,
        connect("localhost", listener.port, role="scu") as association,
    ):
        association.request(action(ActionInformation=information))
    assert received == [information]


def test_an_association_that_is_opened_to_receive_reports() -> None:
    """The SCU opens a later association for the report, and requests nothing on it."""
    associations: list[AcceptedAssociation] = []

    def on_association(association: AcceptedAssociation) -> None:
        associations.append(association)
        association.report(event("1.4"))

    handled: list[str] = []
    done = threading.Event()

    def handle(report: evt.Event) -> Any:
        handled.append(report.event_information.TransactionUID)
        done.set()
        return 0, None

    with listen(0, host="localhost", association_handler=on_association) as listener:
        with pynetdicom_scu(listener.port, handle) as association:
            assert done.wait(TIMEOUT)
            status, _ = association.send_n_action(data_set("1.3"), 1, CLASS, INSTANCE)
            assert status.Status == 0x0211
        with connect("localhost", listener.port, role="scu") as ours:
            [received] = ours.events(timeout=TIMEOUT, count=1)
    assert handled == ["1.4"]
    assert received.attributes == {"TransactionUID": "1.4"}
    assert [one.number for one in associations] == [1, 2]


def test_an_association_handler_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: AcceptedAssociation) -> None:
        raise ValueError("no")

    with (
        listen(0, host="localhost", association_handler=fail) as listener,
        connect("localhost", listener.port) as association,
    ):
        assert statuses(association.send(event())) == [0]
    assert "the association_handler failed" in caplog.text


def test_inputs_that_are_not_actions_are_named() -> None:
    with (
        listen(0, host="localhost", action_handler=lambda _: 0) as listener,
        connect("localhost", listener.port, role="scu") as association,
    ):
        outcomes = association.request([7, {}]).to_pydict()
        with pytest.raises(TypeError, match="actions must be an Arrow table"):
            association.request(7)
    assert outcomes["Failure"] == ["value", "missing"]
    assert outcomes["Reason"][0].startswith("row 0 is int, not an action: an N_ACTION")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_cannot_report() -> None:
    """The thread of the association is in the parent process: the future has a result at once."""
    received: list[ReceivedRequest] = []
    with listen(0, host="localhost", action_handler=received.append) as listener:
        with connect("localhost", listener.port, role="scu") as association:
            association.request(action())
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    there = received[0].association
                    [failure] = there.report(event()).result(5).to_pydict()["Failure"]
                    status = 0 if (failure, there.is_open) == ("not-sent", False) else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            report = received[0].association.report(event())
            assert len(list(association.events(timeout=TIMEOUT, count=1))) == 1
        assert statuses(report.result(TIMEOUT)) == [0]


EXIT = """
import threading, time
from fastdimse import connect, listen
associations = []
def perform(received):
    associations.append(received.association)
listener = listen(0, host="localhost", action_handler=perform)
ours = connect("localhost", listener.port, role="scu", event_handler=lambda _: 0)
ours.request({
    "RequestedSOPClassUID": "1.2.840.10008.1.20.1",
    "RequestedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "ActionTypeID": 1,
})
event = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
}
def report():
    while True:
        associations[0].report(event)
for _ in range(5):
    threading.Thread(target=report, daemon=True).start()
time.sleep(0.3)
"""


def test_threads_that_report_do_not_keep_the_interpreter() -> None:
    for _ in range(4):
        done = subprocess.run([sys.executable, "-c", EXIT], timeout=40, check=False)
        assert done.returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_cannot_use_the_association() -> None:
    with (
        listen(0, host="localhost", action_handler=lambda _: 0) as listener,
        connect("localhost", listener.port, role="scu") as association,
    ):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                association.request(action())
            except RuntimeError as error:
                status = 0 if "which forked this one" in str(error) else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert statuses(association.request(action())) == [0]
