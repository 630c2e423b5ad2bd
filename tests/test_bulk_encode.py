"""Encoding of tables, mappings and primitives, compared with pynetdicom for each event."""

import io
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdimse
from fastdimse import (
    N_EVENT_REPORT,
    ColumnError,
    EncodeError,
    EventError,
    encode_batches,
    encode_events,
    validate_events,
)
from oracle import encode_command_set, encode_p_data, primitive
from strategies import COLUMNS, context_ids, max_pdu_lengths, rows

SOP_CLASS = "1.2.840.10008.1.20.1"
EVENTS = {
    "MessageID": [7, None, 65535],
    "MessageIDBeingRespondedTo": [None, 8, None],
    "AffectedSOPClassUID": [SOP_CLASS, None, SOP_CLASS],
    "AffectedSOPInstanceUID": ["1.2.3", None, "1.2.3.4"],
    "EventTypeID": [1, None, 2],
    "EventInformation": [b"information", None, None],
    "EventReply": [None, b"reply", None],
    "Status": [None, 0x0110, None],
    "ErrorComment": [None, "no such event", None],
    "ErrorID": [None, 3, None],
}


def to_oracle(row: dict[str, Any]) -> Any:
    """Return a row as primitive of pynetdicom."""
    streams = ("EventInformation", "EventReply")
    values = {
        name: io.BytesIO(value) if name in streams else value
        for name, value in row.items()
        if value is not None
    }
    return primitive(**values)


def to_ours(row: dict[str, Any]) -> N_EVENT_REPORT:
    """Return a row as primitive of fastdimse."""
    event = N_EVENT_REPORT()
    for name, value in row.items():
        if value is not None:
            stream = name in ("EventInformation", "EventReply")
            setattr(event, name, io.BytesIO(value) if stream else value)
    return event


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Convert columns to rows."""
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def columns_of(events: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Convert rows to columns."""
    return {name: [event[name] for event in events] for name in COLUMNS}


def even(max_pdu_length: int) -> int:
    """Return the largest PDU length with a fragment of even length (PS3.8 E.1), if any."""
    return max_pdu_length & ~1 if max_pdu_length > 7 else max_pdu_length


def oracle_bytes(
    events: list[dict[str, Any]], context_id: int = 1, max_pdu_length: int = 16382
) -> bytes:
    """Encode rows with pynetdicom, in fragments of even length."""
    options = (context_id, even(max_pdu_length))
    return b"".join(encode_p_data(to_oracle(event), *options) for event in events)


@given(events=st.lists(rows, max_size=8), context_id=context_ids, max_pdu_length=max_pdu_lengths)
def test_every_input_has_the_bytes_of_pynetdicom(events, context_id, max_pdu_length):
    expected = oracle_bytes(events, context_id, max_pdu_length)
    options = {"context_id": context_id, "max_pdu_length": max_pdu_length}
    ways = [
        columns_of(events),
        [to_ours(event) for event in events],
        (to_oracle(event) for event in events),
        pa.table(columns_of(events), schema=SCHEMA),
    ]
    for way in ways:
        encoded = encode_events(way, **options)
        assert bytes(encoded) == expected
        assert len(encoded) == len(events)
        assert b"".join(encoded) == expected
    parts = encode_batches(columns_of(events), batch_size=3, **options)
    assert b"".join(bytes(part) for part in parts) == expected


SCHEMA = pa.schema(
    [
        ("MessageID", pa.uint16()),
        ("MessageIDBeingRespondedTo", pa.uint16()),
        ("AffectedSOPClassUID", pa.string()),
        ("AffectedSOPInstanceUID", pa.string()),
        ("EventTypeID", pa.uint16()),
        ("EventInformation", pa.binary()),
        ("EventReply", pa.binary()),
        ("Status", pa.uint16()),
        ("ErrorComment", pa.string()),
        ("ErrorID", pa.uint16()),
    ]
)


