"""Spark with two cores: `mapInArrow`, and the data source `dimse`."""

import doctest
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.errors import AnalysisException, PythonException
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, lit

from fastdimse import ColumnError, decode_events, encode_events
from fastdimse.spark import DimseDataSource, decode, encode, message_type

ATTRIBUTES = """TransactionUID string, ReferencedSOPSequence array<struct<
    ReferencedSOPClassUID: string, ReferencedSOPInstanceUID: string>>"""

pytestmark = pytest.mark.skipif(not shutil.which("java"), reason="Spark needs Java")


@pytest.fixture(scope="module")
def spark():
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    session = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    session.dataSource.register(DimseDataSource)
    yield session
    session.stop()


def with_message_ids(events):
    return events.withColumn("MessageID", col("key") % 65535 + 1)


@pytest.mark.parametrize("source", ["folder", "structured_folder"])
def test_encode(spark, source, request, encoded, assert_same_rows):
    events = with_message_ids(spark.read.parquet(str(request.getfixturevalue(source))))
    messages = events.mapInArrow(encode(), message_type("encode", events))
    assert messages.columns == ["key", "site", "Message", "Rejection"]
    assert_same_rows(messages.toArrow(), encoded)


def test_decode(spark, message_folder, decoded, assert_same_rows):
    messages = spark.read.parquet(str(message_folder))
    events = messages.mapInArrow(decode(), message_type("decode", messages))
    assert_same_rows(events.toArrow(), decoded)


def test_decode_structured(spark, message_folder, structured_decoded, assert_same_rows):
    messages = spark.read.parquet(str(message_folder))
    schema = message_type("decode", messages, event_information=ATTRIBUTES)
    events = messages.mapInArrow(decode(event_information=ATTRIBUTES), schema)
    assert_same_rows(events.toArrow(), structured_decoded)


def test_rejected_rows_apart(spark, folder, encoded):
    events = with_message_ids(spark.read.parquet(str(folder)))
    messages = events.mapInArrow(encode(), message_type("encode", events))
    rejected = messages.where("Message is null").select("key", "Rejection.field").toArrow()
    expected = encoded.filter(pc.is_null(encoded["Message"]))
    assert rejected.sort_by("key")["key"].to_pylist() == expected["key"].to_pylist()
    assert set(rejected["field"].to_pylist()) == {"AffectedSOPInstanceUID", "EventTypeID"}


def test_message_ids_of_a_partition(spark, folder):
    events = spark.read.parquet(str(folder)).limit(30_000).coalesce(1)
    messages = events.mapInArrow(encode(first_row=5), message_type("encode", events))
    decoded = messages.mapInArrow(decode(), message_type("decode", messages)).toArrow()
    rows = [(i, n) for i, n in enumerate(decoded["MessageID"].to_pylist()) if n is not None]
    assert len(rows) > 29_000
    assert all(number == (5 + row) % 65535 + 1 for row, number in rows)


def test_other_columns_keep_their_types(spark):
    other = "d date, t timestamp, n timestamp_ntz, m decimal(20,3), a array<int>, p map<string,int>"
    event = "AffectedSOPClassUID string, AffectedSOPInstanceUID string, EventTypeID int"
    events = spark.createDataFrame([], f"{other}, {event}")
    messages = events.mapInArrow(encode(), message_type("encode", events))
    assert messages.schema[:6] == events.schema[:6]
    assert messages.toArrow().num_rows == 0


def test_wrong_type(spark, folder):
    events = spark.read.parquet(str(folder)).withColumn(
        "EventTypeID", lit("2026-01-01").cast("date")
    )
    with pytest.raises(TypeError, match=r"'EventTypeID'.* type in Spark is date"):
        message_type("encode", events)
    with pytest.raises(PythonException, match=r"'EventTypeID'.* type in Spark is date"):
        events.mapInArrow(encode(), message_type("encode")).collect()
    events = events.withColumn("EventTypeID", lit("2026-01-01").cast("timestamp"))
    with pytest.raises(TypeError, match=r"'EventTypeID'.* type in Spark is timestamp"):
        message_type("encode", events)
    messages = spark.createDataFrame([(1.5,)], "Message double")
    with pytest.raises(TypeError, match=r"Message.* type in Spark is double"):
        message_type("decode", messages)
    with pytest.raises(PythonException, match=r"Message.* type in Spark is double"):
        messages.mapInArrow(decode(), message_type("decode")).collect()
    with pytest.raises(ColumnError, match="'EventTypeID'"):
        message_type("encode", events.drop("EventTypeID"))


