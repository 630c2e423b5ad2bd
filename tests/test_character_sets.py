"""Text in every defined term of Specific Character Set, compared with pydicom."""

import itertools
import re
import warnings
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

from fastdimse import EncodeError, decode_data_sets, encode_events
from test_data_sets import EVENT, data_sets, oracle, oracle_read

ORGANIZATION = 0x00404036
SINGLE = [13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166]
PAIRS = {58: (b"\x1b$)A", 0x80), 149: (b"\x1b$)C", 0x80), 87: (b"\x1b$B", 0), 159: (b"\x1b$(D", 0)}


def element(tag: int, value: bytes) -> bytes:
    """Encode an element in Implicit VR Little Endian."""
    value += b" " * (len(value) % 2)
    header = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    return header + len(value).to_bytes(4, "little") + value


def decoded(term: str, texts: list[bytes], tag: int = ORGANIZATION) -> list[Any]:
    """Decode texts in this character set; `None` for a rejected one."""
    head = element(0x00080005, term.encode())
    found = decode_data_sets([head + element(tag, text) for text in texts], on_invalid="skip")
    return [row and row["HumanPerformerOrganization"] for row in pa.array(found).to_pylist()]


def codec_of(number: int) -> str:
    """Return Python's codec for this character set."""
    # pydicom's codec for Chinese leaves escape sequences in the text.
    return "gb2312" if number == 58 else python_encoding[f"ISO 2022 IR {number}"]


def python_text(encoded: bytes, codec: str) -> str | None:
    try:
        return encoded.decode(codec)
    except UnicodeDecodeError:
        return None


@pytest.mark.parametrize("number", SINGLE)
@pytest.mark.parametrize("form", ["ISO_IR {}", "ISO 2022 IR {}", "ISO 2022 IR {}\\ISO 2022 IR 87"])
def test_every_character_of_one_byte(number, form):
    # JIS X 0201 has only these; other bytes start characters of two bytes in Shift JIS.
    codes = range(0xA1, 0xE0) if number == 13 else range(0xA0, 0x100)
    texts = [bytes([code, ord("@")]) for code in codes]
    assert decoded(form.format(number), texts) == [
        python_text(text, codec_of(number)) for text in texts
    ]


def test_shift_jis_as_pydicom():
    assert decoded("ISO_IR 13", ["山田".encode("shift_jis")]) == ["山田"]


@pytest.mark.parametrize("number", PAIRS)
def test_every_character_of_two_bytes(number):
    escape, high = PAIRS[number]
    back = b"" if high else b"\x1b(B"
    codec = codec_of(number)
    texts, expected = [], []
    for first, second in itertools.product(range(0x21, 0x7F), repeat=2):
        pair = bytes([first | high, second | high])
        texts.append(escape + pair + back)
        expected.append(python_text(pair if high else escape + pair, codec))
    if number == 149:
        # The filler of KS X 1001, which in Python starts a syllable of eight bytes.
        expected[texts.index(escape + b"\xa4\xd4")] = "\N{HANGUL FILLER}"
    assert decoded(f"\\ISO 2022 IR {number}", texts) == expected


ALPHABETS = {
    13: "ｱｲｳﾔﾏﾀﾞ｡",
    58: "张王小东、。",
    87: "山田太郎やまだ移殉三、",
    100: "äöüßÉñ",
    101: "ąćęłńśźż",
    109: "ħĥĝżğ",
    110: "āēīļņ",
    126: "αβγδΩ",
    127: "أبتثج",
    138: "אבגדה",
    144: "абвгЖ",
    148: "ğüşİı",
    149: "김희중홍길동洪吉洞",
    159: "丂丄丅丌",
    166: "กขคงจ",
}
# pydicom writes text in ISO 2022 IR 58 without the escape sequence.
WRITTEN = sorted(set(ALPHABETS) - {58})


