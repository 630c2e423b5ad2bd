"""`first_row`: a table encoded in parts is encoded as the whole table is."""

from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdimse import EncodeError, decode_events, encode_batches, encode_events, validate_events

FUNCTIONS = (encode_events, encode_batches, validate_events)


def columns(rows: int, bad: frozenset[int] = frozenset()) -> dict[str, Any]:
    """Return events, of which some are rejected."""
    return {
        "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * rows,
        "AffectedSOPInstanceUID": ["1.02" if row % 2 else "1.2" for row in range(rows)]
        if not bad
        else ["1.02" if row in bad else "1.2" for row in range(rows)],
        "EventTypeID": [70_000 if row in bad and row % 3 == 0 else 1 for row in range(rows)],
    }


PRODUCERS = {
    "mapping": lambda table: table.to_pydict(),
    "table": lambda table: table,
    "stream": lambda table: table.to_reader(max_chunksize=3),
    "polars": pl.DataFrame,
    "rows": lambda table: table.to_pylist(),
}


@pytest.mark.parametrize("produce", PRODUCERS.values(), ids=PRODUCERS)
@given(
    first=st.integers(0, 70_000) | st.integers(65_530, 65_540) | st.just(2**40),
    rows=st.integers(1, 30),
    bad=st.frozensets(st.integers(0, 29)).map(lambda bad: bad | {40}),
    threads=st.sampled_from([1, 3]),
)
def test_message_ids_and_rows(produce, first, rows, bad, threads):
    table = pa.table(columns(rows, bad))
    good = [row for row in range(rows) if row not in bad]
    rejected = [first + row for row in range(rows) if row in bad]
    options: dict[str, Any] = {"first_row": first, "threads": threads}
    encoded = encode_events(produce(table), on_invalid="skip", **options)
    ids = [event.MessageID for event in decode_events(encoded)]
    assert ids == [(first + row) % 65535 + 1 for row in good]
    assert [one.row for one in encoded.rejected] == rejected
    assert [one.row for one in validate_events(produce(table), **options)] == rejected
    batches = list(encode_batches(produce(table), on_invalid="skip", batch_size=4, **options))
    assert b"".join(map(bytes, batches)) == bytes(encoded)
    assert [one.row for batch in batches for one in batch.rejected] == rejected


@pytest.mark.parametrize("produce", PRODUCERS.values(), ids=PRODUCERS)
def test_parts_are_the_whole(produce):
    table = pa.table(columns(20, frozenset({3, 9, 10})))
    whole = encode_events(table, on_invalid="skip")
    parts = [
        encode_events(produce(table.slice(at, 7)), on_invalid="skip", first_row=at)
        for at in range(0, 20, 7)
    ]
    assert b"".join(map(bytes, parts)) == bytes(whole)
    assert [str(one) for part in parts for one in part.rejected] == list(map(str, whole.rejected))


def test_a_column_of_message_ids_counts():
    events = {**columns(2, frozenset({9})), "MessageID": [7, 8]}
    assert bytes(encode_events(events, first_row=99)) == bytes(encode_events(events))


def test_the_row_of_an_error():
    for produce in PRODUCERS.values():
        with pytest.raises(EncodeError, match=r"^row 13, ") as raised:
            encode_events(produce(pa.table(columns(4, frozenset({3})))), first_row=10)
        assert raised.value.row == 13
    with pytest.raises(TypeError, match="row 11"):
        encode_events({**columns(2, frozenset({9})), "EventTypeID": [1, "x"]}, first_row=10)


def test_structured_data_sets_and_command_sets():
    events = {
        **columns(4, frozenset({9})),
        "EventInformation": [{"TransactionUID": "1.2"}, {"TransactionUID": "1.02"}, None, {}],
    }
    for options in ({}, {"framing": "command-set"}, {"threads": 2}):
        encoded = encode_events(events, on_invalid="skip", first_row=10, **options)
        assert [one.row for one in encoded.rejected] == [11]
    assert [one.row for one in validate_events(events, first_row=10)] == [11]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_wrong_first_row(function):
    with pytest.raises(ValueError, match="first_row must be at least 0, not -1"):
        function(columns(1), first_row=-1)
    with pytest.raises(TypeError):
        function(columns(1), first_row="1")
    with pytest.raises(OverflowError):
        function(columns(1), first_row=2**63)