def test_data_source(spark, structured_folder, encoded, information, tmp_path):
    events = with_message_ids(spark.read.parquet(str(structured_folder))).repartition(3)
    path = str(tmp_path)
    events.write.format("dimse").option("onInvalid", "skip").mode("append").save(path)
    files = [file.name for file in tmp_path.iterdir()]
    assert len(files) == 3
    assert all(name.startswith("part-") and name.endswith(".dimse") for name in files)

    plain = pa.table(decode_events(b"".join(encoded["Message"].drop_null().to_pylist())))
    read = spark.read.format("dimse").load(path).toArrow()
    assert read.column_names == plain.column_names
    plain = plain.cast(read.schema)
    assert read.sort_by("EventInformation").equals(plain.sort_by("EventInformation"))

    schema = f"EventInformation struct<{ATTRIBUTES}>, EventTypeID int"
    read = spark.read.schema(schema).format("dimse").load(path).toArrow()
    assert read.schema.names == ["EventInformation", "EventTypeID"]
    uids = pc.struct_field(read["EventInformation"], "TransactionUID").to_pylist()
    good = encoded.filter(pc.is_valid(encoded["Message"]))["key"].to_pylist()
    assert sorted(uids) == sorted(f"1.2.3.{key}" for key in good)


def test_modes(spark, folder, tmp_path):
    events = spark.read.parquet(str(folder)).where("key = 1").coalesce(1)
    for mode, files in (("append", 1), ("append", 2), ("overwrite", 1)):
        events.write.format("dimse").mode(mode).save(str(tmp_path))
        read = spark.read.format("dimse").load(str(tmp_path))
        assert read.rdd.getNumPartitions() == len(list(tmp_path.iterdir())) == files
        assert [row.EventTypeID for row in read.collect()] == [2] * files


def test_write_of_rejected_row(spark, folder, tmp_path):
    events = spark.read.parquet(str(folder)).where("key in (5, 6, 7)").coalesce(1).orderBy("key")
    with pytest.raises(PythonException, match=r"row 2, AffectedSOPInstanceUID: .*\nin partition 0"):
        events.write.format("dimse").mode("append").save(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_read_of_broken_file(spark, events, tmp_path):
    good = encode_events(events.slice(0, 3).drop_columns(["site", "key"]))
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "cut").write_bytes(bytes(good)[:-1])
    with pytest.raises(PythonException, match=r"row 2, .*\nin the file .*/cut"):
        spark.read.format("dimse").load(str(tmp_path)).collect()


@pytest.mark.parametrize(
    ("schema", "path", "error"),
    [
        ("x int", ".", "no column 'x'"),
        ("EventTypeID timestamp", ".", "'EventTypeID' .* must be int, not timestamp"),
        ("EventReply string", ".", "'EventReply' .* must be binary or a struct, not string"),
        (None, "absent", "does not exist"),
        (None, None, "path"),
    ],
)
def test_read_errors(spark, schema, path, error, tmp_path):
    reader = spark.read.format("dimse")
    reader = reader.schema(schema) if schema else reader
    with pytest.raises(AnalysisException, match=error):
        reader.load(str(tmp_path / path) if path else None).collect()


@pytest.mark.parametrize("item", [encode, decode, message_type, DimseDataSource])
def test_docstring(spark, item):
    [test] = doctest.DocTestFinder(recurse=False).find(item)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_without_spark():
    program = "import sys; sys.modules['pyspark'] = None; import fastdimse.spark"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'pip install "fastdimse[spark]"' in result.stderr.splitlines()[-1]
