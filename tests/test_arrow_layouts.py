"""Tables of every Arrow layout, built with pyarrow as other producers can build them."""

import itertools
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from fastdimse import encode_batches, encode_events, validate_events
from oracle import encode_p_data
from strategies import COLUMNS
from test_bulk_encode import SOP_CLASS, to_oracle
from test_bulk_properties import OPTIONAL, REQUEST, RESPONSE, chunked

PRINTER = "1.2.840.10008.5.1.1.16"
"""A second SOP class (PS3.4 H.4.11)."""


def request(number: int) -> dict[str, Any]:
    """Return a request with short and long values, and with or without optional ones."""
    return {
        **REQUEST,
        "MessageID": number,
        "AffectedSOPClassUID": (SOP_CLASS, PRINTER, "1.2")[number % 3],
        "AffectedSOPInstanceUID": ("1.2." + str(10**number))[:64],
        "EventTypeID": number % 5,
        "EventInformation": (None, b"x" * number, bytes(range(100)) * number)[number % 3],
    }


def response(number: int) -> dict[str, Any]:
    """Return a response with some of the optional fields."""
    names = [name for place, name in enumerate(OPTIONAL) if number * 7 >> place & 1]
    return {
        **RESPONSE,
        **{name: OPTIONAL[name] for name in names},
        "MessageIDBeingRespondedTo": number,
        "Status": number,  # elements of a byte string are integers
    }


ROWS = [response(number) if number % 3 == 2 else request(number) for number in range(61)]
MESSAGES = [encode_p_data(to_oracle(row)) for row in ROWS]
STREAM = b"".join(MESSAGES)
TEXTS = ["AffectedSOPClassUID", "AffectedSOPInstanceUID", "ErrorComment"]
DATA_SETS = ["EventInformation", "EventReply"]
NUMBERS = [name for name in COLUMNS if name not in TEXTS + DATA_SETS]


def column(name: str, rows: list[dict[str, Any]] | None = None) -> list[Any]:
    """Return the values of a column."""
    return [row[name] for row in (ROWS if rows is None else rows)]


# A layout converts values to an Arrow array.

Layout = Callable[[list[Any]], pa.Array]


def plain(kind: pa.DataType) -> Layout:
    """Return a layout: arrays of the type."""
    return lambda values: pa.array(values, kind)


def cast(kind: pa.DataType) -> Layout:
    """Return a layout: views into the buffer of an array of strings or binaries."""
    whole = pa.string() if kind == pa.string_view() else pa.binary()
    return lambda values: pa.array(values, whole).cast(kind)


def views_into_several_buffers(kind: pa.DataType) -> Layout:
    """Return a layout: views into several buffers."""

    def layout(values: list[Any]) -> pa.Array:
        parts = [values[begin : begin + 9] for begin in range(0, len(values), 9)]
        return pa.concat_arrays([cast(kind)([]), *(pa.array(part, kind) for part in parts)])

    return layout


def dictionary(keys: pa.DataType, kind: pa.DataType, unused: str | bytes | int) -> Layout:
    """Return a layout: dictionaries that are valid, but not those of pyarrow's builders.

    The values have another order than the rows. One occurs twice, others are not used, and one is
    null. The key of a null row is null, or the key of the null value.
    """

    def layout(values: list[Any]) -> pa.Array:
        there = sorted({value for value in values if value is not None}, reverse=True)
        dictionary = [unused, *there, None, *there[:1], unused]
        key_of = {value: at for at, value in enumerate(dictionary)}
        null, nulls = key_of[None], itertools.cycle([True, False])
        indices = [
            (None if next(nulls) else null) if value is None else key_of[value] for value in values
        ]
        return pa.DictionaryArray.from_arrays(pa.array(indices, keys), pa.array(dictionary, kind))

    return layout


