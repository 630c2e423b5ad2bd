"""Invalid Arrow data: an error that names the column, or a rejected row, and no crash.

As a program with the name of a use, it prints the outcome for each case.
"""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import fastdimse
from invalid_arrow import Array, Node, Stream, capsule, schema_of

CLASS, INSTANCE = b"1.2.840.10008.1.20.1", b"1.2.840.10008.1.20.1.1"
FIRST, BOTH, NONE = b"\x01", b"\x03", b"\x00"


def i32(*numbers: int) -> bytes:
    """Return numbers of 32 bits as bytes."""
    return struct.pack(f"={len(numbers)}i", *numbers)


def i64(*numbers: int) -> bytes:
    """Return numbers of 64 bits as bytes."""
    return struct.pack(f"={len(numbers)}q", *numbers)


def view(length: int, index: int, offset: int) -> bytes:
    """Return a view of a value that is not inline."""
    return struct.pack("=i4sii", length, CLASS[:4], index, offset)


def texts(value: bytes, name: bytes = b"AffectedSOPClassUID", format: bytes = b"u") -> Node:
    """Return a column of two equal texts or byte strings."""
    size = len(value)
    pack = i64 if format in (b"U", b"Z") else i32
    return Node(format, [None, pack(0, size, 2 * size), value * 2], name=name)


TEXT = texts(CLASS)
LARGE = texts(CLASS, format=b"U")
VIEWS = Node(b"vu", [None, view(20, 0, 0) * 2, CLASS, i64(20)], name=TEXT.name)
NUMBERS = Node(b"i", [None, i32(1, 1)], name=b"EventTypeID")
VALUES = texts(CLASS, b"")
KEYS = Node(b"i", [None, i32(0, 1)], name=TEXT.name, dictionary=VALUES)
INSTANCES = texts(INSTANCE, b"AffectedSOPInstanceUID")
UIDS = texts(CLASS, b"TransactionUID")
ITEMS = Node(b"+s", [None], name=b"item", children=[texts(CLASS, b"ReferencedSOPClassUID")])
SEQUENCE = Node(b"+l", [None, i32(0, 1, 2)], name=b"ReferencedSOPSequence", children=[ITEMS])
FIXED = Node(b"+w:1", [None], name=b"ReferencedSOPSequence", children=[ITEMS])
INFORMATION = Node(b"+s", [None], name=b"EventInformation", children=[UIDS, SEQUENCE])
RUNS = [Node(b"i", [None, i32(2, 1)], name=b"run_ends"), texts(CLASS, b"values")]

