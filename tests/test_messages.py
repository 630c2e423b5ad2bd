"""Encoding and decoding row for row: as many rows out as in, whatever they contain."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastdimse
from fastdimse import (
    ColumnError,
    decode_events,
    decode_messages,
    encode_events,
    encode_messages,
    message_schema,
)
from plain_messages import COMMAND, ECHO_RQ, EVENT_RQ, LAST, command_set, pdu, pdv

CLASS, INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
REJECTION = pa.struct([("field", pa.string()), ("code", pa.string()), ("reason", pa.string())])


def message(
    message_id: int,
    instance: str,
    sop_class: str,
    command: int = EVENT_RQ,
    data_set: bytes = b"",
) -> bytes:
    """Return a message in one PDU."""
    parts = command_set(message_id, instance, sop_class, command, data=bool(data_set))
    return pdu(pdv(parts, COMMAND | LAST), *([pdv(data_set, LAST)] if data_set else []))


def events(rows: int, bad: set[int] = frozenset()) -> pa.Table:  # type: ignore[assignment]
    """Return a table with a key and a site; the rows `bad` have an invalid UID."""
    return pa.table(
        {
            "Key": pa.array(range(rows), pa.int64()),
            "AffectedSOPClassUID": [CLASS] * rows,
            "AffectedSOPInstanceUID": [
                "1.02" if row in bad else f"1.2.{row}" for row in range(rows)
            ],
            "EventTypeID": [row % 3 + 1 for row in range(rows)],
            "EventInformation": pa.array(
                [None if row % 4 == 0 else b"ab" * (row % 50) for row in range(rows)], pa.binary()
            ),
            "Site": pa.array(["north", "south", None][row % 3] for row in range(rows)),
        }
    )


def plainly(table: pa.Table, first_row: int = 0) -> tuple[list[bytes | None], dict[int, Any]]:
    """Return the messages of `encode_events` in their rows, and its rejections by row."""
    encoded = encode_events(table, on_invalid="skip", other_columns="ignore", first_row=first_row)
    rejected = {one.row - first_row: one for one in encoded.rejected}
    messages = iter(encoded)
    return [
        None if row in rejected else bytes(next(messages)) for row in range(len(table))
    ], rejected


@pytest.mark.parametrize("bad", [set(), {0}, {7, 8, 9}, {99}, set(range(100))], ids=len)
@pytest.mark.parametrize("first_row", [0, 65530])
@pytest.mark.parametrize("threads", [1, 2])
def test_encoded_rows(bad, first_row, threads):
    table = events(100, bad)
    found = pa.table(encode_messages(table, first_row=first_row, threads=threads))
    assert found.schema.names == ["Key", "Site", "Message", "Rejection"]
    assert found.schema.field("Message").type == pa.binary()
    assert found.schema.field("Rejection").type == REJECTION
    assert found.select(["Key", "Site"]).equals(table.select(["Key", "Site"]))
    messages, rejected = plainly(table, first_row)
    assert found["Message"].to_pylist() == messages
    assert set(rejected) == bad
    for row, rejection in enumerate(found["Rejection"].to_pylist()):
        expected = rejected.get(row)
        if expected is None:
            assert rejection is None
        else:
            values = {name: getattr(expected, name) for name in ("field", "code", "reason")}
            assert rejection == values


@pytest.mark.parametrize("bad", [set(), {0}, {7, 8, 9}, {99}, set(range(100))], ids=len)
def test_there_and_back(bad):
    table = events(100, bad)
    there = pa.table(encode_messages(table))
    back = pa.table(decode_messages(there, threads=2))
    assert back.select(["Key", "Site"]).equals(table.select(["Key", "Site"]))
    assert back["Rejection"].equals(there["Rejection"])
    good = [row for row in range(100) if row not in bad]
    plain = pa.table(
        decode_events(encode_events(table.take(pa.array(good, pa.int64())), other_columns="ignore"))
    )
    names = [name for name in plain.column_names if name != "MessageID"]
    assert back.select(names).take(pa.array(good, pa.int64())).equals(plain.select(names))
    assert back["MessageID"].to_pylist() == [None if row in bad else row + 1 for row in range(100)]
    for name in plain.column_names:
        assert back[name].type == plain[name].type
        assert not any(back[name].take(pa.array(sorted(bad), pa.int64())).is_valid().to_pylist())
    again = pa.table(encode_messages(back))
    assert again["Message"].equals(there["Message"])
    assert again["Rejection"].equals(there["Rejection"])


BROKEN = [
    (b"", "not-one-message"),
    (b"\x04", "truncated"),
    (b"no message", "pdu-type"),
    (message(1, INSTANCE, CLASS)[:-3], "truncated"),
    (message(1, INSTANCE, CLASS) * 2, "not-one-message"),
    (message(1, INSTANCE, CLASS) + b"\x05\0\0\0\0\x04\0\0\0\0", "not-one-message"),
    (message(1, INSTANCE, CLASS, command=ECHO_RQ), "not-one-message"),
    (message(1, "1" * 70, CLASS), "uid"),
    (command_set(1, INSTANCE, CLASS), "pdu-type"),
]


@pytest.mark.parametrize(("broken", "code"), BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("around", [0, 1, 127, 128, 300])
def test_a_broken_message_is_its_rows(broken, code, around):
    good = message(5, INSTANCE, CLASS)
    rows = [good] * around + [broken] + [None] + [good] * around
    found = pa.table(decode_messages(pa.array(rows, pa.binary())))
    assert found.num_rows == len(rows)
    rejections = found["Rejection"].to_pylist()
    assert rejections[around]["code"] == code
    assert [row for row, one in enumerate(rejections) if one is not None] == [around]
    ids = [5] * around + [None, None] + [5] * around
    assert found["MessageID"].to_pylist() == ids
    uids = [INSTANCE] * around + [None, None] + [INSTANCE] * around
    assert found["AffectedSOPInstanceUID"].to_pylist() == uids


def test_a_rejection_names_the_byte_of_its_message():
    rows = [message(1, INSTANCE, CLASS), message(1, INSTANCE, CLASS)[:-3]]
    [_, rejection] = pa.table(decode_messages(pa.array(rows)))["Rejection"].to_pylist()
    with pytest.raises(fastdimse.DecodeError) as alone:
        decode_events(rows[1])
    assert rejection["reason"] in str(alone.value)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=80)), max_size=20), st.data())
def test_any_bytes(rows, data):
    good = message(1, INSTANCE, CLASS)
    rows = [good if row is not None and data.draw(st.booleans()) else row for row in rows]
    found = pa.table(decode_messages(pa.array(rows, pa.binary())))
    found.validate(full=True)
    for row, event in zip(rows, found.to_pylist(), strict=True):
        assert (event["Rejection"] is None) == (row is None or row == good)
        assert (event["EventTypeID"] is not None) == (row == good)


LAYOUTS = [
    pa.large_binary(),
    pa.binary_view(),
    pa.dictionary(pa.int8(), pa.binary()),
    pa.binary(),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_layouts_of_messages(layout):
    rows = [message(1, INSTANCE, CLASS), None, b"x", message(2, INSTANCE, CLASS)]
    plain = pa.array(rows, pa.binary())
    is_dictionary = pa.types.is_dictionary(layout)
    array = plain.dictionary_encode() if is_dictionary else plain.cast(layout)
    expected = pa.table(decode_messages(plain))
    assert pa.table(decode_messages(array)).equals(expected)
    assert pa.table(decode_messages(array.slice(1))).equals(expected.slice(1))


def test_one_struct_array():
    table = events(10, {3})
    [batch] = table.to_batches()
    expected = pa.table(encode_messages(table))
    array = pa.array(encode_messages(batch.to_struct_array()))
    assert pa.Table.from_struct_array(array).equals(expected)
    batch = pa.record_batch(encode_messages(batch))
    assert pa.table(batch).equals(expected)
    series = pl.Series(encode_messages(pl.DataFrame(table).to_struct()))
    assert series.dtype == pl.DataFrame(expected).to_struct().dtype
    assert series.struct.unnest().equals(pl.DataFrame(expected))
    back = pa.array(decode_messages(array))
    assert pa.Table.from_struct_array(back).equals(pa.table(decode_messages(expected)))


def test_null_rows_stay_null():
    valid = np.array([True, False, True])
    columns = events(3)
    struct = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in columns.columns],
        names=columns.column_names,
        mask=pa.array(~valid),
    )
    found = pa.array(encode_messages(struct))
    assert found.is_valid().to_pylist() == valid.tolist()
    assert found.field("Message").is_valid().to_pylist() == valid.tolist()
    assert found.field("Rejection").null_count == 3
    back = pa.array(decode_messages(found))
    assert back.is_valid().to_pylist() == valid.tolist()


def test_streams_are_read_lazily():
    read = []

    def batches():
        for number in range(100):
            read.append(number)
            yield events(10).to_batches()[0]

    source = pa.RecordBatchReader.from_batches(events(1).schema, batches())
    reader = pa.RecordBatchReader.from_stream(encode_messages(source))
    assert read == []
    assert reader.read_next_batch().num_rows == 10
    assert len(read) < 5
    assert reader.read_all().num_rows == 990


def test_message_ids_continue_over_batches():
    table = events(200_000)
    found = pa.table(encode_messages(table))
    ids = pa.table(decode_messages(found))["MessageID"].to_pylist()
    assert ids == [row % 65535 + 1 for row in range(200_000)]
    two = pa.table(encode_messages(table, threads=2))
    assert two.equals(found)
    assert pa.table(decode_messages(found, threads=2)).equals(pa.table(decode_messages(found)))


def test_sources(tmp_path: Path):
    table = events(10, {2})
    expected = pa.table(encode_messages(table))
    pa.dataset.write_dataset(table, tmp_path, format="parquet")
    dataset = pa.dataset.dataset(tmp_path)
    assert pa.table(encode_messages(dataset)).equals(expected)
    assert pa.table(encode_messages(dataset.scanner())).equals(expected)
    reader = encode_messages(table.to_reader())
    assert pa.table(reader).equals(expected)
    # As the reader itself, which pyarrow exports again at its end.
    assert pa.table(reader).num_rows == 0
    again = encode_messages(table)
    assert pa.table(again).equals(pa.table(again))
    frame = pd.DataFrame(table.to_pydict())
    assert pa.table(encode_messages(frame))["Message"].equals(expected["Message"])
    frame = pl.DataFrame(encode_messages(pl.DataFrame(table)))
    assert frame.equals(pl.DataFrame(expected))


def test_structured_both_ways():
    schema = pa.schema({"TransactionUID": pa.string()})
    table = events(4).set_column(
        4, "EventInformation", pa.array([{"TransactionUID": f"1.2.{n}"} for n in range(4)])
    )
    there = pa.table(encode_messages(table, transfer_syntax="1.2.840.10008.1.2.1"))
    plain = encode_events(table, other_columns="ignore", transfer_syntax="1.2.840.10008.1.2.1")
    assert there["Message"].to_pylist() == [bytes(one) for one in plain]
    options: dict[str, Any] = {
        "event_information": schema,
        "transfer_syntax": "1.2.840.10008.1.2.1",
    }
    back = pa.table(decode_messages(there, **options))
    assert back["EventInformation"].equals(
        pa.table(decode_events(plain, **options))["EventInformation"]
    )
    assert back.schema.equals(
        pa.schema(message_schema("decode", there.schema, event_information=schema))
    )
    broken = there.set_column(
        2, "Message", pa.array([message(1, INSTANCE, CLASS, data_set=b"x")] * 4, pa.binary())
    )
    wrong = pa.table(decode_messages(broken, **options))
    assert wrong["MessageID"].null_count == 4
    assert {one["field"] for one in wrong["Rejection"].to_pylist()} == {"EventInformation"}
    with pytest.raises(ValueError, match="'structured'"):
        decode_messages(there, event_information="structured")  # type: ignore[arg-type]


def test_schemas_before_there_is_data():
    table = events(3)
    there = pa.table(encode_messages(table))
    assert pa.schema(message_schema("encode", table.schema)) == there.schema
    assert pa.schema(message_schema("encode")).names == ["Message", "Rejection"]
    back = pa.table(decode_messages(there))
    assert pa.schema(message_schema("decode", there.schema)) == back.schema
    assert pa.schema(message_schema("decode")) == pa.table(decode_messages(there["Message"])).schema
    assert pa.schema(encode_messages(table)) == there.schema
    with pytest.raises(ValueError, match="operation must be"):
        message_schema("both")  # type: ignore[arg-type]
    with pytest.raises(ColumnError, match="EventTypeID"):
        message_schema("encode", pa.schema({"AffectedSOPClassUID": pa.string()}))


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        (events(1).append_column("Message", [[b""]]), ColumnError, "'Message' is there already"),
        (events(1).drop_columns(["EventTypeID"]), ColumnError, "EventTypeID"),
        (
            events(1).set_column(3, "EventTypeID", pa.array(["1"])),
            TypeError,
            "EventTypeID.*integer",
        ),
        (events(1).append_column("Rejection", [["no"]]), ColumnError, "'Rejection' must be"),
        (pa.array([1, 2]), TypeError, "array of structs, not an array of Int64"),
        ({"EventTypeID": [1]}, TypeError, "must be Arrow data"),
        (b"bytes", TypeError, "must be Arrow data"),
    ],
    ids=range(7),
)
def test_tables_that_cannot_be_encoded(table, error, match):
    with pytest.raises(error, match=match):
        encode_messages(table)


@pytest.mark.parametrize(
    ("table", "error", "match"),
    [
        (events(1), ColumnError, "'Message' is missing"),
        (pa.table({"Message": ["text"]}), TypeError, "Message must be binary.*not Utf8"),
        (pa.array(["text"]), TypeError, "messages must be binary.*not Utf8"),
        (pa.table({"Message": [b""], "Status": [1]}), ColumnError, "'Status' is there already"),
    ],
    ids=range(4),
)
def test_tables_that_cannot_be_decoded(table, error, match):
    with pytest.raises(error, match=match):
        decode_messages(table)


def test_the_error_of_a_source_arrives():
    def batches():
        yield events(1).to_batches()[0]
        raise RuntimeError("the disk is gone")

    source = pa.RecordBatchReader.from_batches(events(1).schema, batches())
    with pytest.raises(Exception, match="the disk is gone"):
        pa.table(encode_messages(source))


def test_one_result_in_many_threads():
    columns = encode_messages(events(1000))
    expected = pa.table(columns)
    found: list[pa.Table] = []
    threads = [threading.Thread(target=lambda: found.append(pa.table(columns))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [table.equals(expected) for table in found] == [True] * 8


def test_a_requested_type_that_cannot_hold_a_value_is_an_error():
    row = message(40000, INSTANCE, CLASS)
    schema = pa.schema(
        [
            field.with_type(pa.int16()) if field.name == "MessageID" else field
            for field in pa.table(decode_events(row)).schema
        ]
    )
    with pytest.raises(ValueError, match="40000"):
        pa.table(decode_events(row), schema=schema)
    [batch] = pa.table({"Message": [row]}).to_batches()
    wide = pa.schema(
        [
            field.with_type(pa.int64()) if field.name == "MessageID" else field
            for field in pa.schema(message_schema("decode"))
        ]
    )
    assert pa.table(decode_messages(batch), schema=wide)["MessageID"].to_pylist() == [40000]


def test_invalid_text_of_another_column_and_a_requested_type():
    offsets, values = np.array([0, 2, 4], "int32"), b"\xff\xfeab"
    text = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(values))
    table = events(2).append_column("Text", text)
    found = encode_messages(table)
    schema = pa.schema(
        [
            field.with_type(pa.decimal128(5, 2)) if field.name == "Text" else field
            for field in pa.schema(found)
        ]
    )
    with pytest.raises(ValueError, match=r"(?i)utf.?8"):
        pa.RecordBatchReader.from_stream(found, schema=schema).read_all()


@pytest.mark.parametrize(
    "other",
    [pa.map_(pa.string(), pa.int64()), pa.struct([("a", pa.list_view(pa.int8()))])],
    ids=str,
)
def test_types_that_are_not_imported_are_errors_at_once(other):
    table = events(2).append_column("Other", pa.nulls(2, other))
    for call in (
        lambda: encode_messages(table),
        lambda: message_schema("encode", table.schema),
        lambda: message_schema("decode", pa.schema({"Message": pa.binary(), "Other": other})),
    ):
        with pytest.raises(TypeError, match="the column 'Other"):
            call()


def test_null_rows_over_columns_without_nulls():
    fields = [pa.field(field.name, field.type, nullable=False) for field in events(3).schema]
    columns = [column.combine_chunks() for column in events(3).drop_columns(["Site"]).columns]
    struct = pa.StructArray.from_arrays(
        columns,
        fields=[field for field in fields if field.name != "Site"],
        mask=pa.array([False, True, False]),
    )
    found = pa.array(encode_messages(struct))
    assert found.is_valid().to_pylist() == [True, False, True]
    assert found.field("Message").is_valid().to_pylist() == [True, False, True]


def test_null_rows_are_null_in_all_columns_of_a_table():
    struct = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in events(3).columns],
        names=events(3).column_names,
        mask=pa.array([False, True, False]),
    )
    table = pa.table(encode_messages(struct))
    assert table.take([1]).to_pylist() == [dict.fromkeys(table.column_names)]
    assert table["Key"].to_pylist() == [0, None, 2]


@pytest.mark.parametrize("name", ["Message", "Rejection"])
def test_two_columns_of_a_name(name):
    there = pa.table(encode_messages(events(1)))
    with pytest.raises(ColumnError, match=f"two columns '{name}'"):
        decode_messages(there.append_column(name, there[name]))


def test_a_few_bytes_of_many_rows_are_divided():
    row = message(1, INSTANCE, CLASS, data_set=b"ab" * (1 << 19))
    keys = pa.array(np.zeros(4096, "int32"))
    array = pa.DictionaryArray.from_arrays(keys, pa.array([row]))
    reader = pa.RecordBatchReader.from_stream(decode_messages(pa.table({"Message": array})))
    first = reader.read_next_batch()
    assert 0 < first.num_rows < 512
    assert first["MessageID"].to_pylist() == [1] * first.num_rows
    with pytest.raises(ValueError, match="too many for one array"):
        pa.array(decode_messages(array))
    with pytest.raises(ValueError, match="too many for one array"):
        pa.array(decode_messages(pa.nulls(1 << 34)))


def test_wrong_lengths_do_not_reach_the_rows_after_them():
    rows = 40_000
    length = (rows * 40).to_bytes(4, "big")
    row = b"\x04\0" + length + length + b"\x01\x03" + b"\0\0\x02\0" + length[::-1] + b"1" * 8
    began = time.perf_counter()
    found = pa.table(decode_messages(pa.array([row] * rows)))
    assert time.perf_counter() - began < 10
    assert found["Rejection"].null_count == 0


def test_a_column_of_nulls_of_polars():
    frame = pl.DataFrame(events(2)).with_columns(ErrorComment=None, Note=pl.lit(None))
    assert frame["Note"].dtype == pl.Null
    found = pa.table(encode_messages(frame))
    assert found["Message"].equals(pa.table(encode_messages(events(2)))["Message"])
    assert found["Note"].to_pylist() == [None, None]
    assert len(encode_events(frame, other_columns="ignore")) == 2