STRING_TYPES = [pa.string(), pa.large_string(), pa.string_view()]
BINARY_TYPES = [pa.binary(), pa.large_binary(), pa.binary_view()]
SIGNED = [pa.int8(), pa.int16(), pa.int32(), pa.int64()]
UNSIGNED = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
INTEGER_TYPES = SIGNED + UNSIGNED

TEXT_LAYOUTS = {str(kind): plain(kind) for kind in STRING_TYPES}
DATA_SET_LAYOUTS = {str(kind): plain(kind) for kind in BINARY_TYPES}
for keys in INTEGER_TYPES:
    TEXT_LAYOUTS |= {f"{keys} of {kind}": dictionary(keys, kind, "1.02.x") for kind in STRING_TYPES}
    DATA_SET_LAYOUTS |= {f"{keys} of {kind}": dictionary(keys, kind, b"x") for kind in BINARY_TYPES}
NUMBER_LAYOUTS = {str(kind): plain(kind) for kind in INTEGER_TYPES}
for keys in INTEGER_TYPES:
    NUMBER_LAYOUTS[f"{keys} of int64"] = dictionary(keys, pa.int64(), 70_000)
    NUMBER_LAYOUTS[f"int8 of {keys}"] = dictionary(pa.int8(), keys, 98)
for kind in (pa.string_view(), pa.binary_view()):
    views = TEXT_LAYOUTS if kind == pa.string_view() else DATA_SET_LAYOUTS
    views |= {
        f"{kind} of one buffer": cast(kind),
        f"{kind} of several": views_into_several_buffers(kind),
    }
layouts = pytest.mark.parametrize(
    ("names", "layout"),
    [
        pytest.param(names, layout, id=name)
        for names, layouts in (
            (TEXTS, TEXT_LAYOUTS),
            (DATA_SETS, DATA_SET_LAYOUTS),
            (NUMBERS, NUMBER_LAYOUTS),
        )
        for name, layout in layouts.items()
    ],
)

JUNK = {**dict.fromkeys(TEXTS, "junk"), **dict.fromkeys(DATA_SETS, b"junk")}
"""Values before and after a slice; reading them would cause errors or other messages."""
SCHEMA = pa.schema(
    [(name, pa.string()) for name in TEXTS]
    + [(name, pa.binary()) for name in DATA_SETS]
    + [(name, pa.int64()) for name in NUMBERS]
)


def table() -> pa.Table:
    """Return the rows with the usual types."""
    return pa.Table.from_pylist(ROWS, schema=SCHEMA)


def with_layout(
    names: list[str], layout: Layout, before: int = 0, behind: int = 0
) -> pa.RecordBatch:
    """Return the rows with some columns in a layout, as slices of longer arrays."""
    arrays = {name: table()[name].combine_chunks() for name in COLUMNS}
    for place, name in enumerate(names):
        # The columns of a batch can have different offsets.
        lead = before + place if before else 0
        junk = JUNK.get(name, 99)
        values = [junk] * lead + column(name) + [junk] * behind
        arrays[name] = layout(values).slice(lead, len(ROWS))
    return pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))


def test_number_of_buffers_of_views():
    values = column("AffectedSOPInstanceUID")
    buffers = [
        len(make(pa.string_view())(values).buffers()) for make in (cast, views_into_several_buffers)
    ]
    assert (buffers[0], buffers[1] > 4) == (3, True)


@layouts
def test_layouts(names, layout):
    batch = with_layout(names, layout)
    assert bytes(encode_events(batch)) == STREAM
    assert len(validate_events(batch)) == 0
    mapping = {name: batch[name] for name in COLUMNS}
    assert bytes(encode_events(mapping)) == STREAM


@layouts
def test_slices(names, layout):
    for before in (1, 3, 7, 8, 9, 13, 63, 64, 65):
        batch = with_layout(names, layout, before, behind=5)
        assert bytes(encode_events(batch)) == STREAM
        for begin, count in ((1, 7), (9, 40), (60, 1), (30, 0)):
            expected = b"".join(MESSAGES[begin : begin + count])
            assert bytes(encode_events(batch.slice(begin, count))) == expected


