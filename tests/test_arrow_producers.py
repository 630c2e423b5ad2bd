"""Tables of other libraries are encoded, and decoded events are imported by them."""

import itertools
from collections.abc import Callable
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from fastdimse import ColumnError, decode_events, encode_batches, encode_events, validate_events
from oracle import encode_p_data
from strategies import COLUMNS
from test_arrow_layouts import DATA_SETS, MESSAGES, NUMBERS, ROWS, STREAM, TEXTS, table
from test_bulk_encode import to_oracle

CONTEXT = {"PresentationContextID": 1}
DECODED = [{**row, **CONTEXT} for row in ROWS]


def assert_encoded(make: Callable[[], Any]) -> None:
    """Compare the encoded bytes with pynetdicom's; each function gets a new reader."""
    encoded = encode_events(make())
    assert bytes(encoded) == STREAM
    assert b"".join(map(bytes, encode_batches(make(), batch_size=7))) == STREAM
    assert len(validate_events(make())) == 0


# pyarrow


def test_pyarrow_tables_batches_and_readers():
    events = table()
    [batch] = events.combine_chunks().to_batches()
    assert_encoded(lambda: events)
    assert_encoded(lambda: batch)
    assert_encoded(lambda: events.to_reader(max_chunksize=10))
    assert_encoded(lambda: batch.to_struct_array())
    assert_encoded(lambda: events.take(list(range(len(events)))))
    assert_encoded(lambda: events.unify_dictionaries())


@pytest.mark.parametrize("format_", ["parquet", "ipc"])
def test_pyarrow_datasets(tmp_path, format_):
    events = table()
    for name in TEXTS:
        place = events.column_names.index(name)
        events = events.set_column(place, name, events[name].dictionary_encode())
    options = {} if format_ == "ipc" else {"max_rows_per_group": 9, "min_rows_per_group": 9}
    ds.write_dataset(events, tmp_path, format=format_, **options)
    dataset = ds.dataset(tmp_path, format=format_)
    assert_encoded(lambda: dataset.scanner(batch_size=11).to_reader())
    assert_encoded(lambda: dataset.to_table())
    requests = dataset.scanner(filter=ds.field("MessageID").is_valid()).to_reader()
    assert bytes(encode_events(requests)) == b"".join(
        message for row, message in zip(ROWS, MESSAGES, strict=True) if row["MessageID"] is not None
    )


def test_parquet_with_dictionaries_and_feather(tmp_path):
    pq.write_table(table(), tmp_path / "events.parquet", row_group_size=13)
    assert_encoded(lambda: pq.read_table(tmp_path / "events.parquet", read_dictionary=TEXTS))
    file = pq.ParquetFile(tmp_path / "events.parquet", read_dictionary=TEXTS[:1])
    batches = file.iter_batches(batch_size=10)
    reader = pa.RecordBatchReader.from_batches(file.schema_arrow, batches)
    assert bytes(encode_events(reader)) == STREAM
    pyarrow.feather.write_feather(table(), tmp_path / "events.arrow", compression="uncompressed")
    assert_encoded(lambda: pyarrow.feather.read_table(tmp_path / "events.arrow", memory_map=True))


def test_decoded_events_in_pyarrow():
    decoded = decode_events(STREAM)
    assert pa.table(decoded).to_pylist() == DECODED
    reader = pa.RecordBatchReader.from_stream(decoded)
    assert reader.read_all().to_pylist() == DECODED
    wanted = pa.schema(
        [(name, pa.string()) for name in TEXTS]
        + [(name, pa.large_binary()) for name in DATA_SETS]
        + [(name, pa.int64()) for name in [*NUMBERS, *CONTEXT]]
    )
    ordered = pa.table(decoded).select(wanted.names).cast(wanted)
    assert ordered.to_pylist() == [{name: row[name] for name in wanted.names} for row in DECODED]
    for again in (pa.table(decoded), ordered, pa.RecordBatchReader.from_stream(decoded)):
        assert bytes(encode_events(again)) == STREAM


# polars


def polars_frame(**types: Any) -> pl.DataFrame:
    """Return the rows as a frame of polars."""
    binary = dict.fromkeys(DATA_SETS, pl.Binary)
    return pl.DataFrame(ROWS, schema_overrides={**binary, **types}, infer_schema_length=None)