def with_types(strings: pa.DataType, binaries: pa.DataType, integers: pa.DataType) -> pa.Table:
    """Return the events with other Arrow types."""
    of = {pa.string(): strings, pa.binary(): binaries, pa.uint16(): integers}
    table = pa.table(EVENTS, schema=SCHEMA)
    return pa.table(
        {
            field.name: table[field.name].cast(pa.int64()).cast(of[field.type])
            if field.type == pa.uint16()
            else table[field.name].cast(of[field.type])
            for field in SCHEMA
        }
    )


FLAVOURS = [
    (pa.string(), pa.binary(), pa.uint16()),
    (pa.large_string(), pa.large_binary(), pa.uint32()),
    (pa.string_view(), pa.binary_view(), pa.uint64()),
    (pa.string(), pa.binary(), pa.int32()),
    (pa.string(), pa.binary(), pa.int64()),
]


@pytest.mark.parametrize("flavour", FLAVOURS, ids=str)
def test_arrow_types(flavour):
    assert bytes(encode_events(with_types(*flavour))) == oracle_bytes(rows_of(EVENTS))


def test_dictionaries_and_sliced_and_chunked_tables():
    table = pa.table(EVENTS, schema=SCHEMA)
    for name in ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "ErrorComment"):
        encoded = table[name].dictionary_encode()
        table = table.set_column(table.column_names.index(name), name, encoded)
    expected = oracle_bytes(rows_of(EVENTS))
    assert bytes(encode_events(table)) == expected
    chunked = pa.concat_tables([table.slice(1, 1), table.slice(0, 1), table.slice(0, 0)])
    events = rows_of(EVENTS)
    assert bytes(encode_events(chunked)) == oracle_bytes([events[1], events[0]])
    assert bytes(encode_events(chunked.combine_chunks().to_batches()[0])) == oracle_bytes(
        [events[1], events[0]]
    )


def test_polars_and_numpy():
    expected = oracle_bytes(rows_of(EVENTS))
    frame = pl.DataFrame(EVENTS, schema_overrides={"Status": pl.UInt16, "ErrorID": pl.Int8})
    assert bytes(encode_events(frame)) == expected
    columns = {
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": np.array(["1.2.3", "1.2.4"], dtype=object),
        "EventTypeID": np.array([1, 2], dtype=np.uint16),
        "MessageID": pl.Series([5, 6]),
        "EventInformation": [io.BytesIO(b"one"), bytearray(b"two")],
    }
    events = [
        {
            "MessageID": 5 + row,
            "AffectedSOPClassUID": SOP_CLASS,
            "AffectedSOPInstanceUID": f"1.2.{3 + row}",
            "EventTypeID": 1 + row,
            "EventInformation": (b"one", b"two")[row],
        }
        for row in range(2)
    ]
    assert bytes(encode_events(columns)) == oracle_bytes(events)


def test_framing_of_command_sets():
    events = rows_of(EVENTS)
    expected = [encode_command_set(to_oracle(event)) for event in events]
    encoded = encode_events(EVENTS, framing="command-set")
    assert [bytes(message) for message in encoded] == expected


def test_message_ids_wrap_around():
    columns = {
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": "1.2.3",
        "EventTypeID": np.ones(65537, dtype=np.uint16),
    }
    decoded = fastdimse.decode_events(encode_events(columns))
    numbers = [decoded[row].MessageID for row in (0, 1, 65534, 65535, 65536)]
    assert numbers == [1, 2, 65535, 1, 2]
    batches = list(encode_batches(columns, batch_size=40000))
    assert b"".join(bytes(batch) for batch in batches) == bytes(encode_events(columns))


def test_context_of_each_row():
    columns = {**EVENTS, "PresentationContextID": [3, None, 255]}
    encoded = encode_events(columns, context_id=9)
    assert [message[10] for message in encoded] == [3, 9, 255]


BAD = [
    ("AffectedSOPInstanceUID", "1.02", "uid"),
    ("AffectedSOPInstanceUID", "1." + "2" * 63, "uid"),
    ("AffectedSOPInstanceUID", "", "uid"),
    ("AffectedSOPInstanceUID", None, "missing"),
    ("AffectedSOPClassUID", "1.2.é", "uid"),
    ("EventTypeID", 65536, "out-of-range"),
    ("EventTypeID", -1, "out-of-range"),
    ("EventTypeID", 2**70, "out-of-range"),
    ("EventTypeID", None, "missing"),
    ("MessageID", 70000, "out-of-range"),
    ("MessageID", None, "missing"),
    ("Status", 0, "not-carried"),
    ("ErrorComment", "why", "not-carried"),
    ("EventReply", b"reply", "not-carried"),
    ("PresentationContextID", 2, "context-id"),
]


