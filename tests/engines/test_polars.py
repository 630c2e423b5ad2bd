"""The expressions, the scan and the sink of `fastdimse.polars`."""

import subprocess
import sys

import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from fastdimse import DecodeError, decode_events, encode_events
from fastdimse.polars import scan_dimse, sink_dimse

EVENT = pl.struct(
    "MessageID",
    "AffectedSOPClassUID",
    "AffectedSOPInstanceUID",
    "EventTypeID",
    "EventInformation",
)
IN_ORDER = pl.struct(pl.exclude("site", "key"))


def numbered(path):
    """Return the events of a folder in the order of their keys, with Message IDs."""
    frame = pl.scan_parquet(path, hive_partitioning=True).sort("key")
    return frame.with_row_index("MessageID").with_columns(pl.col("MessageID") % 65535 + 1)


@pytest.mark.parametrize("kind", ["folder", "structured_folder"])
@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_encode(kind, engine, encoded, assert_same_rows, request):
    lazy = numbered(request.getfixturevalue(kind)).select(
        "site", "key", EVENT.dimse.encode(first_row=None).struct.unnest()
    )
    assert lazy.collect_schema() == {
        "site": pl.String,
        "key": pl.Int64,
        "Message": pl.Binary,
        "Rejection": pl.Struct({"field": pl.String, "code": pl.String, "reason": pl.String}),
    }
    assert_same_rows(lazy.collect(engine=engine).to_arrow(), encoded)


def test_message_ids_are_counted_over_the_column(folder, encoded, assert_same_rows):
    frame = pl.scan_parquet(folder, hive_partitioning=True).sort("key")
    for engine in ("in-memory", "streaming"):
        result = frame.select("site", "key", IN_ORDER.dimse.encode().struct.unnest())
        assert_same_rows(result.collect(engine=engine).to_arrow(), encoded)
    # In parts.
    parts = [
        frame.slice(first, 70_000).select(
            "site", "key", IN_ORDER.dimse.encode(first_row=first).struct.unnest()
        )
        for first in range(0, 200_000, 70_000)
    ]
    assert_same_rows(pl.concat(parts).collect().to_arrow(), encoded)


def test_rejected_rows_apart(folder, encoded):
    result = numbered(folder).select("key", EVENT.dimse.encode(first_row=None).struct.unnest())
    rejected = result.filter(pl.col("Rejection").is_not_null()).select(
        "key", pl.col("Rejection").struct.unnest()
    )
    expected = pl.DataFrame(encoded).filter(pl.col("Rejection").is_not_null())
    expected = expected.select("key", pl.col("Rejection").struct.unnest())
    polars.testing.assert_frame_equal(rejected.collect(), expected)
    assert len(expected) == 400
    assert result.select(pl.col("Message").null_count()).collect().item() == 400


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_decode(engine, message_folder, decoded, assert_same_rows):
    frame = pl.scan_parquet(message_folder, hive_partitioning=True)
    result = frame.select("site", "key", pl.col("Message").dimse.decode().struct.unnest())
    assert result.collect_schema()["EventInformation"] == pl.Binary
    assert_same_rows(result.collect(engine=engine).to_arrow(), decoded)


def test_decode_structured(message_folder, structured_decoded, information, assert_same_rows):
    decode = pl.col("Message").dimse.decode(event_information=information)
    frame = pl.scan_parquet(message_folder, hive_partitioning=True)
    result = frame.select("site", "key", decode.struct.unnest())
    assert_same_rows(result.collect().to_arrow(), structured_decoded)
    schema = pl.Schema(pa.schema(list(information)))
    decode = pl.col("Message").dimse.decode(event_information=schema)
    field = decode.struct.field("EventInformation").struct.field("TransactionUID")
    column = frame.select("key", field)
    expected = [
        value and value["TransactionUID"]
        for value in structured_decoded["EventInformation"].to_pylist()
    ]
    assert column.sort("key").collect()["TransactionUID"].to_list() == expected


def test_empty_frames():
    schema = {
        "AffectedSOPClassUID": pl.String,
        "AffectedSOPInstanceUID": pl.String,
        "EventTypeID": pl.Int64,
    }
    frame = pl.DataFrame(schema=schema).select(pl.struct(pl.all()).dimse.encode().struct.unnest())
    assert frame.shape == (0, 2)
    assert frame.select(pl.col("Message").dimse.decode().struct.unnest()).shape == (0, 12)


def test_without_message_ids(folder):
    frame = pl.scan_parquet(folder).select(IN_ORDER.dimse.encode(first_row=None))
    with pytest.raises(ValueError, match="needs a field 'MessageID'"):
        frame.collect()


