"""Events on disk, and the results that `encode_events` and `decode_events` return for them.

The engines are in an environment of their own: `./dev engines` runs these tests.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fastdimse import DecodeError, Rejections, decode_events, encode_events

# Spark starts its workers in this environment.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
# Daft and Ray send no usage statistics.
os.environ.update(DO_NOT_TRACK="1", RAY_USAGE_STATS_ENABLED="0")

ROWS = 200_000
SITES = ("east", "north", "south", "west")
SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"

REFERENCE = pa.struct(
    {"ReferencedSOPClassUID": pa.string(), "ReferencedSOPInstanceUID": pa.string()}
)
INFORMATION = pa.struct(
    {"TransactionUID": pa.string(), "ReferencedSOPSequence": pa.list_(REFERENCE)}
)
REJECTION = pa.struct({"field": pa.string(), "code": pa.string(), "reason": pa.string()})
INPUT = pa.schema(
    {
        "site": pa.string(),
        "key": pa.int64(),
        "AffectedSOPClassUID": pa.string(),
        "AffectedSOPInstanceUID": pa.string(),
        "EventTypeID": pa.int32(),
        "EventInformation": INFORMATION,
    }
)
EVENT_COLUMNS = pa.schema(
    {
        "MessageID": pa.int32(),
        "MessageIDBeingRespondedTo": pa.int32(),
        "AffectedSOPClassUID": pa.string(),
        "AffectedSOPInstanceUID": pa.string(),
        "EventTypeID": pa.int32(),
        "EventInformation": pa.binary(),
        "EventReply": pa.binary(),
        "Status": pa.int32(),
        "ErrorComment": pa.string(),
        "ErrorID": pa.int32(),
        "PresentationContextID": pa.int32(),
    }
)


def event(key: int) -> dict[str, Any]:
    """Return one event as a row; a few of each thousand cannot be encoded."""
    number = key % 1000
    return {
        "site": SITES[key % len(SITES)],
        "key": key,
        "AffectedSOPClassUID": SOP_CLASS,
        "AffectedSOPInstanceUID": f"1.2.03.{key}" if number == 7 else SOP_INSTANCE,
        "EventTypeID": 70_000 if number == 13 else 1 + key % 2,
        "EventInformation": {
            "TransactionUID": f"1.2.3.{key}",
            "ReferencedSOPSequence": [
                {"ReferencedSOPClassUID": CT, "ReferencedSOPInstanceUID": f"1.2.4.{key}"}
            ],
        },
    }


def event_columns(table: pa.Table) -> pa.Table:
    """Return the table without `site` and `key`."""
    return table.drop_columns(["site", "key"])


def rejections(rejected: Rejections, rows: int) -> pa.Array:
    """Return a column with each rejection at its row, and nulls."""
    column: list[dict[str, str | None] | None] = [None] * rows
    for rejection in rejected:
        column[rejection.row] = {
            "field": rejection.field,
            "code": rejection.code,
            "reason": rejection.reason,
        }
    return pa.array(column, REJECTION)


def at_rows(values: pa.Array, missing: pa.Array) -> pa.Array:
    """Return `values` with a null at each row that `missing` marks."""
    indices, position = [], 0
    for absent in missing.to_pylist():
        indices.append(None if absent else position)
        position += not absent
    return values.take(pa.array(indices, pa.int64()))


def encoded_rows(table: pa.Table) -> pa.Table:
    """Return `site`, `key`, `Message` and `Rejection` of each row, in the order of the table."""
    encoded = encode_events(event_columns(table), on_invalid="skip")
    rejected = rejections(encoded.rejected, len(table))
    messages = at_rows(pa.array(encoded).cast(pa.binary()), rejected.is_valid())
    return pa.table(
        {"site": table["site"], "key": table["key"], "Message": messages, "Rejection": rejected}
    )


def decoded_rows(messages: pa.Table, information: pa.DataType | None = None) -> pa.Table:
    """Return `site`, `key`, the event columns and `Rejection` of each row of messages."""
    rejected: list[dict[str, str | None] | None] = []
    for message in messages["Message"].to_pylist():
        rejected.append(None)
        # Only messages that are cut off are decoded one by one.
        if message is not None and len(message) < 150:
            with pytest.raises(DecodeError) as raised:
                decode_events(message)
            error = raised.value
            rejected[-1] = {"field": error.field, "code": error.code, "reason": error.reason}
    rejection = pa.array(rejected, REJECTION)
    missing = pc.or_(messages["Message"].is_null(), rejection.is_valid())
    good = messages.filter(pc.invert(missing))["Message"]
    schema = EVENT_COLUMNS
    if information is not None:
        schema = schema.set(5, pa.field("EventInformation", information))
    events = pa.table(
        decode_events(b"".join(good.to_pylist()), event_information=information)
    ).cast(schema)
    columns = {
        name: at_rows(events[name].combine_chunks(), missing.combine_chunks())
        for name in schema.names
    }
    others = {"site": messages["site"], "key": messages["key"]}
    return pa.table({**others, **columns, "Rejection": rejection})


def compare_rows(actual: pa.Table, expected: pa.Table) -> None:
    """Assert that both tables have the same rows by key; types may differ in their width."""
    assert len(actual) == len(expected)
    actual = actual.sort_by("key").select(expected.column_names).cast(expected.schema)
    for name in expected.column_names:
        assert actual[name].combine_chunks().equals(expected[name].combine_chunks()), name


def write_folder(folder: Path, table: pa.Table) -> Path:
    """Write a table as a Hive-style folder with two files for each site."""
    for site in SITES:
        part = folder / f"site={site}"
        part.mkdir()
        rows = table.filter(pc.equal(table["site"], site)).drop_columns(["site"])
        half = len(rows) // 2
        for number, piece in enumerate((rows.slice(0, half), rows.slice(half))):
            pq.write_table(piece, part / f"{number}.parquet", row_group_size=8192)
    return folder


@pytest.fixture(scope="session")
def structured_events() -> pa.Table:
    """The events, with `EventInformation` as attributes."""
    return pa.Table.from_pylist([event(key) for key in range(ROWS)], INPUT)


@pytest.fixture(scope="session")
def events(structured_events: pa.Table) -> pa.Table:
    """The events, with `EventInformation` as encoded data sets."""
    # The data set does not depend on the fields that are rejected.
    accepted = (
        event_columns(structured_events)
        .set_column(1, "AffectedSOPInstanceUID", pa.array([SOP_INSTANCE] * ROWS))
        .set_column(2, "EventTypeID", pa.array([1] * ROWS))
    )
    data_sets = pa.table(decode_events(encode_events(accepted)))["EventInformation"]
    return structured_events.set_column(5, "EventInformation", data_sets.cast(pa.binary()))


@pytest.fixture(scope="session")
def folder(events: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hive-style folder of Parquet files: `events` by site."""
    return write_folder(tmp_path_factory.mktemp("events"), events)


