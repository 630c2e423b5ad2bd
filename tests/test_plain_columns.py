"""The columns of results: types that every Arrow library supports, and views by an option."""

import io
import pickle
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from pydicom.dataset import Dataset

import fastdimse
from fastdimse import connect, decode_capture, decode_events, encode_capture, encode_events, listen

CLASSES = ["1.2.840.10008.1.20.1", "1.2.3", "1.2.840.10008.1.20.1"]
INSTANCES = ["1.2.840.10008.1.20.1.1", "1.2.4", "1.2.840.10008.1.20.1.1"]
EVENTS: dict[str, Any] = {
    "AffectedSOPClassUID": CLASSES,
    "AffectedSOPInstanceUID": INSTANCES,
    "EventTypeID": [2, 1, 3],
    "EventInformation": [b"two", None, b"three" * 20],
}
PLAIN = {
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
VIEWS = {pa.string(): pa.string_view(), pa.binary(): pa.binary_view()}


@pytest.fixture(name="decoded")
def _decoded() -> fastdimse.DecodedEvents:
    return decode_events(encode_events(EVENTS))


def is_plain(data_type: pa.DataType) -> bool:
    """Return whether Spark, Daft, Dask and the others have this type."""
    if pa.types.is_struct(data_type):
        return all(is_plain(field.type) for field in data_type)
    if pa.types.is_list(data_type):
        return is_plain(data_type.value_type)
    unsupported = (
        pa.types.is_dictionary,
        pa.types.is_string_view,
        pa.types.is_binary_view,
        pa.types.is_unsigned_integer,
    )
    return not any(test(data_type) for test in unsupported)


def test_types_and_values(decoded):
    table = pa.table(decoded)
    assert table.schema == pa.schema(PLAIN)
    assert table["MessageID"].to_pylist() == [1, 2, 3]
    for name, values in EVENTS.items():
        assert table[name].to_pylist() == values
    assert table["PresentationContextID"].to_pylist() == [1, 1, 1]
    for name in set(PLAIN) - set(EVENTS) - {"MessageID", "PresentationContextID"}:
        assert table[name].null_count == 3


def test_pyarrow_sorts_filters_joins_groups_and_writes(decoded):
    table = pa.table(decoded)
    sorted_ = table.sort_by([("AffectedSOPClassUID", "descending"), ("EventTypeID", "ascending")])
    assert sorted_["EventTypeID"].to_pylist() == [2, 3, 1]
    assert table.filter(pc.equal(table["AffectedSOPInstanceUID"], "1.2.4")).num_rows == 1
    assert table.take([2, 0])["EventInformation"].to_pylist() == [b"three" * 20, b"two"]
    counts = table.group_by("AffectedSOPClassUID").aggregate([([], "count_all")])
    assert sorted(counts["count_all"].to_pylist()) == [1, 2]
    names = pa.table({"AffectedSOPClassUID": ["1.2.3"], "Name": ["private"]})
    joined = table.join(names, "AffectedSOPClassUID")
    assert sorted(joined["Name"].to_pylist(), key=str) == [None, None, "private"]
    out = io.BytesIO()
    pyarrow.csv.write_csv(table.drop_columns(["EventInformation", "EventReply"]), out)
    assert out.getvalue().count(b"\n") == 4


def test_views_by_option(decoded):
    views = decode_events(encode_events(EVENTS), zero_copy=True)
    table = pa.table(views)
    assert table.schema == pa.schema({name: VIEWS.get(kind, kind) for name, kind in PLAIN.items()})
    assert table.cast(pa.schema(PLAIN)).equals(pa.table(decoded))
    assert [event.EventTypeID for event in views] == [2, 1, 3]
    assert pa.table(pickle.loads(pickle.dumps(views))).equals(table)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AffectedSOPClassUID", pa.large_string()),
        ("AffectedSOPClassUID", pa.string_view()),
        ("AffectedSOPClassUID", pa.dictionary(pa.int32(), pa.string())),
        ("EventInformation", pa.large_binary()),
        ("EventInformation", pa.binary_view()),
        ("MessageID", pa.uint16()),
        ("MessageID", pa.int64()),
    ],
    ids=str,
)
@pytest.mark.parametrize("zero_copy", [False, True])
def test_requested_schema(name, kind, zero_copy):
    decoded = decode_events(encode_events(EVENTS), zero_copy=zero_copy)
    schema = pa.schema({**PLAIN, name: kind})
    table = pa.table(decoded, schema=schema)
    assert table.schema == schema
    assert table.cast(pa.schema(PLAIN)).equals(pa.table(decode_events(encode_events(EVENTS))))