@layouts
def test_batches_of_each_layout(names, layout):
    batch = with_layout(names, layout, before=3, behind=5)
    for size in (1, 7, 60, 61):
        parts = encode_batches(batch, batch_size=size)
        assert b"".join(map(bytes, parts)) == STREAM


@layouts
def test_no_rows(names, layout):
    arrays = {name: pa.array([], SCHEMA.field(name).type) for name in COLUMNS}
    arrays |= {name: layout([]) for name in names}
    for empty in (pa.table(arrays), pa.RecordBatch.from_pydict(arrays), arrays):
        assert (len(encode_events(empty)), len(validate_events(empty))) == (0, 0)
        assert list(encode_batches(empty)) == []


@layouts
def test_nulls_in_every_row(names, layout):
    """A column of nulls is equal to a missing column."""
    requests = [{**row, "EventInformation": None} for row in ROWS if row["MessageID"] is not None]
    optional = [name for name in names if all(row[name] is None for row in requests)]
    arrays = {name: table_column(name, requests) for name in COLUMNS}
    arrays |= {name: layout([None] * len(requests)) for name in optional}
    expected = b"".join(encode_p_data(to_oracle(row)) for row in requests)
    assert optional
    assert bytes(encode_events(pa.table(arrays))) == expected
    arrays |= {name: pa.nulls(len(requests)) for name in optional}
    assert bytes(encode_events(pa.table(arrays))) == expected


def table_column(name: str, rows: list[dict[str, Any]]) -> pa.Array:
    """Return a column of these rows with its usual type."""
    return pa.array(column(name, rows), SCHEMA.field(name).type)


@pytest.mark.parametrize("keys", [None, pa.int8(), pa.uint64()], ids=str)
def test_fixed_size_binary(keys):
    rows = [
        {**row, "EventInformation": None if row["MessageID"] % 2 else bytes([row["MessageID"]] * 9)}
        for row in ROWS
        if row["MessageID"] is not None
    ]
    kind = pa.binary(9)
    layout = plain(kind) if keys is None else dictionary(keys, kind, b"of no row")
    array = layout([b"cut off :", *column("EventInformation", rows), b": cut off"])
    arrays = {name: table_column(name, rows) for name in COLUMNS}
    arrays["EventInformation"] = array.slice(1, len(rows))
    expected = b"".join(encode_p_data(to_oracle(row)) for row in rows)
    assert bytes(encode_events(pa.table(arrays))) == expected


def test_fixed_size_of_zero_is_no_data_set():
    rows = [{**row, "EventInformation": None} for row in ROWS if row["MessageID"] is not None]
    arrays = {name: table_column(name, rows) for name in COLUMNS}
    arrays["EventInformation"] = pa.array([b""] * len(rows), pa.binary(0))
    expected = b"".join(encode_p_data(to_oracle(row)) for row in rows)
    assert bytes(encode_events(pa.table(arrays))) == expected


# Values behind nulls, which must not be read.