# Invalid columns. Each key is a part of the error.
INVALID: dict[str, Node] = {
    "negative length": TEXT.but(length=-1),
    "too long": TEXT.but(length=2**62),
    "negative offset": TEXT.but(offset=-5),
    "offset too large": TEXT.but(offset=2**61),
    "null count below -1": TEXT.but(null_count=-7),
    "more nulls than rows": TEXT.but(null_count=3, buffers=[BOTH, *TEXT.buffers[1:]]),
    "nulls without a buffer": TEXT.but(null_count=1),
    "too few rows": TEXT.but(length=1),
    "two buffers": TEXT.but(n_buffers=2),
    "no buffers": TEXT.but(n_buffers=0),
    "negative number of buffers": TEXT.but(n_buffers=-1),
    "five buffers": TEXT.but(buffers=[*TEXT.buffers, b"", b""]),
    "offsets missing": TEXT.but(buffers=[None, None, CLASS]),
    "values missing": TEXT.but(buffers=[None, i32(0, 20, 40), None]),
    "offsets that fall": TEXT.but(buffers=[None, i32(0, 40, 20), CLASS * 2]),
    "offsets that fall below 0": TEXT.but(buffers=[None, i32(0, -20, 40), CLASS * 2]),
    "first offset negative": TEXT.but(buffers=[None, i32(-9, 20, 40), CLASS * 2]),
    "last offset negative": TEXT.but(buffers=[None, i32(0, 20, -1), CLASS * 2]),
    "offset beyond the last": TEXT.but(buffers=[None, i32(0, 2**30, 40), CLASS * 2]),
    "large offsets that fall": LARGE.but(buffers=[None, i64(0, 40, 20), CLASS * 2]),
    "large offset beyond the last": LARGE.but(buffers=[None, i64(0, 2**60, 40), CLASS * 2]),
    "large last offset negative": LARGE.but(buffers=[None, i64(0, 20, -1), CLASS * 2]),
    "numbers missing": NUMBERS.but(buffers=[None, None]),
    "numbers in one buffer": NUMBERS.but(buffers=[None]),
    "numbers with text's buffers": NUMBERS.but(buffers=[None, i32(1, 1), b""]),
    "key too large": KEYS.but(buffers=[None, i32(0, 2)]),
    "key negative": KEYS.but(buffers=[None, i32(-1, 0)]),
    "key far too large": KEYS.but(buffers=[None, i32(0, 2**31 - 1)]),
    "dictionary missing": KEYS.but(array_dictionary=None),
    "dictionary where none is": TEXT.but(array_dictionary=VALUES),
    "dictionary of falling offsets": KEYS.but(
        dictionary=VALUES.but(buffers=[None, i32(0, 40, 20), CLASS * 2])
    ),
    "keys of text": KEYS.but(format=b"u", buffers=TEXT.buffers),
    "dictionary in a struct": KEYS.but(format=b"+s", buffers=[None]),
    "view of no buffer": VIEWS.but(buffers=[None, view(20, 0, 0) + view(20, 1, 0), CLASS, i64(20)]),
    "view of a negative buffer": VIEWS.but(buffers=[None, view(20, -1, 0) * 2, CLASS, i64(20)]),
    "view behind its buffer": VIEWS.but(buffers=[None, view(20, 0, 1) * 2, CLASS, i64(20)]),
    "view from a negative offset": VIEWS.but(buffers=[None, view(20, 0, -1) * 2, CLASS, i64(20)]),
    "view of a negative length": VIEWS.but(buffers=[None, view(-1, 0, 0) * 2, CLASS, i64(20)]),
    "views without buffers": VIEWS.but(buffers=[None, view(20, 0, 0) * 2, None]),
    "views without lengths": VIEWS.but(buffers=[None, view(20, 0, 0) * 2, CLASS, None]),
    "negative length of a buffer": VIEWS.but(buffers=[None, view(20, 0, 0) * 2, CLASS, i64(-1)]),
    "views with a buffer missing": VIEWS.but(buffers=[None, view(20, 0, 0) * 2, None, i64(20)]),
    "views in one buffer": VIEWS.but(n_buffers=1),
    "views missing": VIEWS.but(buffers=[None, None, CLASS, i64(20)]),
    "struct without a child": INFORMATION.but(
        children=[UIDS, None], schema_children=[UIDS, SEQUENCE]
    ),
    "struct with one child": INFORMATION.but(n_children=1),
    "struct with children counted below 0": INFORMATION.but(n_children=-1),
    "struct with a short child": INFORMATION.but(children=[UIDS.but(length=1), SEQUENCE]),
    "struct from row 1": INFORMATION.but(offset=1),
    "struct without buffers": INFORMATION.but(buffers=[]),
    "struct with a wrong child": INFORMATION.but(
        children=[UIDS.but(buffers=[None, i32(0, 40, 20), CLASS * 2]), SEQUENCE]
    ),
    "list of too few": INFORMATION.but(children=[UIDS, SEQUENCE.but(buffers=[None, i32(0, 1, 3)])]),
    "list of falling offsets": INFORMATION.but(
        children=[UIDS, SEQUENCE.but(buffers=[None, i32(2, 0, 1)])]
    ),
    "list from below 0": INFORMATION.but(
        children=[UIDS, SEQUENCE.but(buffers=[None, i32(-1, 1, 2)])]
    ),
    "list without a child": INFORMATION.but(children=[UIDS, SEQUENCE.but(n_children=0)]),
    "list without offsets": INFORMATION.but(children=[UIDS, SEQUENCE.but(buffers=[None, None])]),
    "list of a fixed length with too few": INFORMATION.but(
        children=[UIDS, FIXED.but(format=b"+w:2")]
    ),
    "list of a negative length": INFORMATION.but(children=[UIDS, FIXED.but(format=b"+w:-1")]),
    "list of a length that is none": INFORMATION.but(children=[UIDS, FIXED.but(format=b"+w:x")]),
    "list of two children": INFORMATION.but(children=[UIDS, SEQUENCE.but(children=[ITEMS, ITEMS])]),
    "binary of a negative width": texts(b"", b"EventInformation").but(
        format=b"w:-4", buffers=[None, b""]
    ),
    "union": Node(b"+ud:0,1", [b"\0\1", i32(0, 0)], name=TEXT.name, children=[VALUES, NUMBERS]),
    "union of no types": Node(b"+us:", [b"\0\1"], name=TEXT.name, children=[VALUES]),
    "run ends that fall": Node(b"+r", [], name=TEXT.name, children=RUNS),
    "run ends without values": Node(b"+r", [], name=TEXT.name, children=RUNS[:1]),
    "list view": Node(
        b"+vl", [None, i32(9, 9), i32(9, 9)], name=b"EventInformation", children=[VALUES]
    ),
    "map": Node(b"+m", [None, i32(0, 1, 2)], name=TEXT.name, children=[INFORMATION]),
    "map without a child": Node(b"+m", [None, i32(0, 1, 2)], name=TEXT.name),
    "unknown format": TEXT.but(format=b"!"),
    "unknown nested format": TEXT.but(format=b"+?"),
    "empty format": TEXT.but(format=b""),
    "format missing": TEXT.but(format=None),
    "format that is no text": TEXT.but(format=b"\xff"),
    "decimal of no numbers": TEXT.but(format=b"d:,"),
    "time without a unit": TEXT.but(format=b"ts"),
    "schema's child missing": INFORMATION.but(schema_children=[UIDS, None]),
    "schema's children below 0": INFORMATION.but(schema_n_children=-1),
    "many entries of metadata": TEXT.but(metadata=i32(2**31 - 1)),
    "negative entries of metadata": TEXT.but(metadata=i32(-1)),
}
deep = UIDS
for _ in range(400):
    deep = Node(b"+s", [None], name=b"ReferencedSOPSequence", children=[deep])
