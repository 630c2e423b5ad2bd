"""Structured data sets, compared with the output of DCMTK's dcmdump."""

import struct
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import STANDARD_VR

import dcmdump
from dcmdump import Element
from fastdimse import DecodeError, decode_data_sets, encode_events, validate_events
from oracle import decode_stream
from strategies import uids
from test_data_sets import EVENT, names, oracle_read, words

pytestmark = dcmdump.needed

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
# Few examples, because each data set needs a process.
few = settings(max_examples=60)

# PS3.5 6.2 and 7.1.2.
NUMBERS = {
    **{"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q"},
    **{"FL": "f", "FD": "d", "AT": "I"},
}
UNITS = {"OB": "B", "UN": "B", "OW": "H", "OL": "I", "OV": "Q", "OF": "f", "OD": "d"}
OF_ONE_TEXT = {"LT", "ST", "UT", "UR"}
LONG_LENGTHS = {*UNITS, "SQ", "SV", "UC", "UR", "UT", "UV"}
NO_VALUE = "(no value available)"
NO_TAG_MARKS = str.maketrans("", "", "(,)")


def values_of(element: Element) -> list[Any]:
    """Return the values of dcmdump's output, in the types of the input."""
    if element.value == NO_VALUE:
        return []
    if element.vr in UNITS or element.vr == "??":
        return [bytes_of(element)]
    if element.vr == "AT":
        return [int(tag.translate(NO_TAG_MARKS), 16) for tag in element.value.split("\\")]
    if element.vr in ("FL", "FD"):
        numbers = [float(number) for number in element.value.split("\\")]
        form = f"<{len(numbers)}{NUMBERS[element.vr]}"
        # Nine digits identify a number of 32 bits, but not of 64.
        return [*struct.unpack(form, struct.pack(form, *numbers))]
    if element.vr in NUMBERS:
        return [int(number) for number in element.value.split("\\")]
    assert (element.value[0], element.value[-1]) == ("[", "]")
    text = element.value[1:-1]
    return [text] if element.vr in OF_ONE_TEXT else text.split("\\")


def bytes_of(element: Element) -> bytes:
    """Return the bytes of numbers, which are in hexadecimal if they are short."""
    unit = UNITS.get(element.vr, "B")
    read = {"f": float, "d": float, "I": int, "Q": int}.get(unit, lambda digits: int(digits, 16))
    numbers = [read(number) for number in element.value.split("\\")]
    return struct.pack(f"<{len(numbers)}{unit}", *numbers)


def is_equal(element: Element, values: list[Any]) -> bool:
    """Return whether dcmdump's output has these values.

    It computes the digits of a double with doubles, so the last of 17 digits can differ.
    """
    found = values_of(element)
    if element.vr == "OD":
        found, values = doubles(found), doubles(values)
    if element.vr in ("FD", "OD") and len(found) == len(values):
        return all(map(partial(isclose, rel_tol=4e-15), found, values))
    return found == values


def doubles(values: list[bytes]) -> list[float]:
    """Return bytes as doubles."""
    return [number for value in values for (number,) in struct.iter_unpack("<d", value)]


def vr_of(keyword: str) -> str:
    """Return the VR of an attribute in pydicom's dictionary."""
    return dictionary_VR(tag_for_keyword(keyword))


def several(value: Any) -> list[Any]:
    """Return the values of an attribute."""
    return value if isinstance(value, list) else [value]


def is_ascii(values: Iterable[Any]) -> bool:
    """Return whether no text needs a Specific Character Set."""
    for value in values:
        if isinstance(value, dict):
            inside = [one for values in value.values() for one in several(values)]
            if not is_ascii(inside):
                return False
        elif isinstance(value, str) and not value.isascii():
            return False
    return True