def test_polars_frames():
    frame = polars_frame()
    assert_encoded(lambda: frame)
    assert_encoded(lambda: frame.lazy().collect())
    assert_encoded(lambda: frame.lazy().select(reversed(COLUMNS)).filter(pl.lit(True)).collect())
    pieces = [frame[begin:end] for begin, end in itertools.pairwise([0, 1, 1, 20, 59, 61])]
    for rechunk in (False, True):
        assert_encoded(lambda rechunk=rechunk: pl.concat(pieces, rechunk=rechunk))
    assert_encoded(lambda: {name: frame[name] for name in COLUMNS})
    for begin, count in ((3, 9), (8, 50), (60, 1), (5, 0)):
        expected = b"".join(MESSAGES[begin : begin + count])
        assert bytes(encode_events(frame.slice(begin, count))) == expected
    assert bytes(encode_events(frame.reverse())) == b"".join(reversed(MESSAGES))


def test_polars_requests_only():
    """Filtered and renamed columns."""
    frame = (
        polars_frame()
        .lazy()
        .filter(pl.col("MessageID").is_not_null())
        .select("AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID")
        .collect()
    )
    requests = [row for row in ROWS if row["MessageID"] is not None]
    expected = [
        encode_p_data(to_oracle({**row, "MessageID": number, "EventInformation": None}))
        for number, row in enumerate(requests, 1)
    ]
    assert list(encode_events(frame)) == expected


@pytest.mark.parametrize(
    "integer",
    [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64],
    ids=str,
)
def test_polars_integers(integer):
    assert_encoded(lambda: polars_frame(**dict.fromkeys(NUMBERS, integer)))


def test_polars_categories_and_enums():
    frame = polars_frame(AffectedSOPClassUID=pl.Categorical, ErrorComment=pl.Categorical)
    assert_encoded(lambda: frame)
    assert_encoded(lambda: frame.lazy().collect())
    for begin in (1, 9):
        assert bytes(encode_events(frame[begin:])) == b"".join(MESSAGES[begin:])
    others = pl.Categories("fastdimse")
    pl.Series(["1.02.x", "unused"], dtype=pl.Categorical(others))
    assert_encoded(lambda: polars_frame(AffectedSOPClassUID=pl.Categorical(others)))
    known = sorted({row["AffectedSOPClassUID"] for row in ROWS} - {None})
    enum = pl.Enum(["1.02.x", *reversed(known), "unused"])
    assert_encoded(lambda: polars_frame(AffectedSOPClassUID=enum))
    pieces = [frame[30:], frame[:30]]
    joined = b"".join(MESSAGES[30:] + MESSAGES[:30])
    assert bytes(encode_events(pl.concat(pieces, rechunk=False))) == joined


@pytest.mark.parametrize("kind", [pl.Float64, pl.Decimal(10, 0), pl.Boolean, pl.String], ids=str)
def test_polars_columns_of_wrong_types(kind):
    frame = polars_frame().with_columns(pl.col("EventTypeID").cast(kind))
    with pytest.raises(TypeError, match="the column 'EventTypeID' must be"):
        encode_events(frame)


def test_decoded_events_in_polars():
    decoded = decode_events(STREAM)
    frame = pl.DataFrame(decoded)
    assert frame.to_dicts() == DECODED
    assert bytes(encode_events(frame)) == STREAM
    grouped = frame.group_by("AffectedSOPClassUID").len().drop_nulls()
    found = dict(grouped.iter_rows())
    sop_classes = [row["AffectedSOPClassUID"] for row in ROWS if row["AffectedSOPClassUID"]]
    assert found == {name: sop_classes.count(name) for name in set(sop_classes)}


# DuckDB


@pytest.fixture
def connection():
    """Open a database in memory with the rows in a table."""
    with duckdb.connect() as opened:
        columns = {name: "VARCHAR" for name in TEXTS} | {name: "BLOB" for name in DATA_SETS}
        columns |= {name: "USMALLINT" for name in NUMBERS}
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        opened.execute(f"CREATE TABLE events (place INTEGER, {declared})")
        for place, row in enumerate(ROWS):
            marks = ", ".join("?" * (len(columns) + 1))
            values = [place, *(row[name] for name in columns)]
            opened.execute(f"INSERT INTO events VALUES ({marks})", values)
        yield opened


QUERY = "SELECT * EXCLUDE (place) FROM events ORDER BY place"


def test_duckdb_results(connection):
    assert_encoded(lambda: connection.sql(QUERY))
    assert_encoded(lambda: connection.sql(QUERY).to_arrow_reader(10))
    assert_encoded(lambda: connection.sql(QUERY).to_arrow_table())
    last = connection.sql(f"{QUERY} DESC LIMIT 3")
    assert bytes(encode_events(last)) == b"".join(MESSAGES[:-4:-1])
    none = connection.sql(f"FROM ({QUERY}) WHERE false")
    assert (len(encode_events(none)), list(encode_batches(none))) == (0, [])


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.4", "1.5"])
def test_duckdb_settings_of_arrow(connection, version, large):
    connection.execute(f"SET arrow_output_version = '{version}'")
    connection.execute(f"SET arrow_large_buffer_size = {large}")
    assert_encoded(lambda: connection.sql(QUERY))