def test_a_slice_carries_only_its_rows():
    rows = 10_000
    events = {
        "AffectedSOPClassUID": CLASSES[0],
        "AffectedSOPInstanceUID": INSTANCES[0],
        "EventTypeID": [1] * rows,
        "EventInformation": b"x" * 1000,
    }
    table = pa.table(decode_events(encode_events(events)))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=100):
            writer.write_batch(batch)
    assert len(sink.getvalue()) < 2 * table.nbytes


def test_all_results_are_plain():
    capture = decode_capture(encode_capture({**EVENTS, "Status": 0}))
    with listen(0, host="localhost") as listener:
        with connect("localhost", listener.port) as association:
            outcomes = association.send(EVENTS)
        received = listener.receive(timeout=10)
    rejected = fastdimse.validate_events({**EVENTS, "AffectedSOPInstanceUID": "1.02"})
    for result in (capture, outcomes, received, rejected, capture.faults):
        for field in pa.schema(result):
            assert is_plain(field.type), (type(result), field)
    assert pa.table(capture)["AffectedSOPInstanceUID"].to_pylist() == INSTANCES


def test_structured_columns_are_plain():
    report = Dataset()
    report.Rows, report.PixelPaddingValue, report.SimpleFrameList = 65535, 3, [4294967295]
    events = {**EVENTS, "EventInformation": [report, None, report]}
    table = pa.table(decode_events(encode_events(events), event_information="structured"))
    assert all(is_plain(field.type) for field in table.schema)
    rows = table["EventInformation"].to_pylist()
    assert [row and row["Rows"] for row in rows] == [65535, None, 65535]
    assert [row and row["SimpleFrameList"] for row in rows] == [4294967295, None, 4294967295]


@pytest.mark.parametrize("zero_copy", [False, True])
def test_parts_are_batches(zero_copy):
    rows = 20_000
    events = pa.table(
        {
            "AffectedSOPClassUID": [CLASSES[0]] * rows,
            "AffectedSOPInstanceUID": [f"1.2.{row}" for row in range(rows)],
            "EventTypeID": [1] * rows,
            "EventInformation": [b"ab" * (row % 50) or None for row in range(rows)],
        }
    )
    encoded = encode_events(events)
    one, two = (decode_events(encoded, zero_copy=zero_copy, threads=n) for n in (1, 2))
    assert pa.table(one).equals(pa.table(two))
    assert list(one.offsets) == list(two.offsets)
    assert two[rows - 1].AffectedSOPInstanceUID == f"1.2.{rows - 1}"
    again = pickle.loads(pickle.dumps(two))
    assert pa.table(again).equals(pa.table(one))
    assert pl.DataFrame(two).equals(pl.DataFrame(one))
    for name in events.column_names:
        assert pa.table(two)[name].cast(events[name].type).equals(events[name])


def test_a_batch_of_views_carries_only_its_rows():
    rows = 10_000
    table = pa.table(
        {
            "AffectedSOPClassUID": pa.array([CLASSES[0]] * rows, pa.string_view()),
            "AffectedSOPInstanceUID": pa.array([INSTANCES[0]] * rows, pa.string_view()),
            "EventTypeID": [1] * rows,
            "EventInformation": pa.array([b"x" * 1000] * rows, pa.binary_view()),
        }
    )
    [first, *_] = fastdimse._core.event_batches(table, batch_size=100)
    assert len(first.to_ipc()) < 150_000
    assert len(pickle.dumps(first)) < 150_000