def length_of(vr: str, values: list[Any], codec: str) -> int:
    """Return the number of bytes of values, with padding."""
    if vr in NUMBERS:
        return len(values) * struct.calcsize(f"<{NUMBERS[vr]}")
    if vr in UNITS:
        return sum(len(value) + len(value) % 2 for value in values)
    length = len("\\".join(values).encode(codec))
    return length + length % 2


def length_in(element: Element, syntax: str) -> int:
    """Return the number of bytes of an element, with its header (PS3.5 7.1)."""
    long = syntax == ExplicitVRLittleEndian and element.vr in LONG_LENGTHS
    return (12 if long else 8) + element.length


def assert_item(found: list[Element], item: dict[str, Any], syntax: str) -> None:
    """Compare each element of an item with dcmdump's output."""
    expected = sorted((tag_for_keyword(name), name) for name in item if item[name] is not None)
    assert [element.tag for element in found] == [tag for tag, _ in expected]
    for element, (_, name) in zip(found, expected, strict=True):
        values = several(item[name])
        assert element.vr == vr_of(name)
        if element.vr == "SQ":
            assert element.value == f"(Sequence with explicit length #={len(values)})"
            inside = [sum(length_in(one, syntax) for one in item) for item in element.items]
            assert element.length == sum(8 + length for length in inside)
            for one, other in zip(element.items, values, strict=True):
                assert_item(one, other, syntax)
            continue
        assert is_equal(element, values), f"{name}: {element} {values}"
        assert element.length == length_of(element.vr, values, "utf-8"), name
        if values:
            assert element.count == (1 if element.vr in UNITS else len(values)), name


def data_sets_in(stream: bytes) -> Iterator[bytes]:
    """Return the data sets of messages, decoded with pynetdicom."""
    for message in decode_stream(stream):
        yield message.EventInformation.getvalue()


def assert_read(items: list[dict[str, Any]], events: Any, syntax: str, folder: Path) -> None:
    """Encode events, and compare their data sets with these items."""
    stream = bytes(encode_events(events, transfer_syntax=syntax))
    for item, data_set in zip(items, data_sets_in(stream), strict=True):
        if not is_ascii([item]):
            item = {"SpecificCharacterSet": "ISO_IR 192", **item}
        assert_item(dcmdump.dump(data_set, syntax, folder), item, syntax)


def with_information(items: list[Any]) -> list[dict[str, Any]]:
    """Return an event for each item."""
    return [{**EVENT, "EventInformation": item} for item in items]


def floats(width: int) -> st.SearchStrategy[float]:
    """Numbers that dcmdump prints with all digits: not the largest ones, and no negative zero."""
    most = 2.0 ** (1000 if width == 64 else 127)
    return st.floats(-most, most, width=width).map(lambda number: number + 0.0)


def whole_numbers(code: str) -> st.SearchStrategy[int]:
    """Integers in the range of a format character of `struct`."""
    values = 2 ** (8 * struct.calcsize(f"<{code}"))
    least = -values // 2 if code.islower() else 0
    return st.integers(least, least + values - 1)


def numbers_in_bytes(code: str) -> st.SearchStrategy[bytes]:
    """Bytes of numbers; floating point ones are finite, because dcmdump prints no others."""
    if code == "B":
        return st.binary(min_size=1, max_size=6).map(lambda data: data + bytes(len(data) % 2))
    one = floats(8 * struct.calcsize(code)) if code in "fd" else whole_numbers(code)
    numbers = st.lists(one, min_size=1, max_size=4)
    return numbers.map(lambda all_of_it: struct.pack(f"<{len(all_of_it)}{code}", *all_of_it))