INVALID["nested without an end"] = deep.but(name=b"EventInformation")

NO_UIDS = texts(CLASS, b"ReferencedSOPClassUID").but(length=0)


def empty_sequences(uids: Node) -> Node:
    """Return structs whose sequences have no items, and so no UIDs."""
    items = ITEMS.but(length=0, children=[uids])
    sequence = SEQUENCE.but(buffers=[None, i32(0, 0, 0)], children=[items])
    return INFORMATION.but(children=[UIDS, sequence])


# Unusual columns that are valid: the result is the same as for usual ones.
UNUSUAL: dict[str, tuple[Node, Node]] = {
    "null count unknown": (TEXT.but(null_count=-1), TEXT),
    "null count too large": (TEXT.but(null_count=2, buffers=[BOTH, *TEXT.buffers[1:]]), TEXT),
    "metadata that is no text": (
        TEXT.but(metadata=i32(1) + i32(1) + b"\xff" + i32(1) + b"\xff"),
        TEXT,
    ),
    "no buffers without rows": (
        empty_sequences(NO_UIDS.but(buffers=[None, None, None])),
        empty_sequences(NO_UIDS),
    ),
    "key of a null": (
        KEYS.but(buffers=[FIRST, i32(0, 99)], null_count=1),
        KEYS.but(buffers=[FIRST, i32(0, 0)], null_count=1),
    ),
    "negative key of a null": (
        KEYS.but(buffers=[FIRST, i32(0, -99)], null_count=-1),
        KEYS.but(buffers=[FIRST, i32(0, 0)], null_count=1),
    ),
    "view of a null": (
        VIEWS.but(buffers=[FIRST, view(20, 0, 0) + view(9999, 7, 7), CLASS, i64(20)], null_count=1),
        VIEWS.but(buffers=[FIRST, view(20, 0, 0) * 2, CLASS, i64(20)], null_count=1),
    ),
}


def table(*columns: Node) -> Node:
    """Return a table of two events with some columns replaced."""
    own = {one.name: one for one in (TEXT, INSTANCES, NUMBERS)}
    return Node(b"+s", [None], children=[*(own | {one.name: one for one in columns}).values()])


GOOD = table()
LONGER = GOOD.but(children=[*GOOD.children, UIDS])
SHORTER = GOOD.but(children=GOOD.children[:2])
OTHER = GOOD.but(children=[NUMBERS, INSTANCES, TEXT])
NULL_ROW = GOOD.but(null_count=1, buffers=[FIRST])