def with_values_behind_nulls(array: pa.Array, values_behind_nulls: pa.Array) -> pa.Array:
    """Return the array with the values of the other array behind its nulls."""
    filled = pc.if_else(array.is_valid(), array, values_behind_nulls)
    assert filled.null_count == 0
    valid = pa.array(array.is_valid().to_pylist(), pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(array.type, len(array), [valid, *filled.buffers()[1:]])


def test_values_behind_nulls_are_not_read():
    arrays = {}
    for name in COLUMNS:
        values = table()[name].combine_chunks()
        hidden = {pa.string(): "1.02.x", pa.binary(): b"anything"}.get(values.type, -70000)
        others = pa.array([hidden] * len(values), values.type)
        arrays[name] = with_values_behind_nulls(values, others)
        assert arrays[name].to_pylist() == column(name)
    assert bytes(encode_events(pa.table(arrays))) == STREAM


@pytest.mark.parametrize("keys", INTEGER_TYPES, ids=str)
def test_invalid_keys_behind_nulls(keys):
    for name in ("AffectedSOPClassUID", "ErrorComment"):
        dictionary = pa.array(sorted(set(column(name)) - {None}))
        indices = pc.index_in(pa.array(column(name)), dictionary).cast(keys)
        wild = pa.array([-1 if keys in SIGNED else 200] * len(ROWS), keys)
        indices = with_values_behind_nulls(indices, wild)
        array = pa.DictionaryArray.from_arrays(indices, dictionary, safe=False)
        assert bytes(encode_events(table().drop_columns(name).append_column(name, array))) == STREAM


def test_empty_dictionary():
    for name in ("ErrorComment", "EventInformation"):
        rows = [{**row, "EventInformation": None} for row in ROWS if row["MessageID"] is not None]
        kind = SCHEMA.field(name).type
        arrays = {one: table_column(one, rows) for one in COLUMNS}
        keys = pa.nulls(len(rows), pa.int32())
        arrays[name] = pa.DictionaryArray.from_arrays(keys, pa.array([], kind))
        expected = b"".join(encode_p_data(to_oracle(row)) for row in rows)
        assert bytes(encode_events(pa.table(arrays))) == expected


def test_slice_of_dictionary_values():
    for name in TEXTS:
        values = sorted(set(column(name)) - {None})
        for kind in STRING_TYPES:
            whole = pa.array(["junk", *values, "junk"], pa.string()).cast(kind)
            indices = pa.array(
                [None if value is None else values.index(value) for value in column(name)],
                pa.int16(),
            )
            array = pa.DictionaryArray.from_arrays(indices, whole.slice(1, len(values)))
            changed = table().drop_columns(name).append_column(name, array)
            assert bytes(encode_events(changed)) == STREAM


# Numbers.


@pytest.mark.parametrize("kind", INTEGER_TYPES, ids=str)
def test_numbers_outside_16_bits_are_rejected_by_row(kind):
    size = kind.bit_width
    least, most = (-(2 ** (size - 1)), 2 ** (size - 1) - 1) if kind in SIGNED else (0, 2**size - 1)
    edges = [0, 1, -1, 255, 256, 65535, 65536, 65537, 2**31, 2**32, 2**32 + 1, 2**48, least, most]
    values = [value for value in edges if least <= value <= most]
    bad = [row for row, value in enumerate(values) if not 0 <= value <= 65535]
    for name, shape in (
        ("MessageID", REQUEST),
        ("EventTypeID", REQUEST),
        ("MessageIDBeingRespondedTo", RESPONSE),
        ("Status", RESPONSE),
        ("ErrorID", RESPONSE),
    ):
        rows = [{**shape, name: value} for value in values]
        arrays = {one: table_column(one, rows) for one in COLUMNS if one != name}
        arrays[name] = pa.array(values, kind)
        events = chunked(pa.table(arrays), [1, 2, 3, 5])
        encoded = encode_events(events, on_invalid="skip")
        assert [(one.row, one.field, one.code) for one in encoded.rejected] == [
            (row, name, "out-of-range") for row in bad
        ]
        good = [row for at, row in enumerate(rows) if at not in bad]
        assert bytes(encoded) == b"".join(encode_p_data(to_oracle(row)) for row in good)
        for rejection in encoded.rejected:
            assert str(values[rejection.row]) in rejection.reason


@pytest.mark.parametrize("kind", INTEGER_TYPES, ids=str)
def test_contexts_of_every_width(kind):
    values = [1, 3, None, 127, 125, 5]
    arrays = {name: table_column(name, ROWS[:6]) for name in COLUMNS}
    arrays["PresentationContextID"] = pa.array(values, kind)
    expected = [
        encode_p_data(to_oracle(row), context_id or 9)
        for row, context_id in zip(ROWS, values, strict=False)
    ]
    assert list(encode_events(pa.table(arrays), context_id=9)) == expected


# Chunks, batches and structs.


def test_columns_with_different_chunks():
    chunks = {}
    for place, name in enumerate(COLUMNS):
        array = table()[name].combine_chunks()
        cuts = [0, *sorted({(place * 13 + step * 17) % 61 for step in range(place % 4)}), 61]
        pieces = [array.slice(begin, end - begin) for begin, end in itertools.pairwise(cuts)]
        # Some producers return empty chunks.
        chunks[name] = pa.chunked_array(
            [piece for one in pieces for piece in (one.slice(0, 0), one)], array.type
        )
    events = pa.table(chunks)
    assert bytes(encode_events(events)) == STREAM
    assert bytes(encode_events(chunks)) == STREAM
    parts = encode_batches(events, batch_size=4)
    assert b"".join(map(bytes, parts)) == STREAM


def test_different_dictionary_in_each_chunk():
    events = table()
    pieces = []
    for begin, end in itertools.pairwise([0, 1, 2, 20, 20, 41, 61]):
        piece = events.slice(begin, end - begin).combine_chunks()
        for name in TEXTS:
            values = [row[name] for row in ROWS[begin:end]]
            array = pa.chunked_array([dictionary(pa.int16(), pa.string(), "1.02.x")(values)])
            piece = piece.set_column(piece.column_names.index(name), name, array)
        pieces.append(piece)
    joined = pa.concat_tables(pieces)
    assert bytes(encode_events(joined)) == STREAM
    assert bytes(encode_events({name: joined[name] for name in COLUMNS})) == STREAM


def test_empty_batches():
    batches = table().to_batches(max_chunksize=9)
    empty = batches[0].slice(0, 0)
    strewn = [empty, *itertools.chain.from_iterable((one, empty, empty) for one in batches)]
    reader = pa.RecordBatchReader.from_batches(empty.schema, strewn)
    assert bytes(encode_events(reader)) == STREAM
    reader = pa.RecordBatchReader.from_batches(empty.schema, strewn)
    parts = list(encode_batches(reader, batch_size=9))
    assert [len(part) for part in parts] == [len(one) for one in batches]
    assert b"".join(map(bytes, parts)) == STREAM
    reader = pa.RecordBatchReader.from_batches(empty.schema, [empty] * 3)
    assert (len(encode_events(reader)), len(validate_events([]))) == (0, 0)


def test_structs_with_offsets():
    batch = with_layout(NUMBERS, plain(pa.int32()), before=5, behind=2)
    struct = pa.StructArray.from_arrays(batch.columns, names=batch.schema.names)
    assert bytes(encode_events(struct)) == STREAM
    for begin, count in ((0, 0), (1, 60), (7, 9), (8, 8), (60, 1)):
        expected = b"".join(MESSAGES[begin : begin + count])
        assert bytes(encode_events(struct.slice(begin, count))) == expected
    assert bytes(encode_events(struct.slice(9).slice(3, 10))) == b"".join(MESSAGES[12:22])
    pieces = pa.chunked_array([struct.slice(40), struct.slice(0, 0), struct.slice(3, 30)])
    assert bytes(encode_events(pieces)) == b"".join(MESSAGES[40:] + MESSAGES[3:33])


def test_null_struct_is_an_error():
    batch = table().combine_chunks().to_batches()[0]
    mask = pa.array([row == 3 for row in range(61)])
    struct = pa.StructArray.from_arrays(batch.columns, names=batch.schema.names, mask=mask)
    with pytest.raises(ValueError, match="null"):
        encode_events(struct)


def test_order_and_metadata_of_columns():
    events = table().select(sorted(COLUMNS)[::-1]).replace_schema_metadata({"origin": "test"})
    fields = [
        field.with_metadata({"of": "the column"}).with_nullable(events[field.name].null_count > 0)
        for field in events.schema
    ]
    assert bytes(encode_events(events.cast(pa.schema(fields)))) == STREAM


def test_extension_types_are_read_as_storage_type():
    class Octets(pa.ExtensionType):
        def __init__(self) -> None:
            super().__init__(pa.binary(), "fastdimse.test.octets")

        def __arrow_ext_serialize__(self) -> bytes:
            return b""

    events = table()
    for name, kind in (("AffectedSOPClassUID", pa.json_()), ("EventInformation", Octets())):
        storage = events[name].combine_chunks()
        place = events.column_names.index(name)
        events = events.set_column(place, name, pa.ExtensionArray.from_storage(kind, storage))
    assert bytes(encode_events(events)) == STREAM


@pytest.mark.parametrize("count", [4095, 4096, 4097, 70_000])
def test_many_rows(count):
    whole = pa.concat_tables([table()] * (count // 61 + 2)).combine_chunks().slice(3, count)
    expected = (STREAM * (count // 61 + 2))[sum(map(len, MESSAGES[:3])) :]
    encoded = encode_events(whole)
    assert bytes(encoded) == expected[: encoded.nbytes]
    assert len(encoded) == count
    assert encoded[-1] == MESSAGES[(count + 2) % 61]
    parts = encode_batches(whole, batch_size=4096)
    assert b"".join(map(bytes, parts)) == bytes(encoded)


# Invalid types of columns.

NO_NUMBERS = {
    "float16": plain(pa.float16()),
    "float32": plain(pa.float32()),
    "float64": plain(pa.float64()),
    "decimal": plain(pa.decimal128(5, 0)),
    "bool": lambda values: pa.array([bool(value) for value in values]),
    "string": lambda values: pa.array([str(value) for value in values]),
    "timestamp": plain(pa.timestamp("s")),
    "list": lambda values: pa.array([[value] for value in values]),
    "run-end encoded": lambda values: pc.run_end_encode(pa.array(values)),
    "keys of floats": lambda values: (
        pa.array(map(float, range(9)))
        .dictionary_encode()
        .take(pa.array([row % 9 for row in range(len(values))]))
    ),
    "keys of text": lambda values: pa.array([str(value) for value in values]).dictionary_encode(),
}
NO_TEXTS = {
    "binary": lambda values: pa.array([value and value.encode() for value in values]),
    "int64": lambda values: pa.array(range(len(values))),
    "run-end encoded": lambda values: pc.run_end_encode(pa.array(values)),
    "keys of numbers": lambda values: pa.array(range(len(values))).dictionary_encode(),
}
NO_DATA_SETS = {
    "string": lambda values: pa.array([value and "text" for value in values]),
    "list of uint8": lambda values: pa.array([value and list(value) for value in values]),
    "run-end encoded": lambda values: pc.run_end_encode(pa.array(values, pa.binary())),
}
MISFITS = [
    (name, kind, layout)
    for name, layouts in (
        ("EventTypeID", NO_NUMBERS),
        ("Status", NO_NUMBERS),
        ("AffectedSOPClassUID", NO_TEXTS),
        ("ErrorComment", NO_TEXTS),
        ("EventInformation", NO_DATA_SETS),
    )
    for kind, layout in layouts.items()
]
ARROW_NAMES = {
    "float16": "Float16",
    "float32": "Float32",
    "float64": "Float64",
    "decimal": "Decimal128",
    "bool": "Boolean",
    "string": "Utf8",
    "timestamp": "Timestamp",
    "list": "List",
    "list of uint8": "List",
    "run-end encoded": "RunEndEncoded",
    "binary": "Binary",
    "int64": "Int64",
    "keys of numbers": "Int64",
    "keys of floats": "Float64",
    "keys of text": "Utf8",
}


@pytest.mark.parametrize(("name", "kind", "layout"), MISFITS)
def test_error_names_the_column_of_a_wrong_type(name, kind, layout):
    place = table().column_names.index(name)
    events = table().set_column(place, name, layout(column(name)))
    for verb in (encode_events, validate_events, lambda events: list(encode_batches(events))):
        with pytest.raises(
            TypeError, match=f"the column '{name}' must be .* not .*{ARROW_NAMES[kind]}"
        ):
            verb(events)
    with pytest.raises(TypeError, match=f"the column '{name}' must be"):
        encode_events({one: events[one] for one in COLUMNS})


@pytest.mark.parametrize("name", ["EventTypeID", "Status"])
def test_a_dictionary_of_numbers(name):
    place = table().column_names.index(name)
    events = table().set_column(place, name, table()[name].dictionary_encode())
    assert bytes(encode_events(events)) == STREAM


@pytest.mark.parametrize("keys", INTEGER_TYPES, ids=str)
def test_error_names_a_dictionary_value_out_of_range(keys):
    rows = [request(number) for number in range(100)]
    for at in (64, 65, 99):
        rows[at]["EventTypeID"] = 65536
    place = COLUMNS.index("EventTypeID")
    numbers = dictionary(keys, pa.int64(), -1)(column("EventTypeID", rows))
    events = pa.table({name: table_column(name, rows) for name in COLUMNS})
    encoded = encode_events(events.set_column(place, "EventTypeID", numbers), on_invalid="skip")
    found = [(one.row, one.field, one.code) for one in encoded.rejected]
    assert found == [(at, "EventTypeID", "out-of-range") for at in (64, 65, 99)]
    good = [encode_p_data(to_oracle(row)) for row in rows if row["EventTypeID"] < 65536]
    assert bytes(encoded) == b"".join(good)


def test_contexts_as_dictionary():
    contexts = [1 + 2 * (row % 3) for row in range(61)]
    expected = [encode_p_data(to_oracle(row), at) for row, at in zip(ROWS, contexts, strict=True)]
    events = table().append_column("PresentationContextID", pa.array(contexts).dictionary_encode())
    assert bytes(encode_events(events)) == b"".join(expected)


@pytest.mark.parametrize(
    ("column", "data_type"),
    [
        ("AffectedSOPClassUID", pa.string()),
        ("AffectedSOPClassUID", pa.large_string()),
        ("AffectedSOPClassUID", pa.string_view()),
        ("AffectedSOPClassUID", pa.dictionary(pa.int32(), pa.string())),
        ("EventTypeID", pa.uint16()),
        ("EventTypeID", pa.int64()),
    ],
    ids=str,
)
def test_buffers_at_odd_addresses(column, data_type):
    uids = ["1.2.840.10008.1.20.1", "1.2.840.10008.1.42.33.1", "1.2.840.10008.1.20.1"]
    events = {
        "AffectedSOPClassUID": pa.array(uids),
        "AffectedSOPInstanceUID": pa.array(uids),
        "EventTypeID": pa.array([1, 2, 65535]),
    }
    expected = bytes(encode_events(pa.table(events)))
    array = events[column].cast(data_type)
    indices = array.indices if pa.types.is_dictionary(data_type) else array
    odd = [buffer and pa.py_buffer(b"\0" + buffer.to_pybytes())[1:] for buffer in indices.buffers()]
    assert all(buffer is None or buffer.address % 2 for buffer in odd)
    moved = pa.Array.from_buffers(indices.type, len(indices), odd)
    if indices is not array:
        moved = pa.DictionaryArray.from_arrays(moved, array.dictionary)
    batch = pa.record_batch({**events, column: moved})
    assert bytes(encode_events(batch)) == expected
    assert bytes(encode_events(batch.slice(1))) == bytes(encode_events(pa.table(events).slice(1)))
