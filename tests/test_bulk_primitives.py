"""Streams of primitives, also of subclasses, compared with pynetdicom for each primitive."""

import io
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pynetdicom.dimse_primitives
import pytest

from fastdimse import (
    N_EVENT_REPORT,
    EncodeError,
    encode_batches,
    encode_events,
    validate_events,
)
from oracle import encode_p_data
from test_arrow_layouts import MESSAGES, ROWS, STREAM, request, response
from test_bulk_encode import to_oracle, to_ours


class PlainSubclass(N_EVENT_REPORT):
    """A subclass without overrides."""


class ConstantSubclass(N_EVENT_REPORT):
    """A subclass with two constant attributes."""

    @property
    def EventTypeID(self) -> int:
        return 3

    @EventTypeID.setter
    def EventTypeID(self, value: int | None) -> None:
        pass

    @property
    def EventInformation(self) -> io.BytesIO:
        return io.BytesIO(b"always the same")

    @EventInformation.setter
    def EventInformation(self, value: io.BytesIO | None) -> None:
        pass


class DuckTyped:
    """A class that only has the attributes."""


def to_plain_subclass(row: dict[str, Any]) -> Any:
    event = PlainSubclass()
    event.__setstate__(to_ours(row).__getstate__())
    return event


def to_duck_typed(row: dict[str, Any]) -> Any:
    duck, event = DuckTyped(), to_oracle(row)
    for name in row:
        setattr(duck, name, getattr(event, name))
    return duck


MAKERS = [to_ours, to_ours, to_plain_subclass, to_ours, to_oracle, to_duck_typed]


def mixed() -> list[Any]:
    """Return the rows as primitives of all kinds."""
    return [make(row) for make, row in zip(itertools.cycle(MAKERS), ROWS, strict=False)]


@pytest.mark.parametrize(
    "way",
    [list, tuple, iter, lambda events: (event for event in events)],
    ids=["list", "tuple", "iterator", "generator"],
)
def test_mixed_kinds_of_primitives(way):
    assert bytes(encode_events(way(mixed()))) == STREAM
    assert len(validate_events(way(mixed()))) == 0
    for size in (1, 2, 7, 60, 61, 62):
        assert b"".join(map(bytes, encode_batches(way(mixed()), batch_size=size))) == STREAM


@pytest.mark.parametrize("make", [to_ours, to_plain_subclass, to_oracle, to_duck_typed])
def test_runs_of_requests_and_of_responses(make):
    """A column can begin late, end early, or be missing."""
    requests = [request(number) for number in range(60)]
    responses = [response(number) for number in range(60)]
    bare = {name: None for name in requests[0]}
    bare_response = {**bare, "MessageIDBeingRespondedTo": 0, "Status": 0}
    bare_request = {**requests[0], "EventInformation": None}
    for rows in (
        requests,
        responses,
        requests + responses,
        responses + requests,
        [bare_request] * 200 + requests + [bare_request] * 200,
        [bare_response] * 200,
        [bare_response] * 200 + responses + [bare_response] * 200 + requests,
    ):
        expected = b"".join(encode_p_data(to_oracle(row)) for row in rows)
        assert bytes(encode_events([make(row) for row in rows])) == expected


@pytest.mark.parametrize("known", [True, False], ids=["list", "generator"])
@pytest.mark.parametrize(
    "lengths",
    [[1] * 300 + [300_000], [100_000] + [1] * 300, [2**at for at in range(21)], [0, 5, 0] * 50],
    ids=["last", "first", "growing", "some"],
)
def test_data_sets_of_very_different_lengths(lengths, known):
    data_sets = [bytes([at % 251]) * length for at, length in enumerate(lengths)]
    rows = [{**request(0), "EventInformation": data_set} for data_set in data_sets]
    # In streams, an empty data set is no data set.
    expected = b"".join(
        encode_p_data(to_oracle({**row, "EventInformation": row["EventInformation"] or None}))
        for row in rows
    )
    events = [to_ours(row) for row in rows]
    assert bytes(encode_events(events if known else iter(events))) == expected


def test_overridden_attributes_are_used():
    event = ConstantSubclass()
    plain = to_ours(ROWS[0])
    for name in ("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID"):
        setattr(event, name, ROWS[0][name])
    row = {**ROWS[0], "EventTypeID": 3, "EventInformation": b"always the same"}
    expected = MESSAGES[0] + encode_p_data(to_oracle(row)) + MESSAGES[0]
    assert bytes(encode_events([plain, event, plain])) == expected


# Unusual values.