@st.composite
def texts_in_sets(draw: st.DrawFn, numbers: list[int]) -> tuple[list[str], str]:
    """Defined terms, and a text of their characters."""
    first = draw(st.sampled_from(["", *(number for number in numbers if number not in PAIRS)]))
    others = draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3, unique=True))
    chosen = [number for number in others if number != first]
    characters = "abc ^()" + "".join(ALPHABETS[number] for number in {first, *chosen} - {""})
    text = draw(st.text(st.sampled_from(characters), min_size=1, max_size=12))
    terms = [f"ISO 2022 IR {first}" if first else "", *(f"ISO 2022 IR {one}" for one in chosen)]
    return terms, text.strip() or "a"


def set_of(terms: list[str], **values: Any) -> Dataset:
    """Return a data set of text."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = terms
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def name_of(text: str) -> str:
    """Return a person name with this text in each kind of position."""
    part = text.replace("^", "") + "a"
    return f"{part}^{part}={part}^{part}={part}"


# pydicom splits values and names at the second byte of some characters.
SPLIT = [bytes([byte]) for byte in b"\\=^"]


@given(drawn=texts_in_sets(WRITTEN))
def test_text_written_by_pydicom(drawn):
    terms, text = drawn
    dataset = set_of(terms, HumanPerformerOrganization=text, PatientComments=text)
    with warnings.catch_warnings():
        # pydicom cannot encode some texts.
        warnings.simplefilter("error")
        try:
            encoded = oracle(dataset, ImplicitVRLittleEndian)
        except UserWarning:
            reject()
    # pydicom interprets the escape sequence of ASCII as one of ISO 8859-1.
    assume(not re.search(rb"\x1b\(B[^\x1b]*[\x80-\xff]", encoded))
    [row] = pa.array(decode_data_sets([encoded])).to_pylist()
    assert row["HumanPerformerOrganization"] == row["PatientComments"] == text


@given(drawn=texts_in_sets(WRITTEN))
def test_names_written_by_pydicom(drawn):
    terms, text = drawn
    name = name_of(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encoded = oracle(set_of(terms, PatientName=name), ImplicitVRLittleEndian)
        except UserWarning:
            reject()
    assume(not re.search(rb"\x1b\(B[^\x1b]*[\x80-\xff]", encoded))
    [row] = pa.array(decode_data_sets([encoded])).to_pylist()
    assert row["PatientName"] == name


@given(drawn=texts_in_sets(sorted(set(ALPHABETS) - {58, 159})))
def test_text_read_by_pydicom(drawn):
    terms, text = drawn
    name = name_of(text)
    values = {"HumanPerformerOrganization": text, "PatientComments": text, "PatientName": name}
    attributes = {"SpecificCharacterSet": terms, **values}
    [encoded] = data_sets([{**EVENT, "EventInformation": attributes}])
    [row] = pa.array(decode_data_sets([encoded])).to_pylist()
    assert {keyword: row[keyword] for keyword in values} == values
    read = oracle_read(encoded, ImplicitVRLittleEndian)
    for keyword, value in values.items():
        [raw] = re.findall(re.escape(element(Tag(keyword), b"")[:4]) + b"....(.*)", encoded, re.S)
        if not any(byte in pair for pair in pairs_of(raw) for byte in SPLIT):
            assert read[keyword].value == value


def pairs_of(encoded: bytes) -> list[bytes]:
    """Return the bytes between an escape to a two-byte set in G0 and the next escape."""
    return re.findall(rb"\x1b\$(?:B|\(D)([^\x1b]*)", encoded)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ("ISO_IR 144", "ü"),
        ("ISO 2022 IR 13\\ISO 2022 IR 87", "김"),
        ("\\ISO 2022 IR 87", "ü"),
        ("\\ISO 2022 IR 4711", "ü"),
        ("\\ISO 2022 IR 58", "髙"),
    ],
)
def test_characters_outside_of_all_sets(terms, text):
    attributes = {"SpecificCharacterSet": terms.split("\\"), "PatientComments": text}
    with pytest.raises(EncodeError, match="PatientComments"):
        encode_events([{**EVENT, "EventInformation": attributes}])