@pytest.mark.parametrize(
    "integer",
    ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"],
)
def test_duckdb_integers(connection, integer):
    cast = ", ".join(f"{name}::{integer} AS {name}" for name in NUMBERS)
    assert_encoded(lambda: connection.sql(f"SELECT * REPLACE ({cast}) FROM ({QUERY})"))


def test_duckdb_enums(connection):
    for name in ("AffectedSOPClassUID", "ErrorComment"):
        values = sorted({row[name] for row in ROWS} - {None})
        literals = ", ".join(f"'{value}'" for value in ["unused", *reversed(values)])
        connection.execute(f"CREATE TYPE {name}Values AS ENUM ({literals})")
        connection.execute(f"ALTER TABLE events ALTER {name} TYPE {name}Values")
    assert_encoded(lambda: connection.sql(QUERY))


def test_duckdb_results_of_many_vectors(connection):
    query = """
        SELECT '1.2.840.10008.1.20.1' AS AffectedSOPClassUID,
               '1.2.3.' || i AS AffectedSOPInstanceUID,
               1 + i % 2 AS EventTypeID,
               CASE WHEN i % 3 = 0 THEN encode('event ' || i) END AS EventInformation
        FROM range(10000) rows(i) ORDER BY i
    """
    parts = list(encode_batches(connection.sql(query), batch_size=3000))
    assert sum(map(len, parts)) == 10000
    stream = b"".join(map(bytes, parts))
    assert bytes(encode_events(connection.sql(query))) == stream
    for row in (0, 2047, 2048, 6143, 9999):
        event = {
            "MessageID": row + 1,
            "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
            "AffectedSOPInstanceUID": f"1.2.3.{row}",
            "EventTypeID": 1 + row % 2,
            "EventInformation": None if row % 3 else f"event {row}".encode(),
        }
        assert encode_events(connection.sql(query))[row] == encode_p_data(to_oracle(event))


@pytest.mark.parametrize("kind", ["DOUBLE", "HUGEINT", "DECIMAL(5, 0)", "VARCHAR", "BOOLEAN"])
def test_duckdb_columns_of_wrong_types(connection, kind):
    query = f"SELECT * REPLACE (EventTypeID::{kind} AS EventTypeID) FROM ({QUERY})"
    with pytest.raises(TypeError, match="the column 'EventTypeID' must be"):
        encode_events(connection.sql(query))


def test_decoded_events_in_duckdb(connection):
    decoded = decode_events(STREAM)
    back = connection.sql("FROM decoded")
    rows = [dict(zip(back.columns, values, strict=True)) for values in back.fetchall()]
    assert rows == DECODED
    assert decoded.rejected is not None  # the query reads the variable
    assert bytes(encode_events(connection.sql("FROM decoded"))) == STREAM
    different = connection.sql(
        "SELECT count(*) FROM (SELECT * EXCLUDE (PresentationContextID) FROM decoded EXCEPT "
        f"SELECT {', '.join(COLUMNS)} FROM events)"
    )
    assert different.fetchall() == [(0,)]


# pandas


def pandas_frame(**types: Any) -> pd.DataFrame:
    """Return the rows as a pandas frame with nullable integers."""
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS), dtype=object)
    return frame.astype({**dict.fromkeys(NUMBERS, "Int64"), **types})


@pytest.mark.parametrize(
    "strings",
    [
        object,
        str,
        "string",
        "string[python]",
        "string[pyarrow]",
        pd.ArrowDtype(pa.string()),
        pd.ArrowDtype(pa.large_string()),
        "category",
    ],
    ids=str,
)
def test_pandas_strings(strings):
    frame = pandas_frame(**dict.fromkeys(TEXTS, strings))
    assert_encoded(lambda: frame)
    assert bytes(encode_events(frame[5:40])) == b"".join(MESSAGES[5:40])
    assert bytes(encode_events(frame[::-1])) == b"".join(reversed(MESSAGES))


@pytest.mark.parametrize(
    "integers",
    [
        object,
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        pd.ArrowDtype(pa.uint16()),
    ],
    ids=str,
)
def test_pandas_integers(integers):
    frame = pandas_frame(**dict.fromkeys(NUMBERS, integers))
    assert_encoded(lambda: frame)
    odd = frame[frame.index % 2 == 1]
    assert bytes(encode_events(odd)) == b"".join(MESSAGES[1::2])


