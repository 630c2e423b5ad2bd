"""Ray Data with two workers: `map_batches`, and the source of files of messages."""

import doctest
import subprocess
import sys

import pyarrow as pa
import pytest
import ray
import ray.data
from ray.data.datatype import DataType
from ray.data.expressions import col
from ray.exceptions import RayTaskError

from fastdimse import decode_events, encode_events
from fastdimse.ray import decode, encode, read_dimse


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def table(dataset):
    """Return the rows of a dataset."""
    return pa.concat_tables(ray.get(dataset.to_arrow_refs()), promote_options="default")


def with_message_ids(events):
    number = (col("key") % 65535 + 1).cast(DataType.int32())
    return events.with_column("MessageID", number)


@pytest.mark.parametrize("source", ["folder", "structured_folder"])
def test_encode(source, request, encoded, assert_same_rows):
    events = with_message_ids(ray.data.read_parquet(str(request.getfixturevalue(source))))
    messages = table(events.map_batches(encode, batch_format="pyarrow"))
    assert sorted(messages.column_names) == ["Message", "Rejection", "key", "site"]
    assert_same_rows(messages, encoded)


def test_decode(message_folder, decoded, assert_same_rows):
    messages = ray.data.read_parquet(str(message_folder))
    assert_same_rows(table(messages.map_batches(decode, batch_format="pyarrow")), decoded)


def test_decode_structured(message_folder, information, structured_decoded, assert_same_rows):
    events = ray.data.read_parquet(str(message_folder)).map_batches(
        decode, batch_format="pyarrow", fn_kwargs={"event_information": information}
    )
    assert_same_rows(table(events), structured_decoded)


def test_rejected_rows_apart(folder, encoded, tmp_path):
    events = with_message_ids(ray.data.read_parquet(str(folder)))
    messages = events.map_batches(encode, batch_format="pyarrow")
    rejected = messages.filter(expr=col("Message").is_null())
    expected = encoded.filter(encoded["Message"].is_null())
    assert sorted(table(rejected)["key"].to_pylist()) == expected["key"].to_pylist()


def test_wrong_type(folder):
    events = ray.data.read_parquet(str(folder)).with_column(
        "EventTypeID", col("EventTypeID").cast(DataType.float64())
    )
    with pytest.raises(RayTaskError, match=r"'EventTypeID'.* type in Ray is double"):
        events.map_batches(encode, batch_format="pyarrow").materialize()
    messages = ray.data.from_arrow(pa.table({"Message": [1]}))
    with pytest.raises(RayTaskError, match=r"Message.* type in Ray is int64"):
        messages.map_batches(decode, batch_format="pyarrow").materialize()


@pytest.fixture
def files(events, tmp_path):
    """Two files of messages, with the events of the first and the second half."""
    events = events.drop_columns(["site", "key"])
    half = len(events) // 2
    for number in range(2):
        part = events.slice(number * half, half)
        messages = encode_events(part, on_invalid="skip", first_row=number * half)
        (tmp_path / f"{number}.dimse").write_bytes(messages)
    return tmp_path


def test_read_dimse(files):
    read = table(read_dimse(str(files), file_extensions=["dimse"], override_num_blocks=2))
    plain = pa.table(decode_events(b"".join(file.read_bytes() for file in sorted(files.iterdir()))))
    assert read.column_names == plain.column_names
    order = [("EventInformation", "ascending")]
    assert read.sort_by(order).equals(plain.cast(read.schema).sort_by(order))


def test_read_dimse_structured(files, information):
    path = str(files / "1.dimse")
    events = table(read_dimse(path, event_information=information, include_paths=True))
    assert events["path"].unique().to_pylist() == [path]
    plain = pa.table(decode_events((files / "1.dimse").read_bytes(), event_information=information))
    assert events["EventInformation"].to_pylist() == plain["EventInformation"].to_pylist()


def test_read_dimse_of_broken_file(events, tmp_path):
    good = encode_events(events.slice(0, 3).drop_columns(["site", "key"]))
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "cut").write_bytes(bytes(good)[:-1])
    with pytest.raises(RayTaskError, match=r"(?s)row 2, .*\nin the file .*/cut"):
        read_dimse(str(tmp_path)).materialize()


@pytest.mark.parametrize("item", [encode, decode, read_dimse])
def test_docstring(item):
    [test] = doctest.DocTestFinder(recurse=False).find(item)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_without_ray():
    program = "import sys; sys.modules['ray'] = None; import fastdimse.ray"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert 'pip install "fastdimse[ray]"' in result.stderr.splitlines()[-1]