@pytest.fixture(scope="session")
def structured_folder(
    structured_events: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A Hive-style folder of Parquet files: `structured_events` by site."""
    return write_folder(tmp_path_factory.mktemp("structured"), structured_events)


@pytest.fixture(scope="session")
def encoded(events: pa.Table) -> pa.Table:
    """The plain call's messages and rejections, by key; the same for both kinds of events."""
    return encoded_rows(events)


@pytest.fixture(scope="session")
def messages(encoded: pa.Table) -> pa.Table:
    """Messages to decode: `site`, `key`, `Message`; some null, some cut off."""
    column = [
        message[:100] if message is not None and key % 1000 == 21 else message
        for key, message in enumerate(encoded["Message"].to_pylist())
    ]
    return encoded.select(["site", "key"]).append_column("Message", pa.array(column, pa.binary()))


@pytest.fixture(scope="session")
def message_folder(messages: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hive-style folder of Parquet files: `messages` by site."""
    return write_folder(tmp_path_factory.mktemp("messages"), messages)


@pytest.fixture(scope="session")
def decoded(messages: pa.Table) -> pa.Table:
    """The plain call's events and rejections of `messages`, by key."""
    return decoded_rows(messages)


@pytest.fixture(scope="session")
def structured_decoded(messages: pa.Table) -> pa.Table:
    """The same as `decoded`, with `EventInformation` as attributes."""
    return decoded_rows(messages, INFORMATION)


@pytest.fixture(scope="session")
def assert_same_rows() -> Callable[[pa.Table, pa.Table], None]:
    """Return a function that compares a result with an expected table."""
    return compare_rows


@pytest.fixture(scope="session")
def information() -> pa.DataType:
    """The type of `EventInformation` as attributes."""
    return INFORMATION