# Streams with an error at the end.
STREAMS: dict[str, Callable[[], Any]] = {
    "a later batch with more columns": lambda: Stream(GOOD, [GOOD, LONGER]),
    "a later batch with fewer columns": lambda: Stream(GOOD, [GOOD, SHORTER]),
    "a later batch with other columns": lambda: Stream(GOOD, [GOOD, OTHER]),
    "a later batch with null rows": lambda: Stream(GOOD, [GOOD, NULL_ROW]),
    "an error with its reason": lambda: Stream(GOOD, [GOOD], code=5, error=b"the disk is full"),
    "an error without a reason": lambda: Stream(GOOD, [GOOD], code=22),
    "an error whose reason is no text": lambda: Stream(GOOD, [], code=22, error=b"\xff\xfe"),
    "no schema": lambda: Stream(GOOD, [GOOD], schema_code=5),
    "a schema without a format": lambda: Stream(GOOD.but(format=None), [GOOD]),
    "a released stream": lambda: Stream(GOOD, [GOOD], released=True),
    "a stream without get_next": lambda: Stream(GOOD, [GOOD], without=("get_next",)),
    "a stream without get_schema": lambda: Stream(GOOD, [GOOD], without=("get_schema",)),
    "a stream of numbers": lambda: Stream(NUMBERS, [NUMBERS]),
    "an array of numbers": lambda: Array(NUMBERS),
    "a column twice": lambda: Array(GOOD.but(children=[*GOOD.children, TEXT])),
    "a pyarrow reader whose later batch has other columns": lambda: (
        pa.RecordBatchReader.from_batches(
            pa.table(Array(GOOD)).schema,
            iter(
                [
                    pa.record_batch(Array(GOOD)),
                    pa.record_batch({"AffectedSOPClassUID": ["1.2"], "EventTypeID": [1]}),
                ]
            ),
        )
    ),
}


