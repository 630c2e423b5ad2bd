"""Daft: batch functions, as in docs/engines.md."""

import daft
import pyarrow as pa
import pytest
from daft import DataType, col
from daft.functions import monotonically_increasing_id, to_struct

from fastdimse import decode_messages, encode_messages, message_schema


def encode(events):
    """Encode the rows of a DataFrame."""
    columns = pa.schema(message_schema("encode", events.schema().to_pyarrow_schema()))

    @daft.func.batch(return_dtype=DataType.from_arrow_type(pa.struct(columns)), unnest=True)
    def encode_batch(rows):
        return pa.array(encode_messages(rows))

    return events.select(encode_batch(to_struct(*events.columns)))


def decode(messages, **types):
    """Decode the rows of a DataFrame."""
    columns = pa.schema(message_schema("decode", messages.schema().to_pyarrow_schema(), **types))

    @daft.func.batch(return_dtype=DataType.from_arrow_type(pa.struct(columns)), unnest=True)
    def decode_batch(rows):
        return pa.array(decode_messages(rows, **types))

    return messages.select(decode_batch(to_struct(*messages.columns)))


def read(folder):
    return daft.read_parquet(f"{folder}/**/*.parquet", hive_partitioning=True)


@pytest.mark.parametrize("source", ["folder", "structured_folder"])
def test_encode(source, request, encoded, assert_same_rows):
    events = read(request.getfixturevalue(source))
    number = (col("key") % 65535 + 1).cast(DataType.int32())
    messages = encode(events.with_column("MessageID", number))
    assert sorted(messages.column_names) == ["Message", "Rejection", "key", "site"]
    assert_same_rows(messages.to_arrow(), encoded)


def test_decode(message_folder, decoded, assert_same_rows):
    assert_same_rows(decode(read(message_folder)).to_arrow(), decoded)


def test_decode_structured(message_folder, information, structured_decoded, assert_same_rows):
    events = decode(read(message_folder), event_information=information)
    assert_same_rows(events.to_arrow(), structured_decoded)


def test_rejected_rows_apart(folder, encoded):
    rejected = encode(read(folder)).where(col("Message").is_null()).sort("key").to_pydict()
    expected = encoded.filter(encoded["Message"].is_null())
    assert rejected["key"] == expected["key"].to_pylist()


def test_message_ids(folder):
    number = (monotonically_increasing_id() % 65535 + 1).cast(DataType.int32())
    events = read(folder).with_column("MessageID", number).with_column("number", col("MessageID"))
    decoded = decode(encode(events)).where(col("MessageID").not_null()).to_arrow()
    assert len(decoded) == 199_600
    assert decoded["MessageID"].equals(decoded["number"])


def test_wrong_type(folder):
    events = read(folder).with_column("EventTypeID", col("EventTypeID").cast(DataType.float64()))
    with pytest.raises(Exception, match=r"'EventTypeID' must be an integer .*, not Float64"):
        encode(events).collect()