codes = st.text("ABC_019", min_size=1, max_size=16)
lines = st.lists(words, min_size=1, max_size=3).map("\r\n".join) | st.just("a\\b")
OF_VR: dict[str, st.SearchStrategy[Any]] = {
    "AE": codes,
    "AS": st.integers(0, 999).map("{:03}M".format),
    "CS": codes,
    "DA": st.dates().map(lambda day: day.isoformat().replace("-", "")),
    "DS": st.decimals(-1000, 1000, places=3).map(str),
    "DT": st.datetimes().map(
        lambda time: time.isoformat(timespec="microseconds").translate(str.maketrans("", "", "-:T"))
    ),
    "IS": st.integers(-(2**31), 2**31 - 1).map(str),
    "LO": words,
    "LT": lines,
    "PN": names,
    "SH": words,
    "ST": lines,
    "TM": st.times().map(lambda time: time.strftime("%H%M%S.%f")),
    "UC": words,
    "UI": uids,
    "UR": st.just("https://example.org/studies?a=[b]#c"),
    "UT": lines,
    "FL": floats(32),
    "FD": floats(64),
    **{vr: whole_numbers(code) for vr, code in NUMBERS.items() if vr not in ("FL", "FD")},
    **{vr: numbers_in_bytes(code) for vr, code in UNITS.items()},
}
FLAT = {
    f"Selector{vr}Value": one if vr in OF_ONE_TEXT | set(UNITS) else one | st.lists(one, max_size=3)
    for vr, one in OF_VR.items()
}
SEQUENCES = ["ReferencedSOPSequence", "FailedSOPSequence", "SelectorCodeSequenceValue"]


