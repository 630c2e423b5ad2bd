"""Rows that cannot be read, among rows that can: on associations, each is an outcome."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pytest

from associations import until
from fastdimse import ColumnError, Delivery, Peer, ReceivedRequest, connect, listen
from scripted_peer import HOST, Conversation, peer

COMMITMENT = "1.2.840.10008.1.20.1"


def row(**changes: object) -> dict[str, Any]:
    return {
        "AffectedSOPClassUID": COMMITMENT,
        "AffectedSOPInstanceUID": "1.2",
        "EventTypeID": 1,
        "EventInformation": {"TransactionUID": "1.2.3"},
    } | changes


def test_exception_of_the_events_in_batches():
    def broken() -> Iterator[dict[str, Any]]:
        for _ in range(3):
            yield row()
        raise OSError("the disk is gone")

    def script(talk: Conversation) -> None:
        talk.accept(window=64)
        for event in talk.requests():
            talk.respond(event.MessageID)

    with peer(script) as port, connect(HOST, port) as association:
        batches = association.send_batches(broken(), batch_size=2)
        assert len(next(batches)) == 2
        with pytest.raises(OSError, match="the disk is gone") as caught:
            next(batches)
        assert caught.value.outcomes.to_pydict()["Status"] == [0]  # type: ignore[attr-defined]
        assert list(batches) == []
        assert "open" in repr(association)


class Unreadable:
    @property
    def EventTypeID(self) -> int:
        raise LookupError("no event type")


WRONG_ROWS: list[tuple[str, object, str]] = [
    ("unknown-column", row(EventTypeId=1), "did you mean 'EventTypeID'?"),
    (
        "unknown-column",
        row(EventInformation={"TransactionUId": "1.2"}),
        "EventInformation.TransactionUId: .*did you mean 'TransactionUID'",
    ),
    (
        "unknown-column",
        row(EventInformation={"ReferencedSOPSequence": [{"Nothing": "1.2"}]}),
        "EventInformation.ReferencedSOPSequence.Nothing",
    ),
    ("value", row(EventInformation={"TransactionUID": {"a": 1}}), "TransactionUID: .*'vr'"),
    ("value", row(EventInformation={"TransactionUID": object()}), "TransactionUID must be a str"),
    ("value", row(EventTypeID="2"), "'EventTypeID' must be an int"),
    ("value", row(EventTypeID=2.5), "'EventTypeID' must be an int"),
    ("value", row(AffectedSOPClassUID=b"1.2"), "'AffectedSOPClassUID' must be a str"),
    ("value", 5, "int"),
    ("value", None, "NoneType"),
    ("value", {1: 2}, "must be str"),
    ("value", Unreadable(), ""),
    ("missing", {}, "mandatory"),
    ("missing", {"EventTypeID": 1, "AffectedSOPClassUID": COMMITMENT}, "mandatory"),
]


@pytest.mark.parametrize("call", ["send", "report"])
@pytest.mark.parametrize("only", [False, True], ids=["among good rows", "only"])
def test_wrong_rows_are_rejected(call, only):
    """A wrong row neither costs the association nor the rows beside it."""
    received: list[int | None] = []
    rows: list[tuple[str | None, Any, str]] = [(None, row(EventTypeID=2), ""), *WRONG_ROWS] * 2
    if only:
        rows = [*WRONG_ROWS]
    rows = [*rows, (None, row(EventTypeID=3), "")]
    given = (one for _, one, _ in rows)

    def keep(report: ReceivedRequest) -> int:
        received.append(report.request.EventTypeID)
        return 0

    if call == "send":
        with (
            listen(0, host=HOST, event_handler=keep) as listener,
            connect(HOST, listener.port) as association,
        ):
            outcomes = association.send(given)
            assert "open" in repr(association)
            assert association.send([row(EventTypeID=4)]).to_pydict()["Status"] == [0]
    else:
        accepted: list[Any] = []
        with (
            listen(0, host=HOST, association_handler=accepted.append) as listener,
            connect(HOST, listener.port, role="both", event_handler=keep) as association,
        ):
            until(lambda: len(accepted) == 1)
            future = accepted[0].report(given)
            association.handle_events(count=sum(code is None for code, _, _ in rows))
            accepted[0].report([row(EventTypeID=4)])
            association.handle_events(count=1)
            outcomes = future.result(10)
    found = outcomes.to_pydict()
    assert found["Failure"] == [code for code, _, _ in rows]
    for (code, _, reason), text in zip(rows, found["Reason"], strict=True):
        assert code is None or re.search(reason, text), text
    good = [one["EventTypeID"] for code, one, _ in rows if code is None]
    assert received == [*good, 4]


@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "in an outbox"])
def test_wrong_rows_of_a_delivery(stored, tmp_path):
    """A delivery stores no row that would fail when it is sent, again and again."""
    received: list[int | None] = []

    def keep(report: ReceivedRequest) -> int:
        received.append(report.request.EventTypeID)
        return 0

    rows = [row(EventTypeID=2), *(one for _, one, _ in WRONG_ROWS), row(EventTypeID=3)]
    outbox = tmp_path / "outbox.db" if stored else None
    with listen(0, host=HOST, event_handler=keep) as listener:
        with Delivery(Peer(HOST, listener.port), outbox=outbox) as delivery:
            assert len(delivery.put(iter(rows))) == len(rows)
            wrong = pa.array([{"TransactionUId": "1.2"}])
            with pytest.raises(ColumnError, match="did you mean 'TransactionUID'"):
                delivery.put({**row(), "EventInformation": wrong})
            delivery.put([row(EventTypeID=4)])
            until(lambda: len(received) == 3)
        outcomes = pa.table(delivery.outcomes()).to_pydict()
    assert received == [2, 3, 4]
    assert outcomes["Failure"] == [None, *(code for code, _, _ in WRONG_ROWS), None, None]


def test_report_of_several_batches():
    batches = [
        pa.record_batch(
            {**row(), "EventTypeID": [1, None]}
            | {
                "AffectedSOPClassUID": [COMMITMENT] * 2,
                "AffectedSOPInstanceUID": ["1.2"] * 2,
                "EventInformation": [None] * 2,
            }
        )
        for _ in range(3)
    ]
    accepted: list[Any] = []
    with (
        listen(0, host=HOST, association_handler=accepted.append) as listener,
        connect(HOST, listener.port, role="both", event_handler=lambda report: 0) as association,
    ):
        until(lambda: len(accepted) == 1)
        future = accepted[0].report(pa.Table.from_batches(batches))
        association.handle_events(count=3)
        assert future.result(10).to_pydict()["Failure"] == [None, "missing"] * 3


def test_wrong_actions_are_rejected():
    action = {
        "RequestedSOPClassUID": COMMITMENT,
        "RequestedSOPInstanceUID": "1.2",
        "ActionTypeID": 1,
    }
    wrong = [action | {"ActionTypeld": 1}, {}, action | {"ActionTypeID": "1"}, 5]
    with (
        listen(0, host=HOST, action_handler=lambda request: 0) as listener,
        connect(HOST, listener.port, role="scu") as association,
    ):
        found = association.request([action, *wrong, action]).to_pydict()
        assert association.request(action).to_pydict()["Status"] == [0]
    codes = ["unknown-column", "missing", "value", "value"]
    assert found["Failure"] == [None, *codes, None]
    assert found["Status"] == [0, None, None, None, None, 0]
    assert "did you mean 'ActionTypeID'" in found["Reason"][1]


def test_message_ids_of_some_rows():
    """The Message ID of a row is no reason to reject the rows without one."""
    rows = [row(), row(MessageID=500), row(), row(MessageID=70000), row(MessageID=0)]
    numbers: list[int | None] = []

    def keep(report: ReceivedRequest) -> int:
        numbers.append(report.request.MessageID)
        return 0

    with (
        listen(0, host=HOST, event_handler=keep) as listener,
        connect(HOST, listener.port) as association,
    ):
        found = association.send(rows).to_pydict()["Failure"]
        others = association.send([row(MessageID=70000), row()]).to_pydict()["Failure"]
    assert found == [None, None, None, "out-of-range", None]
    assert others == ["out-of-range", None]
    assert numbers == [1, 500, 3, 0, 2]


class Repeating(Mapping[str, Any]):
    """A mapping that has a name twice, as some of other libraries."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self._items = items

    def __getitem__(self, name: str) -> Any:
        return dict(self._items)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def items(self) -> Any:
        return self._items


