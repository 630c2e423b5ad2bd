"""Structured data sets from columns and mappings, and back, compared with pydicom."""

import io
import json
import warnings
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

import fastdimse
from fastdimse import (
    ColumnError,
    DecodeError,
    EncodeError,
    decode_data_sets,
    decode_events,
    encode_events,
    validate_events,
)

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
EVENT = {
    "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    "EventTypeID": 1,
}
REFERENCE = {
    "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "ReferencedSOPInstanceUID": "1.2.3.4",
}
REPORT = {"TransactionUID": "1.2.3", "ReferencedSOPSequence": [REFERENCE, REFERENCE]}


def oracle(dataset: Dataset, syntax: str) -> bytes:
    """Encode with pydicom."""
    out = DicomBytesIO()
    out.is_little_endian = True
    out.is_implicit_VR = syntax == ImplicitVRLittleEndian
    write_dataset(out, dataset, dataset.get("SpecificCharacterSet", "iso8859"))
    return out.getvalue()


def oracle_read(data: bytes, syntax: str) -> Dataset:
    """Decode with pydicom."""
    return read_dataset(io.BytesIO(data), syntax == ImplicitVRLittleEndian, True)


def to_dataset(attributes: dict[str, Any]) -> Dataset:
    """Return a mapping as `pydicom.Dataset`."""
    dataset = Dataset()
    for name, value in attributes.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            setattr(dataset, name, Sequence([to_dataset(item) for item in value]))
        elif value == [] and name.endswith("Sequence"):
            setattr(dataset, name, Sequence())
        else:
            setattr(dataset, name, value)
    return dataset


def data_sets(events: Any, **options: Any) -> list[bytes]:
    """Encode events and return their data sets."""
    table = pa.table(decode_events(encode_events(events, **options)))
    return [data_set or b"" for data_set in table["EventInformation"].to_pylist()]


uids = st.lists(st.integers(0, 10**6).map(str), min_size=1, max_size=6).map(".".join)
codes = st.text("ABC_ 019", min_size=1, max_size=16).filter(lambda text: text.strip() == text)
words = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x17F, exclude_characters="\\\x7f").filter(
        str.isprintable
    ),
    min_size=1,
    max_size=16,
).filter(lambda text: text.strip() == text)
names = st.text("ABab äß", min_size=1, max_size=20).filter(lambda text: text.strip() == text)
FLAT = {
    "TransactionUID": uids,
    "FailureReason": st.integers(0, 65535),
    "ImageType": st.lists(codes, min_size=2, max_size=4),
    "StudyDate": st.dates()
    .filter(lambda day: day.year > 999)
    .map(lambda day: day.strftime("%Y%m%d")),
    "StudyTime": st.times().map(lambda time: time.strftime("%H%M%S.%f")),
    "PatientName": names,
    "PatientID": words,
    "StudyDescription": words,
    "ImageComments": words,
    "PatientAge": st.integers(0, 999).map("{:03}Y".format),
    "InstanceNumber": st.integers(-(2**31), 2**31 - 1),
    "SliceThickness": st.decimals(-1000, 1000, places=3).map(str),
    "AcquisitionDuration": st.floats(allow_nan=False, allow_infinity=False),
    "EventElapsedTimes": st.lists(st.integers(-99, 99).map(str), min_size=2, max_size=3),
    "EncapsulatedDocument": st.binary(max_size=20).map(lambda data: data + b"\0" * (len(data) % 2)),
    "RecommendedDisplayFrameRateInFloat": st.floats(
        width=32, allow_nan=False, allow_infinity=False
    ),
    "SimpleFrameList": st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=4),
    "RetrieveURL": st.just("https://example.org/wado"),
}
flat = st.fixed_dictionaries({}, optional=FLAT)
items = st.recursive(
    flat,
    lambda inner: st.fixed_dictionaries(
        {}, optional={**FLAT, "ReferencedSOPSequence": st.lists(inner, max_size=3)}
    ),
    max_leaves=4,
)