def attributes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the attributes, and sequences of items."""
    sequences = {name: st.lists(inner, max_size=3) for name in SEQUENCES}
    return st.fixed_dictionaries({}, optional={**FLAT, **sequences})


items = st.recursive(st.fixed_dictionaries({}, optional=FLAT), attributes, max_leaves=5)


@pytest.mark.parametrize("syntax", SYNTAXES)
@few
@given(item=items)
def test_values_as_dcmdump(syntax, item):
    with TemporaryDirectory() as folder:
        assert_read([item], with_information([item]), syntax, Path(folder))


# An attribute of each VR, with values by its definition in PS3.5 6.2.
EVERY_VR = {
    "SelectorAEValue": ["STORE_SCP", "PACS 2"],
    "SelectorASValue": ["018M", "003D"],
    "SelectorATValue": [0x00100020, 0x7FE00010],
    "SelectorCSValue": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SelectorDAValue": ["19930822", "20240229"],
    "SelectorDSValue": ["-1.5e-3", "12"],
    "SelectorDTValue": ["19530827111300.0", "2007-0500"],
    "SelectorFDValue": [0.1, -1e300],
    "SelectorFLValue": [0.5, -1.25],
    "SelectorISValue": ["-2147483648", "7"],
    "SelectorLOValue": ["Straße 1", "[b] # 1, 1"],
    "SelectorLTValue": "one\r\ntwo \\ three",
    "SelectorOBValue": b"\x00\x01\xfe\xff",
    "SelectorODValue": struct.pack("<2d", 0.1, -7.5),
    "SelectorOFValue": struct.pack("<2f", 0.5, 3.25),
    "SelectorOLValue": struct.pack("<2I", 1, 2**32 - 1),
    "SelectorOVValue": struct.pack("<2Q", 1, 2**64 - 1),
    "SelectorOWValue": struct.pack("<3H", 1, 2, 0xFFFE),
    "SelectorPNValue": ["Müller^Jörg", "Yamada^Tarou=山田^太郎=やまだ^たろう"],
    "SelectorSHValue": ["Größe", "b"],
    "SelectorSLValue": [-(2**31), 7],
    "SelectorSSValue": [-(2**15), 7],
    "SelectorSTValue": "ein Satz: 5 µm",
    "SelectorSVValue": [-(2**63), 7],
    "SelectorTMValue": ["070907.0705", "10"],
    "SelectorUCValue": ["Zeichen ∞", "b"],
    "SelectorUIValue": ["1.2.840.10008.1.2", "2.25.7"],
    "SelectorULValue": [2**32 - 1, 7],
    "SelectorUNValue": b"\x00\x01\xfe\xff",
    "SelectorURValue": "https://example.org/studies?a=1&b=2",
    "SelectorUSValue": [2**16 - 1, 7],
    "SelectorUTValue": "Юлия\r\n и Ян\r\n",
    "SelectorUVValue": [2**63 - 1, 7],
}
REFERENCE = {
    "ReferencedSOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "ReferencedSOPInstanceUID": "1.2.3.4",
}
NESTED = {
    **EVERY_VR,
    "ReferencedSOPSequence": [],
    "FailedSOPSequence": [{**REFERENCE, "FailureReason": 0x0112}, REFERENCE],
    "SelectorCodeSequenceValue": [{**EVERY_VR, "SelectorCodeSequenceValue": [EVERY_VR]}],
}


def test_values_have_every_vr():
    assert {vr_of(name) for name in EVERY_VR} == {*OF_VR} == STANDARD_VR - {"SQ"}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_vr_from_rows_and_from_a_table(syntax, tmp_path):
    found = [NESTED, {"SelectorCodeSequenceValue": [REFERENCE]}, EVERY_VR]
    assert_read(found, with_information(found), syntax, tmp_path)
    table = {**EVENT, "EventInformation": pa.array(found)}
    assert_read(found, table, syntax, tmp_path)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", [*EVERY_VR, *SEQUENCES])
def test_empty_attributes(name, syntax, tmp_path):
    given = [{**REFERENCE, name: []}, {"SelectorCodeSequenceValue": [{name: []}, {}, {name: None}]}]
    assert_read(given, with_information(given), syntax, tmp_path)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_longer_than_a_short_length(syntax, tmp_path):
    given = {
        "SelectorOBValue": bytes(range(256)) * 300,
        "SelectorUCValue": ["Wert"] * 20_000,
        "SelectorUTValue": "Straße\r\n" * 10_000,
        "ReferencedSOPSequence": [REFERENCE] * 2_000,
    }
    assert_read([given], with_information([given]), syntax, tmp_path)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_numbers_as_text(syntax, tmp_path):
    given = {"SelectorISValue": [-5, 2**31 - 1], "SelectorDSValue": [7, -0.25, 1e100]}
    [event] = with_information([given])
    [data_set] = data_sets_in(bytes(encode_events([event], transfer_syntax=syntax)))
    numbers, decimals = dcmdump.dump(data_set, syntax, tmp_path)
    assert (numbers.vr, decimals.vr) == ("IS", "DS")
    assert [int(text) for text in values_of(numbers)] == given["SelectorISValue"]
    assert [float(text) for text in values_of(decimals)] == given["SelectorDSValue"]


# PS3.3 C.12.1.1.2: characters of the sets that dcmdump converts to Unicode.
TEXTS = {
    "ISO_IR 100": "Müller, Jörg",
    "ISO_IR 101": "Kovács, Őrs",
    "ISO_IR 109": "Ĉapelo, Ħal",
    "ISO_IR 110": "Bērziņš",
    "ISO_IR 144": "Юлия Филин",
    "ISO_IR 127": "قباني لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון דבורה",
    "ISO_IR 13": "ﾔﾏﾀﾞ ﾀﾛｳ",
    "ISO_IR 148": "Çavuşoğlu",
    "ISO_IR 166": "นามสกุล",
    "ISO_IR 192": "Wang^XiaoDong=王^小东 😀",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "王小东",
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", TEXTS)
def test_specified_character_set(name, syntax, tmp_path):
    """Items are in the character set of the data set."""
    text = TEXTS[name]
    given = {
        "SpecificCharacterSet": name,
        "PatientName": text,
        "ReferencedSOPSequence": [{"StudyDescription": text}, REFERENCE],
    }
    [event] = with_information([given])
    [data_set] = data_sets_in(bytes(encode_events([event], transfer_syntax=syntax)))
    # First without conversion, with octal numbers for other characters, then as Unicode.
    character_set, sequence, patient_name = dcmdump.dump(data_set, syntax, tmp_path, "+Qo")
    assert values_of(character_set) == [name]
    for element in (sequence.items[0][0], patient_name):
        assert element.length == length_of(element.vr, [text], python_encoding[name])
    _, sequence, patient_name = dcmdump.dump(data_set, syntax, tmp_path, "+U8")
    assert_item(sequence.items[0], {"StudyDescription": text}, syntax)
    assert_item(sequence.items[1], REFERENCE, syntax)
    assert_item([patient_name], {"PatientName": text}, syntax)


# The sets that the system's iconv supports.
WITH_ESCAPES = {
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东",
    "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126": "Jörg^a=Ж^ö=Διο^öЖöa",
}


@pytest.mark.parametrize("name", WITH_ESCAPES)
def test_character_sets_with_code_extensions(name, tmp_path):
    text = WITH_ESCAPES[name]
    given = {
        "SpecificCharacterSet": name.split("\\"),
        "PatientName": text,
        "ReferencedSOPSequence": [{"PatientName": text}],
    }
    [event] = with_information([given])
    [data_set] = data_sets_in(bytes(encode_events([event])))
    found = dcmdump.dump(data_set, ImplicitVRLittleEndian, tmp_path, "+U8")
    _, sequence, patient_name = found
    assert values_of(patient_name) == values_of(sequence.items[0][0]) == [text]


OF_ONE_BYTE = [name for name in TEXTS if name not in ("ISO_IR 192", "GB18030", "GBK")]


def characters(codec: str) -> set[str]:
    """Return the characters outside ASCII of Python's codec in single bytes."""
    found = (bytes([byte]).decode(codec, "ignore") for byte in range(0x80, 0x100))
    return {character for character in found if character.isprintable() and character}


