"""Sources of events: iterables of Arrow tables, Datasets, Scanners and lazy frames."""

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from fastdimse import (
    ColumnError,
    Delivery,
    Peer,
    connect,
    encode_batches,
    encode_capture,
    encode_events,
    listen,
    validate_events,
)
from fastdimse._core import event_batches
from scripted_peer import HOST

ROWS = 20
TABLE = pa.table(
    {
        "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"] * ROWS,
        "AffectedSOPInstanceUID": [f"1.2.{row}" for row in range(ROWS)],
        "EventTypeID": [1, 2] * (ROWS // 2),
        "EventInformation": [None, b"ab"] * (ROWS // 2),
    }
)
STREAM = bytes(encode_events(TABLE))
OTHER = TABLE.append_column("Site", pa.array(range(ROWS)))
EMPTY = TABLE.slice(0, 0)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of Parquet files, with a Hive-style partition."""
    for number in range(4):
        part = tmp_path / f"site={number}"
        part.mkdir()
        pq.write_table(TABLE.slice(number * 5, 5), part / "events.parquet", row_group_size=2)
    return tmp_path


def tables() -> list[Any]:
    """Return the table in parts of several kinds."""
    return [
        TABLE.slice(0, 3),
        EMPTY,
        TABLE.slice(3, 2).to_batches()[0],
        pl.DataFrame(TABLE.slice(5, 7)),
        TABLE.slice(12).to_pandas(),
    ]


SOURCES: dict[str, Callable[[Any], Any]] = {
    "list of batches": lambda folder: TABLE.to_batches(max_chunksize=3),
    "tuple of tables": lambda folder: tuple(tables()),
    "generator": lambda folder: (batch for batch in TABLE.to_batches(max_chunksize=6)),
    "struct arrays": lambda folder: [
        batch.to_struct_array() for batch in TABLE.to_batches(max_chunksize=6)
    ],
    "iter_batches": lambda folder: (
        batch
        for number in range(4)
        for batch in pq.ParquetFile(folder / f"site={number}" / "events.parquet").iter_batches(3)
    ),
    "dataset": lambda folder: ds.dataset(folder),
    "dataset in memory": lambda folder: ds.dataset(TABLE),
    "scanner": lambda folder: ds.dataset(folder).scanner(batch_size=3),
    "to_batches": lambda folder: ds.dataset(folder).to_batches(),
    "partitions": lambda folder: ds.dataset(folder, partitioning="hive"),
    "lazy frame": lambda folder: pl.DataFrame(TABLE).lazy().filter(pl.lit(True)),
    "scan_parquet": lambda folder: pl.scan_parquet(
        sorted(folder.glob("*/*.parquet")), hive_partitioning=False
    ),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_function_accepts_every_source(source, folder, tmp_path):
    options: Any = {"other_columns": "ignore"}
    assert bytes(encode_events(source(folder), **options)) == STREAM
    assert bytes(encode_events(source(folder), threads=2, **options)) == STREAM
    for size in (1, 4, 1000):
        batches = list(encode_batches(source(folder), batch_size=size, **options))
        assert b"".join(map(bytes, batches)) == STREAM
        assert max(map(len, batches)) <= size
    assert len(validate_events(source(folder), **options)) == 0
    assert bytes(encode_capture(source(folder), **options)) == bytes(encode_capture(TABLE))
    assert sum(map(len, event_batches(source(folder), **options))) == ROWS


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_sources_are_sent(source, folder, tmp_path):
    with listen(0, host=HOST) as listener:
        with connect(HOST, listener.port) as association:
            assert association.send(source(folder), other_columns="ignore").answered == ROWS
            batches = association.send_batches(source(folder), other_columns="ignore", batch_size=7)
            assert sum(batch.answered for batch in batches) == ROWS
        with Delivery([Peer(HOST, listener.port)]) as delivery:
            assert len(delivery.put(source(folder), other_columns="ignore")) == ROWS
            assert delivery.wait(20)


def test_unknown_columns_of_sources(folder):
    for source in (
        OTHER.to_batches(max_chunksize=3),
        ds.dataset(OTHER),
        ds.dataset(OTHER).scanner(),
        pl.DataFrame(OTHER).lazy(),
    ):
        with pytest.raises(ColumnError, match="unknown column 'Site'"):
            encode_events(source)
    with pytest.raises(ColumnError, match="unknown column 'site'"):
        encode_events(ds.dataset(folder, partitioning="hive"))


def test_batches_share_their_columns():
    less = TABLE.drop_columns(["EventInformation"])
    cases = [
        ([TABLE, less], "batch 2 has no column 'EventInformation'", "EventInformation"),
        ([less, less, TABLE], "batch 3 has the column 'EventInformation'", "EventInformation"),
        ([TABLE, TABLE, OTHER], "batch 3: unknown column 'Site'", "Site"),
    ]
    for batches, text, column in cases:
        with pytest.raises(ColumnError, match=text) as raised:
            encode_events(batches)
        assert raised.value.column == column
    # The order of columns and other columns may differ.
    turned = TABLE.select(TABLE.column_names[::-1])
    parts = [TABLE.slice(0, 5), OTHER.slice(5, 5), turned.slice(10)]
    assert bytes(encode_events(parts, other_columns="ignore")) == STREAM
    capture = encode_capture(parts, other_columns="ignore")
    assert bytes(capture) == bytes(encode_capture(TABLE))


def test_types_of_batches_of_a_capture():
    """Batches may have different types; values that do not fit the common one are an error."""
    other = TABLE.slice(5).set_column(2, "EventTypeID", pa.array([1.5] * (ROWS - 5)))
    with pytest.raises(TypeError, match="EventTypeID"):
        encode_events([TABLE.slice(0, 5), other])
    text = TABLE.slice(5).set_column(2, "EventTypeID", pa.array(["x"] * (ROWS - 5)))
    with pytest.raises(TypeError, match="the column 'EventTypeID' must be whole numbers, not Utf8"):
        encode_capture([TABLE.slice(0, 5), text])
    narrow = TABLE.slice(5).set_column(
        2, "EventTypeID", TABLE["EventTypeID"].slice(5).cast(pa.uint16()).dictionary_encode()
    )
    capture = encode_capture([TABLE.slice(0, 5), narrow])
    assert bytes(capture) == bytes(encode_capture(TABLE))


def test_items_that_are_not_tables():
    with pytest.raises(TypeError, match=r"batch 2 must be an Arrow table .*, not int"):
        encode_events([TABLE, 5])
    with pytest.raises(TypeError, match=r"row 1 is .*, not a primitive|row 1 must be a mapping"):
        encode_events([TABLE.slice(0, 1).to_pylist()[0], TABLE])
    with pytest.raises(TypeError, match="struct"):
        encode_events([pa.array([1])])


def test_rejected_rows_are_counted_over_all_batches():
    bad = TABLE.set_column(
        2, "EventTypeID", pa.array([70_000 if row == 13 else 1 for row in range(ROWS)])
    )
    for source in (bad.to_batches(max_chunksize=3), ds.dataset(bad), pl.DataFrame(bad).lazy()):
        encoded = encode_events(source, on_invalid="skip", first_row=100)
        assert [one.row for one in encoded.rejected] == [113]


def test_batches_are_read_lazily():
    begun = []

    def endless() -> Iterator[Any]:
        while True:
            begun.append(1)
            yield TABLE

    batches = encode_batches(endless())
    assert not begun
    assert bytes(next(batches)) == STREAM
    assert len(begun) == 1
    assert len(next(batches)) == ROWS
    assert len(begun) == 2


def test_errors_of_a_generator():
    def broken() -> Iterator[Any]:
        yield TABLE
        raise KeyError("no more")

    batches = encode_batches(broken())
    assert len(next(batches)) == ROWS
    with pytest.raises(KeyError, match="no more"):
        next(batches)


def test_empty_iterables_of_tables():
    assert len(encode_events([EMPTY, EMPTY])) == 0
    assert list(encode_batches([EMPTY])) == []
    assert len(encode_events(iter([]))) == 0


def test_captures_in_batches():
    """The listener is an iterable of tables."""
    with listen(0, host=HOST) as listener:
        with connect(HOST, listener.port) as association:
            association.send(TABLE)
            received = listener.receive()
        assert len(encode_events([received, received])) == 2 * len(received)