REQUEST, RESPONSE = request(1), response(5)
REFUSED = [
    (REQUEST, "EventTypeID", 65536, "out-of-range"),
    (REQUEST, "EventTypeID", -1, "out-of-range"),
    (REQUEST, "EventTypeID", 2**130, "value"),
    (REQUEST, "EventTypeID", None, "missing"),
    (REQUEST, "MessageID", None, "missing"),
    (REQUEST, "AffectedSOPClassUID", None, "missing"),
    (REQUEST, "AffectedSOPInstanceUID", None, "missing"),
    (RESPONSE, "Status", 65536, "out-of-range"),
    (RESPONSE, "Status", None, "missing"),
    (RESPONSE, "ErrorID", 65536, "out-of-range"),
    (RESPONSE, "ErrorID", "three", "value"),
    (RESPONSE, "ErrorID", [1, 2], "value"),
    (RESPONSE, "ErrorComment", "x" * 65, "text"),
    (RESPONSE, "ErrorComment", "größer", "text"),
    (RESPONSE, "ErrorComment", 7, "value"),
]


@pytest.mark.parametrize("make", [to_ours, to_plain_subclass, to_oracle, to_duck_typed])
@pytest.mark.parametrize(("row", "name", "value", "code"), REFUSED)
def test_error_names_the_value(row, name, value, code, make):
    bad = make(row)
    setattr(bad, name, value)
    events = [*mixed(), bad, *mixed()]
    with pytest.raises(EncodeError, match=f"row {len(ROWS)}, {name}: ") as caught:
        encode_events(events)
    assert (caught.value.row, caught.value.field, caught.value.code) == (len(ROWS), name, code)
    encoded = encode_events(events, on_invalid="skip")
    assert bytes(encoded) == STREAM * 2
    [rejection] = encoded.rejected
    assert (rejection.row, rejection.field, rejection.code) == (len(ROWS), name, code)
    assert list(validate_events(events)) == [rejection]
    parts = list(encode_batches(events, batch_size=9, on_invalid="skip"))
    assert [one for part in parts for one in part.rejected] == [rejection]