class ExportedSchema:
    """An object that exports the schema of a node."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def __arrow_c_schema__(self) -> Any:
        """Export it."""
        return capsule(schema_of(self.node), b"arrow_schema")


def send(events: Any) -> Any:
    """Send events to a listener in this process."""
    with (
        fastdimse.listen(0, host="127.0.0.1") as listener,
        fastdimse.connect("127.0.0.1", listener.port) as association,
    ):
        return pa.table(association.send(events)).column("Status").to_pylist()


def deliver(events: Any) -> Any:
    """Put events into a delivery."""
    peer = fastdimse.Peer("127.0.0.1", 1)
    with fastdimse.Delivery([peer]) as delivery:
        return delivery.put(events)


def encoded(events: Any, **options: Any) -> bytes:
    """Encode events, and skip rejected ones."""
    return bytes(fastdimse.encode_events(events, on_invalid="skip", **options))


TABLE_USES: dict[str, Callable[[Any], Any]] = {
    "encode": encoded,
    "encode in threads": lambda events: encoded(events, threads=2),
    "encode command sets": lambda events: encoded(events, framing="command-set"),
    "encode batches": lambda events: [
        *map(bytes, fastdimse.encode_batches(events, batch_size=1, on_invalid="skip"))
    ],
    "validate": lambda events: len(fastdimse.validate_events(events, check="standard")),
    "encode capture": lambda events: bytes(fastdimse.encode_capture(events, on_invalid="skip")),
    "send": send,
    "deliver": deliver,
}


def as_statuses_of_a_batch_handler(column: Any) -> Any:
    """Return a column of Statuses from a batch handler for two events."""
    with (
        fastdimse.listen(0, host="127.0.0.1", batch_handler=lambda events: column) as listener,
        fastdimse.connect("127.0.0.1", listener.port) as association,
    ):
        return pa.table(association.send(Array(GOOD))).column("Status").to_pylist()


def as_column(column: Any) -> Any:
    """Encode a mapping with a column."""
    own = {"AffectedSOPInstanceUID": INSTANCE.decode(), "EventTypeID": 1}
    name = column.node.name.decode()
    own = {"AffectedSOPClassUID": CLASS.decode(), **own, name: column}
    return encoded(own)


def as_addresses_of_a_capture(column: Any) -> Any:
    """Encode a capture with a column of addresses."""
    own = {"AffectedSOPInstanceUID": INSTANCE.decode(), "EventTypeID": 1}
    own = {"AffectedSOPClassUID": CLASS.decode(), **own, "CallingAETitle": column}
    return bytes(fastdimse.encode_capture(own, on_invalid="skip"))


ARRAY_USES: dict[str, Callable[[Any], Any]] = {
    "as a column": as_column,
    "as a capture's column": as_addresses_of_a_capture,
    "decode data sets": lambda column: len(fastdimse.decode_data_sets(column, on_invalid="skip")),
    "as transfer syntaxes": lambda column: len(
        fastdimse.decode_data_sets([b"", b""], transfer_syntax=column)
    ),
    "as Statuses": as_statuses_of_a_batch_handler,
}
SCHEMA_USES: dict[str, Callable[[Any], Any]] = {
    "as a schema": lambda schema: len(
        fastdimse.decode_data_sets([b""], schema, transfer_syntax="1.2.840.10008.1.2")
    ),
    "as the schema of events": lambda schema: len(
        fastdimse.decode_events(b"", event_information=schema)
    ),
}
USES = TABLE_USES | ARRAY_USES | SCHEMA_USES


def cases_of(use: str) -> dict[str, Callable[[], Any]]:
    """Return the cases for a use, by name."""
    if use in TABLE_USES:
        tables = {name: lambda node=node: Array(table(node)) for name, node in INVALID.items()}
        streams = {
            f"{name}, in a stream": lambda node=node: Stream(table(node), [table(node)])
            for name, node in INVALID.items()
        }
        return tables | streams | STREAMS
    kind = ExportedSchema if use in SCHEMA_USES else Array
    return {name: lambda node=node: kind(node) for name, node in INVALID.items()}


def main(use: str) -> None:
    """Print the outcome of each case."""
    for name, case in cases_of(use).items():
        try:
            outcome = ["result", repr(USES[use](case()))[:200]]
        except (TypeError, ValueError) as error:
            outcome = ["refused", str(error)]
        except BaseException as error:  # PanicException is not an Exception
            outcome = [type(error).__name__, str(error)]
        print(json.dumps([name, *outcome]), flush=True)


@pytest.mark.parametrize("use", USES)
def test_invalid_data_is_an_error(use):
    done = subprocess.run(
        [sys.executable, __file__, use],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (found[-1:], done.stderr[-2000:])
    assert [name for name, *_ in found] == list(cases_of(use))
    panics = [one for one in found if one[1] not in ("refused", "result")]
    assert not panics
    if use in TABLE_USES:
        read = [one for one in found if one[1] == "result"]
        assert not read
        unnamed = [
            one for one in found if one[0].split(",")[0] in INVALID and "the column '" not in one[2]
        ]
        assert not unnamed


@pytest.mark.parametrize("unusual", UNUSUAL)
def test_unusual_data_is_read(unusual):
    node, same = UNUSUAL[unusual]
    expected = encoded(pa.table(Array(table(same))))
    for events in (Array(table(node)), Stream(table(node), [table(node)])):
        assert encoded(events) == expected
    assert as_column(Array(node)) == expected


def test_invalid_utf_8_is_a_rejected_row():
    wrong = texts(b"\xff\xfe1.2.3", b"AffectedSOPInstanceUID")
    for node in (
        wrong,
        wrong.but(format=b"U", buffers=[None, i64(0, 7, 14), b"\xff\xfe1.2.3" * 2]),
    ):
        found = fastdimse.encode_events(Array(table(node)), on_invalid="skip")
        assert [(one.row, one.field) for one in found.rejected] == [
            (0, "AffectedSOPInstanceUID"),
            (1, "AffectedSOPInstanceUID"),
        ]
    inside = INFORMATION.but(children=[texts(b"\xff\xfe", b"PatientName"), SEQUENCE])
    found = fastdimse.encode_events(Array(table(inside)), on_invalid="skip")
    assert [(one.row, one.field, one.code) for one in found.rejected] == [
        (0, "EventInformation.PatientName", "character-set"),
        (1, "EventInformation.PatientName", "character-set"),
    ]
    assert len(fastdimse.validate_events(Array(table(inside)), check="standard")) == 2
    seen = texts(b"\xff\xfe", b"CallingAETitle")
    with pytest.raises(TypeError, match="CallingAETitle"):
        fastdimse.encode_capture(Array(table(seen)))


def test_error_of_the_producer_is_reported():
    with pytest.raises(ValueError, match="the disk is full"):
        fastdimse.encode_events(STREAMS["an error with its reason"]())
    with pytest.raises(ValueError, match="error code 22, without a reason"):
        fastdimse.encode_events(STREAMS["an error without a reason"]())
    with pytest.raises(ValueError, match=r"batch 2: .* has 4 columns, but its schema has 3"):
        fastdimse.encode_events(STREAMS["a later batch with more columns"]())


def test_array_can_be_imported_once():
    array = Array(GOOD)
    capsules = array.__arrow_c_array__()

    class Again:
        def __arrow_c_array__(self, requested_schema=None):
            return capsules

    assert len(fastdimse.encode_events(Again())) == 2
    with pytest.raises(ValueError, match="released"):
        fastdimse.encode_events(Again())


if __name__ == "__main__":
    main(sys.argv[1])