def without_validation(call: Any) -> Any:
    """Call without pydicom's validation of values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(item=items)
def test_bytes_as_pydicom(syntax, item):
    dataset = without_validation(lambda: to_dataset(item))
    text = json.dumps(item, default=repr, ensure_ascii=False)
    if not text.isascii():
        dataset.SpecificCharacterSet = "ISO_IR 192"
    expected = without_validation(lambda: oracle(dataset, syntax))
    [found] = data_sets([{**EVENT, "EventInformation": item}], transfer_syntax=syntax)
    assert found == expected


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(items=st.lists(items, min_size=1, max_size=4))
def test_decoding_inverts_encoding(syntax, items):
    rows = [{**EVENT, "EventInformation": item} for item in items]
    stream = encode_events(rows, transfer_syntax=syntax)
    decoded = decode_events(stream, event_information="structured", transfer_syntax=syntax)
    assert not decoded.rejected
    assert bytes(encode_events(decoded, transfer_syntax=syntax)) == bytes(stream)
    # pydicom decodes the same values from the same bytes.
    for ours, data in zip(
        pa.table(decoded)["EventInformation"].to_pylist(),
        data_sets(rows, transfer_syntax=syntax),
        strict=True,
    ):
        theirs = without_validation(lambda data=data: oracle_read(data, syntax))
        assert set(present(ours or {})) == {element.keyword for element in theirs}


def present(attributes: dict[str, Any]) -> list[str]:
    """Return the names of the attributes that are not null."""
    return [name for name, value in attributes.items() if value is not None]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_columns_rows_and_datasets_are_the_same(syntax):
    dataset = to_dataset(REPORT)
    expected = oracle(dataset, syntax)
    column = pa.array([REPORT])
    for information in (column, [dataset], [REPORT], [json.loads(dataset.to_json())]):
        rows = [{**EVENT, "EventInformation": information[0]}]
        if information is not column:
            assert data_sets(rows, transfer_syntax=syntax) == [expected], information
            repeated = {**EVENT, "EventTypeID": [1, 2], "EventInformation": information[0]}
            assert data_sets(repeated, transfer_syntax=syntax) == [expected, expected]
        columns = {**EVENT, "EventInformation": information}
        assert data_sets(columns, transfer_syntax=syntax) == [expected], information


def test_tables_of_polars_and_pyarrow():
    rows = [{**EVENT, "EventInformation": REPORT}] * 3
    expected = bytes(encode_events(rows))
    assert bytes(encode_events(pa.Table.from_pylist(rows))) == expected
    assert bytes(encode_events(pl.DataFrame(rows))) == expected
    table = pa.Table.from_pylist(rows * 20_000)
    assert bytes(encode_events(table, threads=2)) == bytes(encode_events(rows * 20_000))
    sliced = table.slice(11, 20)
    assert data_sets(sliced) == data_sets(rows)[:1] * 20


def test_null_and_empty_lists():
    rows = [
        {**EVENT, "EventInformation": {**REPORT, "ReferencedSOPSequence": None}},
        {**EVENT, "EventInformation": {**REPORT, "ReferencedSOPSequence": []}},
        {**EVENT, "EventInformation": None},
        {**EVENT, "EventInformation": {**REPORT, "TransactionUID": None}},
    ]
    absent, empty, none, rest = data_sets(rows)
    assert "ReferencedSOPSequence" not in oracle_read(absent, ImplicitVRLittleEndian)
    assert list(oracle_read(empty, ImplicitVRLittleEndian).ReferencedSOPSequence) == []
    assert none == b""
    assert rest == oracle(
        to_dataset({"ReferencedSOPSequence": REPORT["ReferencedSOPSequence"]}),
        ImplicitVRLittleEndian,
    )


def test_error_has_the_path_of_the_value():
    bad = {**REPORT, "ReferencedSOPSequence": [REFERENCE, {"ReferencedSOPInstanceUID": "1.02"}]}
    rows = [{**EVENT, "EventInformation": information} for information in (REPORT, bad, REPORT)]
    with pytest.raises(EncodeError) as raised:
        encode_events(rows)
    path = "EventInformation.ReferencedSOPSequence[1].ReferencedSOPInstanceUID"
    assert (raised.value.row, raised.value.field, raised.value.code) == (1, path, "uid")
    assert str(raised.value).startswith(f"row 1, {path}: '1.02'")
    encoded = encode_events(rows, on_invalid="skip")
    assert len(encoded) == 2
    assert [one.field for one in encoded.rejected] == [path]
    assert [one.field for one in validate_events(rows)] == [path]
    assert pa.table(encoded.rejected)["field"].to_pylist() == [path]


@pytest.mark.parametrize(
    ("information", "error", "text"),
    [
        ({"Nonsense": 1}, ColumnError, "'Nonsense' is not an attribute"),
        ({"TransactionUID": 7}, TypeError, "VR UI must be strings"),
        ({"ReferencedSOPSequence": "1.2"}, TypeError, "must be a list of structs"),
        ({"AffectedSOPClassUID": "1.2"}, ColumnError, "command set"),
        ({"TransactionUID": True}, TypeError, "bool"),
    ],
)
def test_invalid_data_sets(information, error, text):
    with pytest.raises(error, match=text):
        encode_events([{**EVENT, "EventInformation": information}])


def test_unsupported_transfer_syntaxes():
    for call in (encode_events, validate_events, fastdimse.encode_batches):
        with pytest.raises(ValueError, match="not a supported transfer syntax"):
            call([{**EVENT, "EventInformation": REPORT}], transfer_syntax=ExplicitVRBigEndian)


def test_schema_selects_attributes():
    stream = encode_events([{**EVENT, "EventInformation": REPORT}] * 2)
    schema = pa.schema([("TransactionUID", pa.string())])
    decoded = decode_events(stream, event_information=schema)
    assert pa.table(decoded)["EventInformation"].to_pylist() == [{"TransactionUID": "1.2.3"}] * 2
    assert decoded.omitted == {"EventInformation.ReferencedSOPSequence": 2}


def test_invalid_data_set_is_a_rejected_event():
    good = {**EVENT, "EventInformation": REPORT}
    events = [good, {**EVENT, "EventInformation": b"\x08\0\x95\x11\xff\0\0\x001.2.3.4.5"}, good]
    stream = b"".join(bytes(encode_events([event])) for event in events)
    decoded = decode_events(stream, event_information="structured", on_invalid="skip")
    assert len(decoded) == len(pa.table(decoded)) == len(decoded.offsets) == 2
    [rejection] = decoded.rejected
    assert (rejection.row, rejection.code) == (1, "truncated")
    assert stream[rejection.offset :].startswith(b"\x08\0\x95\x11\xff\0")
    with pytest.raises(fastdimse.DecodeError) as raised:
        decode_events(stream, event_information="structured")
    assert len(raised.value.events) == 1


def test_tags_of_private_and_unknown_elements():
    dataset = to_dataset(REPORT)
    dataset.add_new(0x00091001, "LO", "private")
    stream = encode_events(
        [{**EVENT, "EventInformation": dataset}], transfer_syntax=ExplicitVRLittleEndian
    )
    decoded = decode_events(
        stream, event_information="structured", transfer_syntax=ExplicitVRLittleEndian
    )
    [information] = pa.table(decoded)["EventInformation"].to_pylist()
    assert information["00091001:LO"] == "private"
    implicit = decode_events(
        encode_events([{**EVENT, "EventInformation": dataset}]), event_information="structured"
    )
    [information] = pa.table(implicit)["EventInformation"].to_pylist()
    assert information["00091001"] == b"private "


def test_row_number_of_a_wrong_type_across_batches():
    rows = [{**EVENT, "EventInformation": REPORT}, {**EVENT, "AffectedSOPInstanceUID": 7}]
    batches = fastdimse.encode_batches(rows, batch_size=1)
    assert len(next(batches)) == 1
    with pytest.raises(
        TypeError, match=r"row 1 of the column 'AffectedSOPInstanceUID' must be .* not int"
    ):
        next(batches)


def encoded(*given: tuple[dict[str, Any], str]) -> list[bytes]:
    """Encode data sets with pydicom."""
    return [oracle(to_dataset(attributes), syntax) for attributes, syntax in given]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_decode_a_column_of_data_sets(syntax):
    values = encoded((REPORT, syntax), ({"TransactionUID": "1.2"}, syntax))
    expected = [REPORT, None, {"TransactionUID": "1.2", "ReferencedSOPSequence": None}]
    first, second = values
    for column in (
        [first, None, second],
        iter((bytearray(first), None, memoryview(second))),
        pa.array([first, None, second]),
        pa.array([first, None, second], pa.binary_view()),
        pa.array([first, None, second]).dictionary_encode(),
        pa.chunked_array([[first, None], [second]]),
        pl.Series([first, None, second]),
    ):
        decoded = decode_data_sets(column, transfer_syntax=syntax)
        assert (len(decoded), len(decoded.rejected)) == (3, 0)
        assert pa.array(decoded).to_pylist() == expected


def test_transfer_syntax_of_each_data_set():
    given = [(REPORT, syntax) for syntax in (*SYNTAXES, *SYNTAXES)]
    uids = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, None, ExplicitVRLittleEndian]
    for column in (uids, pa.array(uids), pa.array(uids).dictionary_encode(), iter(uids)):
        decoded = decode_data_sets(encoded(*given), transfer_syntax=column)
        assert pa.array(decoded).to_pylist() == [REPORT] * 4


def test_unreadable_data_set_is_an_error_or_null():
    values = encoded((REPORT, ImplicitVRLittleEndian), (REPORT, ImplicitVRLittleEndian))
    wrong = [values[0], None, values[1][:-1], values[0]]
    syntaxes = [ImplicitVRLittleEndian, ExplicitVRBigEndian, None, ExplicitVRBigEndian]
    with pytest.raises(DecodeError) as raised:
        decode_data_sets(wrong)
    assert (raised.value.row, raised.value.field) == (2, "ReferencedSOPSequence")
    # After the Transaction UID: header of 8 bytes, text and padding.
    assert raised.value.offset == 14
    decoded = decode_data_sets(wrong, transfer_syntax=syntaxes, on_invalid="skip")
    found = [(one.row, one.field, one.code) for one in decoded.rejected]
    assert found == [(2, "ReferencedSOPSequence", raised.value.code), (3, None, "transfer-syntax")]
    assert "1.2.840.10008.1.2.2" in decoded.rejected[1].reason
    # A null with an unsupported transfer syntax is not an error.
    assert pa.array(decoded).to_pylist() == [REPORT, None, None, None]


def test_schema_for_a_column_of_data_sets():
    schema = pa.schema([("TransactionUID", pa.string())])
    decoded = decode_data_sets(encoded((REPORT, ImplicitVRLittleEndian)), schema)
    assert pa.array(decoded).to_pylist() == [{"TransactionUID": "1.2.3"}]
    assert decoded.omitted == {"ReferencedSOPSequence": 1}


@pytest.mark.parametrize(
    ("column", "options", "error", "text"),
    [
        (b"bytes", {}, TypeError, "not bytes"),
        ([b"", "text"], {}, TypeError, "row 1"),
        (pa.array(["text"]), {}, TypeError, "must be binary"),
        ([b"", b""], {"transfer_syntax": [None]}, ValueError, "1 rows, but data_sets has 2"),
        ([b""], {"transfer_syntax": [7]}, TypeError, "row 0"),
        ([b""], {"transfer_syntax": pa.array([[]])}, TypeError, "must be text"),
        ([b""], {"transfer_syntax": ExplicitVRBigEndian}, ValueError, "1.2.840.10008.1.2.2"),
        ([b""], {"on_invalid": "ignore"}, ValueError, "on_invalid"),
    ],
)
def test_invalid_columns_of_data_sets(column, options, error, text):
    with pytest.raises(error, match=text):
        decode_data_sets(column, **options)


def test_transfer_syntaxes_of_a_capture():
    syntaxes = [
        ExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        None,
        ExplicitVRBigEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
    ]
    rows = [
        {**EVENT, "TransferSyntaxUID": syntax, "EventInformation": REPORT} for syntax in syntaxes
    ]
    rows[5]["EventInformation"] = None
    table = pa.Table.from_pylist(rows)
    for events in (rows, table, {name: table[name] for name in table.column_names}):
        capture = fastdimse.encode_capture(events, on_invalid="skip")
        found = [(one.row, one.field, one.code) for one in capture.rejected]
        assert found == [(3, "EventInformation", "transfer-syntax")]
        captured = pa.table(fastdimse.decode_capture(capture))
        assert captured["EventInformation"].to_pylist() == [
            None
            if row["EventInformation"] is None
            else oracle(to_dataset(REPORT), row["TransferSyntaxUID"] or ImplicitVRLittleEndian)
            for row in rows[:3] + rows[4:]
        ]


def test_capture_with_structured_data_sets():
    reply = {"TransactionUID": "1.2.9"}
    wrong = oracle(to_dataset(REPORT), ImplicitVRLittleEndian)[:-1]
    columns = {
        **{name: [value] * 4 for name, value in EVENT.items()},
        "Association": [1, 1, 2, 3],
        "MessageID": [1, 2, 1, 1],
        "Status": [0, None, None, None],
        "TransferSyntaxUID": [
            *[ExplicitVRLittleEndian] * 2,
            ImplicitVRLittleEndian,
            ExplicitVRBigEndian,
        ],
        "EventInformation": [
            oracle(to_dataset(REPORT), ExplicitVRLittleEndian),
            None,
            wrong,
            oracle(to_dataset(REPORT), ImplicitVRLittleEndian),
        ],
        "EventReply": [oracle(to_dataset(reply), ExplicitVRLittleEndian), None, None, None],
    }
    capture = fastdimse.encode_capture(columns)
    plain = fastdimse.decode_capture(capture)
    found = fastdimse.decode_capture(
        capture, event_information="structured", event_reply="structured"
    )
    table = pa.table(found)
    assert table["EventInformation"].to_pylist() == [REPORT, None, None, None]
    assert table["EventReply"].to_pylist() == [reply, None, None, None]
    assert table.drop_columns(["EventInformation", "EventReply"]) == (
        pa.table(plain).drop_columns(["EventInformation", "EventReply"])
    )
    assert len(plain.faults) == 0
    unreadable = [(one.stream, one.frame, one.field, one.code) for one in found.faults]
    frames = pa.table(plain)["Frame"].to_pylist()
    streams = pa.table(plain)["Association"].to_pylist()
    assert unreadable == [
        (streams[2], frames[2], "EventInformation.ReferencedSOPSequence", "truncated"),
        (streams[3], frames[3], "EventInformation", "transfer-syntax"),
    ]
    assert "1.2.840.10008.1.2.2" in found.faults[1].reason
    # The messages are unchanged.
    assert found[2][0].EventInformation.getvalue() == wrong
    schema = pa.schema([("TransactionUID", pa.string())])
    chosen = fastdimse.decode_capture(capture, event_information=schema)
    assert pa.table(chosen)["EventInformation"][0].as_py() == {"TransactionUID": "1.2.3"}
    assert chosen.omitted == {"EventInformation.ReferencedSOPSequence": 1}
    with pytest.raises(DecodeError) as raised:
        fastdimse.decode_capture(capture, on_invalid="raise", event_information="structured")
    assert raised.value.field == "EventInformation.ReferencedSOPSequence"
    assert len(raised.value.events) == 4


def test_every_keyword_of_pydicom():
    vrs = {
        keyword: vr.split(" or ")
        for tag, (vr, *_, keyword) in [*DicomDictionary.items(), *RepeatersDictionary.items()]
        # Other groups belong to command sets, files and items.
        if keyword
        and (tag if isinstance(tag, str) else f"{tag:08X}")[:4] not in ("0000", "0002", "FFFE")
    }
    assert len(vrs) > 5000
    [encoded] = data_sets(
        [{**EVENT, "EventInformation": {keyword: [] for keyword in vrs}}],
        transfer_syntax=ExplicitVRLittleEndian,
    )
    found = {
        keyword_for_tag(element.tag): element.VR
        for element in oracle_read(encoded, ExplicitVRLittleEndian)
    }
    assert found.keys() == vrs.keys()
    assert [keyword for keyword, vr in found.items() if vr not in vrs[keyword]] == []