def set_all(event: Any, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        setattr(event, name, value)
    return event


@pytest.mark.parametrize("make", [to_ours, to_plain_subclass, to_oracle])
@pytest.mark.parametrize(
    ("row", "values"),
    [
        (REQUEST, {"Status": 70000, "ErrorComment": 7, "ErrorID": "x"}),
        (RESPONSE, {"MessageID": 9}),
        (REQUEST, {"EventTypeID": True}),
        (RESPONSE, {"Status": False, "ErrorID": [3], "ErrorComment": ["comment"]}),
        (RESPONSE, {"ErrorComment": None, "ErrorID": None}),
        (RESPONSE, {"ErrorComment": b"bytes"}),
    ],
    ids=str,
)
def test_values_are_read_as_by_pynetdicom(row, values, make):
    expected = encode_p_data(set_all(to_oracle(row), values))
    event = set_all(make(row), values)
    encoded = encode_events([event, to_ours(ROWS[0]), event])
    assert bytes(encoded) == expected + MESSAGES[0] + expected


def test_deleted_attribute_has_no_value():
    event, theirs = to_ours(RESPONSE), to_oracle(RESPONSE)
    del event.ErrorComment, theirs.ErrorComment
    expected = encode_p_data(theirs)
    assert event.encode_p_data() == expected
    encoded = encode_events([event, to_ours(RESPONSE)], on_invalid="skip")
    assert bytes(encoded)[: len(expected)] == expected


# Streams.


class MisleadingStream(io.BytesIO):
    """A stream whose `getvalue` returns other bytes than its content."""

    def getvalue(self) -> bytes:
        return super().getvalue().upper()


def written() -> io.BytesIO:
    stream = io.BytesIO()
    for _ in range(100):
        stream.write(b"some ")
    return stream


def truncated() -> io.BytesIO:
    stream = io.BytesIO(b"x" * 1000)
    stream.seek(7)
    stream.truncate()
    return stream


def moved(position: int) -> io.BytesIO:
    stream = io.BytesIO(b"from the beginning")
    stream.seek(position)
    return stream


VIEWS: list[memoryview] = []


def lent() -> io.BytesIO:
    stream = io.BytesIO(b"lent to a view")
    VIEWS.append(stream.getbuffer())
    return stream


STREAMS: dict[str, tuple[Callable[[], io.BytesIO], bytes]] = {
    "written": (written, b"some " * 100),
    "truncated": (truncated, b"x" * 7),
    "in the middle": (lambda: moved(5), b"from the beginning"),
    "at the end": (lambda: moved(18), b"from the beginning"),
    "behind the end": (lambda: moved(1000), b"from the beginning"),
    "of one byte": (lambda: io.BytesIO(b"1"), b"1"),
    "of a subclass": (lambda: MisleadingStream(b"loud"), b"LOUD"),
    "lent": (lent, b"lent to a view"),
}


@pytest.mark.parametrize("make", [to_ours, to_plain_subclass, to_oracle])
@pytest.mark.parametrize(("stream", "data_set"), STREAMS.values(), ids=STREAMS)
def test_complete_stream_is_read_and_its_position_kept(stream, data_set, make):
    stream = stream()
    position = stream.tell()
    for row in (REQUEST, RESPONSE):
        name = "EventInformation" if row is REQUEST else "EventReply"
        event = make({**row, name: None})
        setattr(event, name, stream)
        expected = encode_p_data(to_oracle({**row, name: data_set}))
        assert bytes(encode_events([event, event])) == expected * 2
        assert stream.tell() == position
        assert not stream.closed


@pytest.mark.parametrize("make", [to_ours, to_plain_subclass, to_oracle])
def test_closed_stream(make):
    event = make({**REQUEST, "EventInformation": b"gone"})
    event.EventInformation.close()
    with pytest.raises(ValueError, match=r"I/O operation on closed file"):
        encode_events([to_ours(ROWS[0]), event])


def test_objects_that_are_not_streams():
    duck = to_duck_typed(REQUEST)
    duck.EventInformation = b"bytes"
    with pytest.raises(TypeError, match=r"a data set must be an io\.BytesIO, not bytes"):
        encode_events([duck])


def test_events_can_share_a_stream():
    stream = io.BytesIO(b"shared")
    events = [set_all(to_ours(REQUEST), {"EventInformation": stream}) for _ in range(9)]
    expected = encode_p_data(to_oracle({**REQUEST, "EventInformation": b"shared"}))
    assert bytes(encode_events(events)) == expected * 9
    # The encoded bytes and the stream are independent of each other.
    encoded = encode_events(events)
    stream.write(b"changed")
    assert bytes(encoded) == expected * 9


def test_encoded_primitives_are_not_kept_alive():
    event = to_ours({**REQUEST, "EventInformation": b"x" * 100})
    objects = [event, event.EventInformation, event.AffectedSOPInstanceUID]
    before = [sys.getrefcount(one) for one in objects]
    for verb in (encode_events, validate_events, lambda events: list(encode_batches(events))):
        verb([event] * 1000)
    assert [sys.getrefcount(one) for one in objects] == before


# Changes during a call.


def test_error_of_the_iterator():
    def events() -> Iterator[Any]:
        yield from mixed()
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        encode_events(events())
    parts = encode_batches(events(), batch_size=50)
    assert bytes(next(parts)) == b"".join(MESSAGES[:50])
    with pytest.raises(LookupError, match="no more"):
        next(parts)


def test_list_changes_during_the_call():
    events = mixed()

    class Dropping(N_EVENT_REPORT):
        @property
        def MessageID(self) -> int:
            events.clear()
            return 7

        @MessageID.setter
        def MessageID(self, value: int | None) -> None:
            pass

    dropping = Dropping()
    for name in ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"):
        setattr(dropping, name, REQUEST[name])
    events.insert(5, dropping)
    row = {**REQUEST, "MessageID": 7, "EventInformation": None}
    expected = b"".join(MESSAGES[:5]) + encode_p_data(to_oracle(row))
    assert bytes(encode_events(events)) == expected


def test_other_threads_change_list_and_events():
    rows = [{**REQUEST, "EventInformation": bytes([65 + at]) * 100} for at in range(26)]
    known = {encode_p_data(to_oracle(row)) for row in rows}
    events = [to_ours(row) for row in rows] * 20
    done = threading.Event()

    def change() -> None:
        for at in itertools.cycle(range(len(rows))):
            if done.is_set():
                break
            events.append(events.pop(at))
            events[at].EventInformation = io.BytesIO(rows[at]["EventInformation"])
            events[at].AffectedSOPInstanceUID = "".join(list(REQUEST["AffectedSOPInstanceUID"]))
            events[at] = to_ours(rows[at])

    threads = [threading.Thread(target=change) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(100):
            encoded = encode_events(events)
            assert {bytes(message) for message in encoded} <= known
            assert len(encoded) > len(rows)
    finally:
        done.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def test_primitives_of_pynetdicom():
    """pynetdicom's own primitives are encoded as such."""
    kinds = {type(event) for event in mixed()}
    assert kinds == {
        N_EVENT_REPORT,
        PlainSubclass,
        pynetdicom.dimse_primitives.N_EVENT_REPORT,
        DuckTyped,
    }