def test_a_mapping_with_a_name_twice():
    """The last value counts, as in a dict, and the rows after it keep their values."""
    repeating = Repeating([*row(EventTypeID=2).items(), ("EventTypeID", 1)])
    received: list[int | None] = []

    def keep(report: ReceivedRequest) -> int:
        received.append(report.request.EventTypeID)
        return 0

    with (
        listen(0, host=HOST, event_handler=keep) as listener,
        connect(HOST, listener.port) as association,
    ):
        rows = [row(), repeating, row(EventTypeID=2), row(EventTypeID=1)]
        assert association.send(rows).to_pydict()["Status"] == [0] * 4
    assert received == [1, 1, 2, 1]


def test_rows_of_different_forms():
    """Rows that cannot be columns of one table are sent one by one."""
    forms = [
        row(),
        row(EventInformation={"00081195": {"vr": "UI", "Value": ["1.2.3"]}}),
        row(EventInformation={"TransactionUID": "1.2.3"}),
    ]
    data_sets: list[Any] = []

    def keep(received: ReceivedRequest) -> int:
        data_sets.append(received.attributes)
        return 0

    with (
        listen(0, host=HOST, event_handler=keep) as listener,
        connect(HOST, listener.port) as association,
    ):
        assert association.send(forms).to_pydict()["Status"] == [0, 0, 0]
    assert data_sets == [{"TransactionUID": "1.2.3"}] * 3