@pytest.mark.parametrize(("name", "value", "code"), BAD, ids=lambda value: str(value)[:20])
def test_rejected_row_is_an_error_or_skipped(name, value, code):
    columns = {**EVENTS, "PresentationContextID": [1, 1, 1]}
    columns[name] = [*columns[name][:2], value]
    with pytest.raises(EncodeError) as caught:
        encode_events(columns)
    assert (caught.value.row, caught.value.field, caught.value.code) == (2, name, code)
    assert isinstance(caught.value, ValueError | EventError)
    assert f"row 2, {name}: " in str(caught.value)

    encoded = encode_events(columns, on_invalid="skip")
    assert bytes(encoded) == oracle_bytes(rows_of(EVENTS)[:2])
    [rejection] = encoded.rejected
    assert (rejection.row, rejection.field, rejection.code) == (2, name, code)
    assert list(validate_events(columns)) == [rejection]
    table = pa.table(encoded.rejected)
    assert table.column_names == ["row", "field", "code", "reason", "offset"]
    assert table["row"].to_pylist() == [2]


def test_response_without_mandatory_fields():
    columns = {**EVENTS, "Status": [None, None, None]}
    with pytest.raises(EncodeError, match="row 1, Status: mandatory in an N-EVENT-REPORT-RSP"):
        encode_events(columns)
    columns = {**EVENTS, "ErrorComment": [None, "x" * 65, None]}
    with pytest.raises(EncodeError, match="65 characters"):
        encode_events(columns)


def test_rejected_primitives():
    good, bad, worse = (to_ours(rows_of(EVENTS)[0]) for _ in range(3))
    bad.EventTypeID = 65536
    worse.AffectedSOPInstanceUID = None
    encoded = encode_events([good, bad, good, worse], on_invalid="skip")
    assert len(encoded) == 2
    assert [(one.row, one.field, one.code) for one in encoded.rejected] == [
        (1, "EventTypeID", "out-of-range"),
        (3, "AffectedSOPInstanceUID", "missing"),
    ]


def test_row_numbers_across_batches():
    columns = {**EVENTS, "EventTypeID": [1, None, 65536]}
    batches = list(encode_batches(columns, batch_size=2, on_invalid="skip"))
    assert [rejection.row for batch in batches for rejection in batch.rejected] == [2]


def test_nonconformant_uids():
    columns = {**EVENTS, "AffectedSOPInstanceUID": ["1.02.x", None, "1.2"]}
    events = rows_of(columns)
    encoded = encode_events(columns, enforce_uid_conformance=False)
    assert bytes(encoded) == oracle_bytes(events)
    assert len(validate_events(columns)) == 1
    assert len(validate_events(columns, enforce_uid_conformance=False)) == 0


def test_empty_data_set_is_no_data_set():
    with_empty = {**EVENTS, "EventInformation": [b"", None, None]}
    without = {**EVENTS, "EventInformation": [None, None, None]}
    assert bytes(encode_events(with_empty)) == oracle_bytes(rows_of(without))
    event = to_ours(rows_of(without)[0])
    event.EventInformation = io.BytesIO()
    assert bytes(encode_events([event])) == oracle_bytes(rows_of(without)[:1])


def without(name: str) -> dict[str, Any]:
    """Return the events without a column."""
    return {key: value for key, value in EVENTS.items() if key != name}


