"""Limits of the depth and the width of structured data sets."""

import io
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from fastdimse import (
    DecodeError,
    EncodeError,
    connect,
    decode_data_sets,
    decode_events,
    encode_capture,
    encode_events,
    listen,
    validate_events,
)
from test_data_sets import EVENT, REPORT, data_sets

DEEPEST = 64
MEMORY = 256 << 20
"""Address space that a program can allocate after its start."""


def element(group: int, number: int, value: bytes) -> bytes:
    """Encode an element in Implicit VR Little Endian (PS3.5 7.1.3)."""
    return struct.pack("<HHI", group, number, len(value)) + value


def item(content: bytes) -> bytes:
    """Encode an item of a sequence (PS3.5 7.5.1)."""
    return element(0xFFFE, 0xE000, content)


def private(number: int, value: bytes = b"xx") -> bytes:
    """Encode a private element for each number."""
    return element(0x0011 + 2 * (number // 60_000), 0x1000 + number % 60_000, value)


def nested(depth: int) -> dict[str, Any]:
    """Return a mapping nested in sequences."""
    data_set: dict[str, Any] = {"TransactionUID": "1.2"}
    for _ in range(depth):
        data_set = {"ReferencedSOPSequence": [data_set]}
    return data_set


def nested_dataset(depth: int) -> Dataset:
    """Return the same as `pydicom.Dataset`."""
    dataset = Dataset()
    dataset.TransactionUID = "1.2"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedSOPSequence = Sequence([dataset])
        dataset = outer
    return dataset


def nested_model(depth: int) -> dict[str, Any]:
    """Return the same in the DICOM JSON model."""
    model: dict[str, Any] = {"00081195": {"vr": "UI", "Value": ["1.2"]}}
    for _ in range(depth):
        model = {"00081199": {"vr": "SQ", "Value": [model]}}
    return model


def contains_itself() -> dict[str, Any]:
    """Return a mapping that contains itself twice as an item."""
    data_set: dict[str, Any] = {"TransactionUID": "1.2"}
    data_set["ReferencedSOPSequence"] = [data_set, data_set]
    return data_set


def dataset_contains_itself() -> Dataset:
    """Return the same as `pydicom.Dataset`."""
    dataset = Dataset()
    dataset.ReferencedSOPSequence = Sequence([Dataset()])
    dataset.ReferencedSOPSequence[0].ReferencedSOPSequence = Sequence([dataset])
    return dataset


def event(information: Any) -> dict[str, Any]:
    """Return an event with this information."""
    return {**EVENT, "EventInformation": information}


# ----------------------------------------------------------------------- depth


@pytest.mark.parametrize("make", [nested, nested_dataset, nested_model])
def test_maximum_depth_is_read_by_pydicom(make):
    [encoded] = data_sets([event(make(DEEPEST))])
    dataset = read_dataset(io.BytesIO(encoded), True, True)
    for _ in range(DEEPEST):
        [dataset] = dataset.ReferencedSOPSequence
    assert dataset.TransactionUID == "1.2"
    assert len(decode_data_sets([encoded]).rejected) == 0


@pytest.mark.parametrize(
    "make",
    [
        *(lambda depth=depth: nested(depth) for depth in (DEEPEST + 1, 3_000, 100_000)),
        lambda: nested_dataset(DEEPEST + 1),
        lambda: nested_model(3_000),
        contains_itself,
        dataset_contains_itself,
    ],
    ids=["65", "3000", "100000", "pydicom", "model", "itself", "pydicom itself"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_too_deep_data_set_is_a_rejected_row(make: Callable[[], Any], threads):
    deep = make()
    rows = [event(REPORT), event(deep), event(None)]
    encoded = encode_events(rows, on_invalid="skip", threads=threads)
    assert len(encoded) == 2
    [rejection] = encoded.rejected
    assert (rejection.row, rejection.code) == (1, "too-deep")
    assert re.match(r"EventInformation\.(ReferencedSOPSequence|00081199:SQ)\[0\]", rejection.field)
    table = pa.table(decode_events(encoded, event_information="structured"))
    assert table["EventInformation"].to_pylist() == [REPORT, None]
    with pytest.raises(EncodeError, match="row 1, EventInformation"):
        encode_events(rows, threads=threads)
    assert [one.code for one in validate_events(rows)] == ["too-deep"]
    # One value for all rows.
    columns = {**EVENT, "MessageID": [1, 2], "EventInformation": deep}
    refused = encode_events(columns, on_invalid="skip").rejected
    assert [(one.row, one.code) for one in refused] == [(0, "too-deep"), (1, "too-deep")]
    with pytest.raises(EncodeError, match="EventInformation"):
        encode_capture(rows)


def test_depth_of_a_handlers_reply():
    replies = {1: contains_itself(), 2: nested(3_000), 3: REPORT}
    with (
        listen(0, host="127.0.0.1", handler=lambda e, _: (0, replies[e.EventTypeID])) as listener,
        connect("127.0.0.1", listener.port) as association,
    ):
        rows = [{**EVENT, "EventTypeID": number} for number in replies]
        outcomes = pa.table(association.send(rows))
    assert outcomes["Status"].to_pylist() == [0x0110, 0x0110, 0]


def list_in_lists(depth: int) -> Any:
    """Return nested lists."""
    value: Any = "1.2"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [2, 1_000, 100_000])
def test_list_of_lists(depth):
    with pytest.raises(TypeError, match=r"row 0, EventInformation.TransactionUID.*list in a list"):
        encode_events([event({"TransactionUID": list_in_lists(depth)})], on_invalid="skip")


def struct_in_structs(depth: int) -> Any:
    """Return an array of nested structs."""
    array = pa.array(["1.2"])
    for _ in range(depth):
        array = pa.StructArray.from_arrays([array], ["ReferencedSOPSequence"])
    return array


def sequences(depth: int) -> Any:
    """Return an array of data sets nested in sequences."""
    array = pa.StructArray.from_arrays([pa.array(["1.2"])], ["TransactionUID"])
    for _ in range(depth):
        lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)
        array = pa.StructArray.from_arrays([lists], ["ReferencedSOPSequence"])
    return array


@pytest.mark.parametrize("array", [struct_in_structs(3_000), sequences(65), sequences(2_000)])
def test_too_deep_types(array):
    columns = {name: [value] for name, value in EVENT.items()}
    for events in (
        pa.table({**columns, "EventInformation": array}),
        pa.RecordBatch.from_pydict({**columns, "EventInformation": array}),
        {**columns, "EventInformation": array},
    ):
        with pytest.raises(ValueError, match="64 levels of sequences"):
            encode_events(events, on_invalid="skip")
        with pytest.raises(ValueError, match="64 levels of sequences"):
            validate_events(events)
    schema = pa.field("", array.type)
    with pytest.raises(ValueError, match="64 levels of sequences"):
        decode_data_sets([b""], schema)
    with pytest.raises(ValueError, match="64 levels of sequences"):
        decode_events(b"", event_information=schema)


def test_types_of_maximum_depth():
    [plain] = data_sets([event(nested(DEEPEST))])
    array = sequences(DEEPEST)
    columns = {name: [value] for name, value in EVENT.items()}
    assert data_sets(pa.table({**columns, "EventInformation": array})) == [plain]
    decoded = decode_data_sets([plain], pa.field("", array.type))
    assert (len(decoded), decoded.omitted) == (1, {})


# ----------------------------------------------------------------------- width


def wide_items(count: int) -> bytes:
    """Encode a data set with items that have distinct attributes."""
    return element(8, 0x1199, b"".join(item(private(number)) for number in range(count)))


def test_only_the_wide_data_set_is_rejected():
    narrow = element(8, 0x1195, b"1.2\0")
    wide = wide_items(3_000)
    decoded = decode_data_sets([narrow, wide, None, narrow], on_invalid="skip")
    rows = pa.array(decoded).to_pylist()
    assert rows == [{"TransactionUID": "1.2"}, None, None, {"TransactionUID": "1.2"}]
    [rejection] = decoded.rejected
    assert (rejection.row, rejection.code) == (1, "too-wide")
    assert "3001" in rejection.reason
    assert "give a schema" in rejection.reason
    with pytest.raises(DecodeError, match="row 1, its"):
        decode_data_sets([narrow, wide])
    # With a schema, it can be decoded.
    schema = pa.schema(
        [("ReferencedSOPSequence", pa.list_(pa.struct([("00111005", pa.binary())])))]
    )
    [[*items]] = [row["ReferencedSOPSequence"] for row in decode_data_sets_of([wide], schema)]
    assert [number for number, one in enumerate(items) if one["00111005"]] == [5]


def decode_data_sets_of(column: list[bytes], schema: Any) -> list[Any]:
    """Decode with a schema, and return Python values."""
    return list(pa.array(decode_data_sets(column, schema)).to_pylist())


def test_wide_data_set_does_not_displace_others():
    wide = b"".join(private(number) for number in range(10_000))
    decoded = decode_data_sets([wide] + [private(7)] * 10_000, on_invalid="skip")
    assert [one.row for one in decoded.rejected] == [0]
    # The same for many small data sets without common attributes.
    report = element(8, 0x1195, b"1.2\0") + element(8, 0x1199, item(element(8, 0x1155, b"1.23")))
    many = [private(number) for number in range(5_000)]
    decoded = decode_data_sets([*many, report, report], on_invalid="skip")
    refused = [one.row for one in decoded.rejected]
    assert 0 < len(refused) < 5_000
    assert refused == sorted(refused)
    assert max(refused) < 5_000
    assert {one.code for one in decoded.rejected} == {"too-wide"}


def test_one_data_set_with_more_attributes_than_the_standard():
    wide = b"".join(private(number) for number in range(16_000))
    [row] = pa.array(decode_data_sets([wide])).to_pylist()
    dataset = read_dataset(io.BytesIO(wide), True, True)
    assert list(row) == [f"{int(one.tag):08X}" for one in dataset]
    wider = b"".join(private(number) for number in range(17_000))
    [rejection] = decode_data_sets([wider], on_invalid="skip").rejected
    assert rejection.code == "too-wide"


def test_ordinary_data_sets_are_never_too_wide():
    # Each has one of the 64 attributes.
    sparse = [private(number % 64) for number in range(100_000)]
    assert len(decode_data_sets(sparse).rejected) == 0
    columns = [f"{0x00111000 + number:08x}" for number in range(64)]
    rows = [event({columns[row % 64]: b"xx"}) for row in range(10_000)]
    assert len(encode_events(rows)) == 10_000
    references = [
        {"ReferencedSOPInstanceUID": f"1.2.{number}", **({"FailureReason": 1} if odd else {})}
        for number in range(500)
        for odd in (0, 1)
    ]
    reports = [event({"TransactionUID": "1.2", "FailedSOPSequence": references})] * 20
    encoded = encode_events(reports)
    assert len(decode_events(encoded, event_information="structured")) == 20


def test_too_wide_mappings_are_rejected_rows():
    items = [{f"{0x00111000 + number:08x}": b"xx"} for number in range(3_000)]
    rows = [event(REPORT), event({"ReferencedSOPSequence": items}), event(REPORT)]
    encoded = encode_events(rows, on_invalid="skip")
    assert len(encoded) == 2
    [rejection] = encoded.rejected
    assert (rejection.row, rejection.field, rejection.code) == (1, "EventInformation", "too-wide")
    assert "encode fewer data sets together" in rejection.reason
    rows = [event(one) for one in items]
    encoded = encode_events(rows, on_invalid="skip")
    assert {one.code for one in encoded.rejected} == {"too-wide"}
    assert len(encoded) + len(encoded.rejected) == len(rows)
    # Fewer attributes can be encoded.
    some = [row for number in range(0, 3_000, 500) for row in rows[number : number + 500]]
    assert all(len(encode_events(some[n : n + 500])) == 500 for n in range(0, 3_000, 500))


PROGRAM = """
import resource, sys
import pyarrow
from fastdimse import decode_data_sets, decode_events, encode_events
from test_data_set_limits import element, event, item, private, wide_items

kind, memory = sys.argv[1], int(sys.argv[2])
COUNT = 50_000
names = [f"{0x00110000 + 0x20000 * (n // 60_000) + 0x1000 + n % 60_000:08x}" for n in range(COUNT)]
row = {name: 1 for name in names}
made = {
    "items": lambda: [wide_items(COUNT)],
    "data sets": lambda: [private(number) for number in range(COUNT)],
    "one": lambda: [b"".join(map(private, range(16_000)))] + [private(0)] * COUNT,
    "one and nulls": lambda: [b"".join(map(private, range(16_000)))] + [None] * COUNT,
    "one and empty items": lambda: [
        element(8, 0x1199, item(b"".join(map(private, range(16_000)))) + item(b"") * COUNT)
    ],
    "twice": lambda: [element(8, 0x1199, item(private(n) * 2) + item(b"")) for n in range(COUNT)],
    "nested": lambda: [
        element(8, 0x1199, b"".join(item(private(n, item(private(n)))) for n in range(COUNT)))
    ],
    "mappings": lambda: [event({name: b"xx"}) for name in names],
    "items of a mapping": lambda: [
        event({"ReferencedSOPSequence": [{name: b"xx"} for name in names]})
    ],
    "columns": lambda: [{name: 1} for name in names],
}[kind]()
with open("/proc/self/statm") as file:
    pages = int(file.read().split()[0])
limit = pages * resource.getpagesize() + memory
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
if isinstance(made[0], bytes):
    decoded = decode_data_sets(made, on_invalid="skip")
    assert len(decoded) == len(made)
    pyarrow.array(decoded)
    kept = decode_events(encode_events([event(made[0])]), event_information="structured",
                         on_invalid="skip")
    assert len(kept) + len(kept.rejected) == 1
elif kind == "columns":
    try:
        encode_events(made)
    except ValueError as error:
        assert "unknown column" in str(error), error
else:
    encoded = encode_events(made, on_invalid="skip")
    assert len(encoded) + len(encoded.rejected) == len(made)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits and reports the address space"
)
@pytest.mark.parametrize(
    "kind",
    [
        "items",
        "data sets",
        "one",
        "one and nulls",
        "one and empty items",
        "twice",
        "nested",
        "mappings",
        "items of a mapping",
        "columns",
    ],
)
def test_memory_and_time_are_linear(kind):
    # The square of 50,000 would need 20 GB and minutes.
    command = [sys.executable, "-c", PROGRAM, kind, str(MEMORY)]
    done = subprocess.run(command, cwd="tests", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_width_in_other_transfer_syntaxes():
    explicit = [
        struct.pack("<HH2sH", 0x0011, 0x1000 + number, b"LO", 2) + b"xx" for number in range(5_000)
    ]
    decoded = decode_data_sets(explicit, transfer_syntax=ExplicitVRLittleEndian, on_invalid="skip")
    assert {one.code for one in decoded.rejected} == {"too-wide"}


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (4_000, "the table of all would be nearly empty"),
        (20_000, "are more than the 16384 columns of a table"),
    ],
)
def test_causes_of_too_wide_tables(attributes, why):
    """Many attributes in one of many data sets, and more than the limit of columns."""
    wide = {f"0011{0x1000 + number:04x}": b"xx" for number in range(attributes)}
    rows = [
        {**EVENT, "EventInformation": one} for one in (wide, *[{"TransactionUID": "1.2"}] * 2000)
    ]
    encoded = encode_events(rows, on_invalid="skip")
    assert [(one.row, one.code) for one in encoded.rejected] == [(0, "too-wide")]
    assert why in str(encoded.rejected[0])