@pytest.mark.parametrize("name", OF_ONE_BYTE)
def test_characters_of_a_set(name, tmp_path):
    """Characters of other sets and additions of Windows are rejected."""
    codecs = [python_encoding[one] for one in OF_ONE_BYTE]
    others = [f"cp{page}" for page in (874, *range(1250, 1259))]
    some = sorted({"山", "😀"}.union(*(characters(codec) for codec in codecs + others)), key=ord)
    given = [{"SpecificCharacterSet": name, "PatientID": f"x{one}x"} for one in some]
    refused = {rejection.row for rejection in validate_events(with_information(given))}
    written = [one for row, one in enumerate(some) if row not in refused]
    assert {*written} == characters(python_encoding[name])
    text = "x".join(["", *written, ""])
    [event] = with_information([{"SpecificCharacterSet": name, "SelectorUTValue": text}])
    [data_set] = data_sets_in(bytes(encode_events([event])))
    _, element = dcmdump.dump(data_set, ImplicitVRLittleEndian, tmp_path, "+U8")
    assert values_of(element) == [text]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_character_set_of_an_item(syntax, tmp_path):
    """An item can have its own set. dcmdump does not convert it, so it is Unicode here."""
    inside = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Ø^山"}
    given = {"PatientName": "A^B", "ReferencedSOPSequence": [inside, REFERENCE]}
    [event] = with_information([given])
    [data_set] = data_sets_in(bytes(encode_events([event], transfer_syntax=syntax)))
    assert_item(dcmdump.dump(data_set, syntax, tmp_path), given, syntax)