@pytest.mark.parametrize(
    ("events", "error", "text"),
    [
        ({**EVENTS, "Eventtypeid": [1, 1, 1]}, ColumnError, "unknown column 'Eventtypeid'"),
        ({"AffectedSOPClassUID": ["1.2"], "EventTypeID": [1]}, ColumnError, "AffectedSOPInstance"),
        ({}, ColumnError, "no column"),
        ({**EVENTS, "Status": [0]}, ColumnError, "'Status' has 1"),
        (
            {**EVENTS, "EventTypeID": ["one", None, 2]},
            TypeError,
            "row 0 of the column 'EventTypeID'",
        ),
        ({**EVENTS, "EventTypeID": [1.0, None, 2]}, TypeError, "float"),
        ({**EVENTS, "AffectedSOPClassUID": [1, None, 2]}, TypeError, "AffectedSOPClassUID"),
        ({**EVENTS, "EventInformation": ["text", None, None]}, TypeError, "bytes-like"),
        ({**EVENTS, "EventTypeID": pa.array([1.5, None, 2])}, TypeError, "Float64"),
        ({**EVENTS, "EventTypeID": pa.array([True, None, False])}, TypeError, "Boolean"),
        ([to_ours({}), {}], TypeError, "row 1 is dict"),
        (b"bytes", TypeError, "events must be"),
        (7, TypeError, "events must be"),
        ({7: []}, TypeError, "keys"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_invalid_inputs(events, error, text):
    with pytest.raises(error, match=text):
        encode_events(events, on_invalid="skip")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"framing": "pdata"}, "'p-data' or 'command-set'"),
        ({"on_invalid": "ignore"}, "'raise' or 'skip'"),
        ({"context_id": 2}, "odd number"),
        ({"context_id": 257}, "odd number"),
        ({"max_pdu_length": 6}, "max_pdu_length must be 0"),
        ({"max_pdu_length": 2**32}, "max_pdu_length must be 0"),
    ],
)
def test_options(option, text):
    with pytest.raises(ValueError, match=text):
        encode_events(EVENTS, **option)


def test_no_events_is_an_empty_stream():
    for nothing in (pa.table(EVENTS, schema=SCHEMA).slice(0, 0), [], iter(())):
        encoded = encode_events(nothing)
        assert (len(encoded), encoded.nbytes, bytes(encoded)) == (0, 0, b"")
        assert encoded.offsets.tolist() == [0]


def test_the_stream_as_buffer_sequence_and_array():
    encoded = encode_events(EVENTS)
    expected = [encode_p_data(to_oracle(event)) for event in rows_of(EVENTS)]
    view = memoryview(encoded)
    assert view.readonly
    assert (view.nbytes, view.format) == (len(b"".join(expected)), "B")
    assert [bytes(encoded[index]) for index in (0, 1, -1)] == expected
    with pytest.raises(IndexError):
        encoded[3]
    array = pa.array(encoded)
    assert array.type == pa.large_binary()
    assert array.to_pylist() == expected
    assert pa.array(encoded.offsets).to_pylist() == encoded.offsets.tolist()
    message = encoded[1]
    del encoded, view, array
    assert bytes(message) == expected[1]


def test_iterator_is_read_as_far_as_needed():
    taken = []

    def events() -> Iterator[N_EVENT_REPORT]:
        for row in rows_of(EVENTS) * 10:
            taken.append(row)
            yield to_ours(row)

    batches = encode_batches(events(), batch_size=4)
    assert taken == []
    assert len(next(batches)) == 4
    assert len(taken) == 4


def test_error_of_the_producer():
    def events() -> Iterator[N_EVENT_REPORT]:
        yield to_ours(rows_of(EVENTS)[0])
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        encode_events(events())


def test_concurrent_calls_with_one_table():
    table = pa.concat_tables([pa.table(EVENTS, schema=SCHEMA)] * 3000).combine_chunks()
    expected, found = bytes(encode_events(table)), []
    threads = [
        threading.Thread(target=lambda: found.append(bytes(encode_events(table)))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


NO_ROWS = pa.table(
    {
        "AffectedSOPClassUID": pa.chunked_array([[], []], pa.string()),
        "AffectedSOPInstanceUID": pa.chunked_array([[], []], pa.string()),
        "EventTypeID": pa.chunked_array([[], []], pa.uint16()),
    }
)


@pytest.mark.parametrize(
    "events", [[], NO_ROWS.to_pydict(), NO_ROWS, NO_ROWS.combine_chunks()], ids=type
)
def test_no_rows_no_batches(events):
    assert list(encode_batches(events)) == []