def test_wrong_types():
    with pytest.raises(TypeError, match=r"dimse\.encode needs structs of events, not Int16"):
        pl.select(pl.lit(1, pl.Int16).dimse.encode())
    with pytest.raises(TypeError, match=r"dimse\.decode needs binary messages, not String"):
        pl.select(pl.lit("1").dimse.decode())
    event = pl.struct(
        AffectedSOPClassUID=pl.lit("1.2"),
        AffectedSOPInstanceUID=pl.lit("1.2"),
        EventTypeID=pl.lit("x"),
    )
    with pytest.raises(TypeError, match="the column 'EventTypeID' must be"):
        pl.select(event.dimse.encode())


@pytest.fixture(scope="session")
def stream(events, tmp_path_factory):
    """The plain call's stream, as a file."""
    path = tmp_path_factory.mktemp("stream") / "events.dimse"
    table = events.drop_columns(["site", "key"])
    path.write_bytes(encode_events(table, on_invalid="skip"))
    return path


def test_sink(folder, stream, encoded, tmp_path):
    path = tmp_path / "events.dimse"
    frame = pl.scan_parquet(folder, hive_partitioning=True).sort("key")
    rejected = sink_dimse(frame, path)
    assert path.read_bytes() == stream.read_bytes()
    expected = pl.DataFrame(encoded).filter(pl.col("Rejection").is_not_null())
    expected = expected.select(pl.col("key").alias("row"), pl.col("Rejection").struct.unnest())
    polars.testing.assert_frame_equal(rejected, expected)
    assert sink_dimse(frame.head(5), path, context_id=3).is_empty()


def test_scan(stream):
    frame = scan_dimse(stream)
    result = frame.collect()
    assert frame.collect_schema() == result.schema
    expected = pl.DataFrame(decode_events(stream.read_bytes())).cast(dict(result.schema))
    polars.testing.assert_frame_equal(result, expected)
    # Projection, predicate, and several files.
    several = scan_dimse([stream, str(stream)]).filter(pl.col("EventTypeID") == 2)
    ids = several.select("MessageID").collect()["MessageID"]
    assert ids.to_list() == 2 * expected.filter(pl.col("EventTypeID") == 2)["MessageID"].to_list()
    polars.testing.assert_frame_equal(frame.head(1234).collect(), expected.head(1234))
    polars.testing.assert_frame_equal(
        frame.with_row_index().select("index").tail(1).collect(),
        pl.DataFrame({"index": [len(expected) - 1]}, schema={"index": pl.get_index_type()}),
    )


def test_scan_of_attributes(stream, information, structured_events):
    frame = scan_dimse(stream, event_information=information)
    attribute = pl.col("EventInformation").struct.field("TransactionUID")
    uids = frame.select(attribute).collect()["TransactionUID"].to_list()
    good = pl.DataFrame(structured_events).filter(~(pl.col("key") % 1000).is_in([7, 13]))
    assert uids == good.select(attribute)["TransactionUID"].to_list()


def test_scan_reads_only_what_is_needed(stream, tmp_path):
    path = tmp_path / "cut.dimse"
    path.write_bytes(stream.read_bytes()[:-10])
    frame = scan_dimse(path)
    assert len(frame.head(10).collect()) == 10
    with pytest.raises(DecodeError, match="the stream has 92 left"):
        frame.collect()
    missing = scan_dimse(tmp_path / "missing.dimse")
    with pytest.raises(FileNotFoundError, match="missing"):
        missing.collect()


def test_polars_is_not_installed():
    program = "import sys; sys.modules['polars'] = None; import fastdimse.polars"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'ImportError: fastdimse.polars needs polars: pip install "fastdimse[polars]"' in (
        done.stderr
    )


BOUNDED = """
import sys
from pathlib import Path
import polars as pl
from fastdimse.polars import scan_dimse, sink_dimse

def peak():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

folder, path = map(Path, sys.argv[1:])
files = 20 * sorted(folder.glob("*/*.parquet"))
before = peak()
rejected = sink_dimse(pl.scan_parquet(files, hive_partitioning=False), path)
after_sink = peak()
rows = scan_dimse(path).select(pl.len(), pl.col("EventTypeID").sum()).collect().row(0)
print(len(rejected), *rows, after_sink - before, peak() - before, path.stat().st_size)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_of_sink_and_scan_is_bounded(folder, tmp_path):
    path = tmp_path / "events.dimse"
    run = subprocess.run(
        [sys.executable, "-c", BOUNDED, folder, path], capture_output=True, text=True, check=True
    )
    path.unlink()
    rejected, rows, types, sink, scan, size = map(int, run.stdout.split())
    assert rejected == 20 * 400
    assert rows == 20 * 199_600
    # Events of type 2 have odd keys; so have all rejected rows.
    assert types == rows + 20 * (100_000 - 400)
    assert sink < size / 3
    assert scan < size / 3