@pytest.mark.parametrize(
    "binaries",
    [object, pd.ArrowDtype(pa.binary()), pd.ArrowDtype(pa.large_binary())],
    ids=str,
)
def test_pandas_binaries(binaries):
    assert_encoded(lambda: pandas_frame(**dict.fromkeys(DATA_SETS, binaries)))


def test_pandas_frames_joined_sorted_and_converted():
    frame = pandas_frame()
    assert_encoded(lambda: pd.concat([frame[:7], frame[7:]], ignore_index=True))
    assert_encoded(lambda: frame.convert_dtypes())
    backwards = frame[::-1].sort_index(ignore_index=True)
    assert_encoded(lambda: backwards)
    categories = frame.astype({"AffectedSOPClassUID": "category"})
    categories["AffectedSOPClassUID"] = categories["AffectedSOPClassUID"].cat.add_categories("x")
    assert_encoded(lambda: categories)
    with pytest.raises(ColumnError, match="unknown column 'place'"):
        encode_events(frame.assign(place=1))


def filtered() -> tuple[pd.DataFrame, bytes]:
    """Return some rows of a frame, with their old positions as index."""
    wanted = [row["MessageID"] is not None for row in ROWS]
    frame = pandas_frame()[wanted]
    assert not isinstance(frame.index, pd.RangeIndex)
    return frame, b"".join(itertools.compress(MESSAGES, wanted))


def test_pandas_rows_without_index():
    frame, expected = filtered()
    assert bytes(encode_events(frame.reset_index(drop=True))) == expected
    assert bytes(encode_events({name: frame[name] for name in COLUMNS})) == expected


def test_pandas_rows_with_index():
    """pandas exports an index as a column unless it is a range."""
    frame, expected = filtered()
    assert "__index_level_0__" in pa.table(frame).column_names
    for way in (frame, pa.table(frame), pa.Table.from_pandas(frame).replace_schema_metadata()):
        assert bytes(encode_events(way)) == expected
        assert b"".join(map(bytes, encode_batches(way, batch_size=7))) == expected
        assert len(validate_events(way)) == 0
    levels = frame.set_index([list(frame.index), list(map(str, frame.index))])
    assert "__index_level_1__" in pa.table(levels).column_names
    assert bytes(encode_events(levels)) == expected


def test_pandas_index_with_a_name():
    frame, expected = filtered()
    assert bytes(encode_events(frame.set_index("MessageID"))) == expected
    with pytest.raises(ColumnError, match="unknown column 'place'"):
        encode_events(frame.rename_axis("place"))
    for name in ("__index_level_0", "_index_level_0__", "__index_level_x__", "__index_level___"):
        with pytest.raises(ColumnError, match=f"unknown column '{name}'"):
            encode_events(frame.assign(**{name: 1}))
    # In a mapping, the key is the name of the column.
    columns = {name: frame[name] for name in COLUMNS}
    with pytest.raises(ColumnError, match="unknown column '__index_level_0__'"):
        encode_events({**columns, "__index_level_0__": frame.index})


def test_pandas_index_as_column():
    with pytest.raises(ColumnError, match="no column 'AffectedSOPClassUID'"):
        encode_events(filtered()[0][[]])


def test_pandas_columns_of_wrong_types():
    # By default, pandas converts integers with missing values to float.
    frame = pd.DataFrame(ROWS, columns=list(COLUMNS))
    assert frame["Status"].dtype == float
    with pytest.raises(TypeError, match=r"the column 'MessageID' must be .* not Float64"):
        encode_events(frame)


def test_pandas_categories_of_integers():
    assert_encoded(lambda: pandas_frame(EventTypeID="category"))


def test_decoded_events_in_pandas():
    decoded = decode_events(STREAM)
    # Integers with missing values are float in pandas, except with its nullable types.
    floats = pd.DataFrame.from_arrow(decoded)
    arrows = pa.table(decoded).to_pandas(types_mapper=pd.ArrowDtype)
    for frame in (floats, floats.convert_dtypes(), arrows):
        assert pa.Table.from_pandas(frame).to_pylist() == DECODED
    for frame in (floats.convert_dtypes(), arrows):
        assert bytes(encode_events(frame)) == STREAM


# Objects that contain a table, but are not one.


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(lambda: duckdb.connect(), id="DuckDB connection"),
    ],
)
def test_objects_that_contain_a_table(inside):
    with pytest.raises(TypeError, match="events must be an Arrow table or stream"):
        encode_events(inside())


def test_a_lazy_frame():
    frame = polars_frame().lazy()
    assert bytes(encode_events(frame)) == STREAM
    assert bytes(encode_events(frame.collect())) == STREAM
