"""The check of UIDs, compared with PS3.5 9.1 as a regular expression."""

import functools
import random
import re

import pyarrow as pa
import pytest

from fastdimse import decode_events, encode_events, validate_events

COMPONENT = r"(?:0|[1-9][0-9]*)"
"""Digits without a leading zero, or a single zero."""
CONFORMANT = re.compile(rf"{COMPONENT}(?:\.{COMPONENT})*", re.ASCII)
VISIBLE = re.compile(r"[!-\[\]-~]+", re.ASCII)
"""Visible ASCII without the backslash, which separates values (PS3.5 6.4)."""
RULES = {True: CONFORMANT, False: VISIBLE}
UID_COLUMNS = ["AffectedSOPClassUID", "AffectedSOPInstanceUID"]


def is_uid(text: str, conformant: bool) -> bool:
    """Return whether a text is a UID by the rules."""
    return 1 <= len(text) <= 64 and RULES[conformant].fullmatch(text) is not None


def table_of(column: str, uids: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Return requests with these UIDs in one column, and a conformant one in the other."""
    keys = pa.nulls(len(uids), pa.int8()).fill_null(0)
    good = pa.DictionaryArray.from_arrays(keys, ["1.2.840.10008.1.20.1"])
    columns = {**dict.fromkeys(UID_COLUMNS, good), column: uids, "EventTypeID": keys}
    return pa.table(columns)


def check(column: str, uids: pa.Array | pa.ChunkedArray, texts: list[str], conformant: bool) -> int:
    """Compare rejected and encoded rows with the rules; return the number of valid UIDs."""
    table = table_of(column, uids)
    good = [is_uid(text, conformant) for text in texts]
    bad_rows = [row for row, one in enumerate(good) if not one]
    rejected = validate_events(table, enforce_uid_conformance=conformant)
    assert pa.table(rejected)["row"].to_pylist() == bad_rows
    assert set(pa.table(rejected)["code"].to_pylist()) <= {"uid"}
    assert set(pa.table(rejected)["field"].to_pylist()) <= {column}
    encoded = encode_events(table, on_invalid="skip", enforce_uid_conformance=conformant)
    assert pa.table(encoded.rejected) == pa.table(rejected)
    decoded = pa.table(decode_events(encoded))
    kept = [text for text, one in zip(texts, good, strict=True) if one]
    assert decoded[column].to_pylist() == kept
    return len(kept)


@functools.cache
def changed_everywhere(pattern: str) -> list[str]:
    """Return patterns of 0 to 70 characters, with every byte at every position."""
    texts = [(pattern * 70)[:length] for length in range(71)]
    return texts + [
        text[:place] + chr(byte) + text[place + 1 :]
        for text in texts
        for place in range(len(text))
        for byte in range(128)
    ]


@pytest.mark.parametrize("conformant", [True, False])
@pytest.mark.parametrize("column", UID_COLUMNS)
@pytest.mark.parametrize("pattern", ["1.23.4567.8.", "10", "0."])
def test_every_length_position_and_byte(pattern, column, conformant):
    texts = changed_everywhere(pattern)
    kept = check(column, pa.array(texts), texts, conformant)
    assert 0 < kept < len(texts)


def test_characters_of_several_bytes():
    for character in ("\x80", "é", "٣", "１", "日", "\U0001f600"):  # noqa: RUF001
        for length in (2, 15, 16, 17, 31, 32, 33, 60, 62, 63, 64):
            texts = [
                "1" * place + character + "1" * (length - place - len(character.encode()))
                for place in range(length - len(character.encode()) + 1)
            ]
            for conformant in (True, False):
                assert check("AffectedSOPInstanceUID", pa.array(texts), texts, conformant) == 0


@functools.cache
def valid_and_invalid() -> list[str]:
    """Return UIDs of all lengths between neighbours that could be read as parts of them."""
    texts = []
    for length in range(71):
        uid = ("1.2.840.10008." * 5)[:length]
        uid = uid[:-1] + "1" if uid.endswith((".", "0")) else uid
        texts += [uid, uid[:-1] + ".", uid[:-1] + "/", uid[:-1] + ":", uid[:-2] + ".0", uid + "1"]
        texts += ["0" + uid, uid[: length // 2] + ".0" + uid[length // 2 :]]
    random.Random(5).shuffle(texts)
    return texts


def dictionary(values: pa.Array) -> pa.DictionaryArray:
    """Return a column with each value of a dictionary once, in order."""
    return pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int16()), values)


@pytest.mark.parametrize("conformant", [True, False])
@pytest.mark.parametrize("of", [lambda values: values, dictionary], ids=["plain", "dictionary"])
@pytest.mark.parametrize("strings", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_at_every_alignment(strings, of, conformant):
    texts = valid_and_invalid()
    for before in range(65):
        # The slice removes the start, which stays in the buffer.
        values = pa.array(["9" * before, *texts], pa.string()).cast(strings).slice(1)
        check(UID_COLUMNS[before % 2], of(values), texts, conformant)


@pytest.mark.parametrize("conformant", [True, False])
def test_last_uid_of_a_slice(conformant):
    texts = valid_and_invalid()
    whole = pa.array(texts)
    for begin in range(0, len(texts), 7):
        part = texts[begin : begin + 5]
        check("AffectedSOPInstanceUID", whole.slice(begin, 5), part, conformant)


def test_unused_dictionary_values_are_not_checked():
    values = pa.array(["1.02", "1.2", "unused", "", "1.3"])
    keys = pa.array([1, 4, 1, 0, None, 3, 4], pa.int8())
    for column in UID_COLUMNS:
        uids = pa.DictionaryArray.from_arrays(keys, values)
        rejected = validate_events(table_of(column, uids))
        assert [(one.row, one.code) for one in rejected] == [(3, "uid"), (4, "missing"), (5, "uid")]