def test_private_attributes(tmp_path):
    given = {
        "00090010:LO": "FASTDIMSE",
        "00091001:LO": ["Grüße", "b"],
        "00091002:US": [1, 65535],
        "00091003:SQ": [{"00090010:LO": "OTHER", "00091001:UN": b"\x01\x02"}],
    }
    [event] = with_information([given])
    [explicit] = data_sets_in(bytes(encode_events([event], transfer_syntax=ExplicitVRLittleEndian)))
    character_set, *found = dcmdump.dump(explicit, ExplicitVRLittleEndian, tmp_path)
    assert values_of(character_set) == ["ISO_IR 192"]
    for element, (name, value) in zip(found, given.items(), strict=True):
        assert f"{element.tag:08X}:{element.vr}" == name
        if element.vr != "SQ":
            assert values_of(element) == several(value)
    [[creator, inside]] = found[-1].items
    assert (values_of(creator), values_of(inside)) == (["OTHER"], [b"\x01\x02"])
    # Without VRs, only the bytes are known.
    [implicit] = data_sets_in(bytes(encode_events([event])))
    _, _, text, numbers, _ = dcmdump.dump(implicit, ImplicitVRLittleEndian, tmp_path)
    assert (text.vr, values_of(text)) == ("??", ["Grüße\\b ".encode()])
    assert (numbers.vr, values_of(numbers)) == ("??", [b"\x01\x00\xff\xff"])


def element(tag: int, value: bytes, vr: bytes | None = None) -> bytes:
    """Encode an element with a VR of 16-bit length, or without a VR."""
    number = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    header = struct.pack("<I", len(value)) if vr is None else struct.pack("<2sH", vr, len(value))
    return number + header + value


ITEM, ITEM_ENDS, SEQUENCE_ENDS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD


@pytest.mark.parametrize("item_ends", [True, False])
@pytest.mark.parametrize("sequence_ends", [True, False])
def test_delimiters_after_defined_lengths(item_ends, sequence_ends, tmp_path):
    """They are not needed there, and dcmdump and pydicom ignore them."""
    reference = element(0x00081150, b"1.2\0")
    item = element(ITEM, reference + item_ends * element(ITEM_ENDS, b""))
    sequence = 2 * item + sequence_ends * element(SEQUENCE_ENDS, b"")
    data_set = element(0x00081199, sequence) + element(0x00100020, b"12")
    found = dcmdump.dump(data_set, ImplicitVRLittleEndian, tmp_path)
    assert [one.tag for one in found] == [0x00081199, 0x00100020]
    assert [[inside.value for inside in one] for one in found[0].items] == [["[1.2]"]] * 2
    read = oracle_read(data_set, ImplicitVRLittleEndian)
    [row] = pa.array(decode_data_sets([data_set])).to_pylist()
    assert row == {
        "ReferencedSOPSequence": [{"ReferencedSOPClassUID": "1.2"}]
        * len(read.ReferencedSOPSequence),
        "PatientID": read.PatientID,
    }


@pytest.mark.parametrize(
    "data_set",
    [
        element(0x00081199, element(ITEM, element(ITEM_ENDS, b"") + element(0x00081150, b"1.2\0"))),
        element(0x00081199, element(SEQUENCE_ENDS, b"") + element(ITEM, b"")),
        element(0x00100020, b"12") + element(ITEM_ENDS, b""),
        element(0x00100020, b"12") + element(SEQUENCE_ENDS, b""),
    ],
)
def test_misplaced_delimiters(data_set):
    with pytest.raises(DecodeError, match="is not allowed here"):
        decode_data_sets([data_set])


@pytest.mark.parametrize("vr", [b"??", b"  "])
def test_unknown_vr(vr, tmp_path):
    """The length has 16 bits, as dcmdump states; the VR is that of the dictionary."""
    elements = [(0x00100010, b"a ", b"PN"), (0x00100020, b"12", vr), (0x00100021, b"34", b"LO")]
    data_set = b"".join(element(*one) for one in elements)
    path = tmp_path / "data_set"
    path.write_bytes(data_set)
    done = subprocess.run(["dcmdump", "-f", "-te", path], capture_output=True, check=True)
    assert b"assuming 2 byte length field" in done.stderr
    assert b"31\\32 " in done.stdout
    assert b"LO [34]" in done.stdout
    found = decode_data_sets([data_set], transfer_syntax=ExplicitVRLittleEndian)
    [row] = pa.array(found).to_pylist()
    assert row == {"PatientName": "a", "PatientID": "12", "IssuerOfPatientID": "34"}
