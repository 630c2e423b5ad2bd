"""Data sets of requests and reports: read by patterns, or else by the complete decoder.

The oracle is pydicom, which encodes the data sets, and whose decoder the others are left to.
"""

from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom.dsutils import encode

from fastdimse.storage_commitment._information import information_of

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]
COMPLETE = {"the complete": "decoder"}
UIDS = st.from_regex(r"\A[0-9]\.[0-9.]{0,62}\Z")
PAIRS = st.tuples(st.sampled_from([CTImageStorage, MRImageStorage]) | UIDS, UIDS)


class Received:
    """The attributes of a request that are used, with a mark for the complete decoder."""

    attributes = COMPLETE

    def __init__(self, transfer_syntax: str) -> None:
        self.transfer_syntax = str(transfer_syntax)


def read(data: bytes, syntax: Any) -> dict[str, Any]:
    """Read an encoded data set."""
    return information_of(Received(syntax), BytesIO(data))


def encoded(data_set: Dataset, syntax: Any) -> bytes:
    """Encode a data set with pydicom."""
    found = encode(data_set, syntax.is_implicit_VR, True)
    assert found is not None
    return found


def item(pair: tuple[str, str], reason: int | None = None) -> Dataset:
    """Return an item of a sequence."""
    made = Dataset()
    made.ReferencedSOPClassUID, made.ReferencedSOPInstanceUID = pair
    if reason is not None:
        made.FailureReason = reason
    return made


@pytest.fixture(autouse=True)
def _any_uid(monkeypatch):
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.IGNORE)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit"])
@pytest.mark.parametrize("is_open", [False, True], ids=["lengths", "open items"])
@given(
    transaction=UIDS,
    good=st.lists(PAIRS, max_size=5),
    bad=st.lists(st.tuples(PAIRS, st.integers(0, 0xFFFF)), max_size=5),
)
def test_data_sets_of_pydicom(syntax, is_open, transaction, good, bad):
    with config.disable_value_validation():
        made = Dataset()
        made.TransactionUID = transaction
        if good:
            made.ReferencedSOPSequence = Sequence([item(pair) for pair in good])
        if bad:
            made.FailedSOPSequence = Sequence([item(pair, reason) for pair, reason in bad])
        for name in ("ReferencedSOPSequence", "FailedSOPSequence"):
            for one in made.get(name, []):
                one.is_undefined_length_sequence_item = is_open
        data = encoded(made, syntax)
    keys = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "FailureReason")
    expected: dict[str, Any] = {"TransactionUID": transaction}
    if good:
        expected["ReferencedSOPSequence"] = [dict(zip(keys, pair, strict=False)) for pair in good]
    if bad:
        expected["FailedSOPSequence"] = [
            dict(zip(keys, (*pair, reason), strict=True)) for pair, reason in bad
        ]
    assert read(data, syntax) == expected


def request() -> Dataset:
    """Return a request with two references."""
    made = Dataset()
    made.TransactionUID = "1.2.3"
    made.ReferencedSOPSequence = [item((CTImageStorage, "1.2.4")), item((CTImageStorage, "1.2.5"))]
    return made


def with_other_attribute(made: Dataset) -> None:
    made.RetrieveAETitle = "PACS"


def with_other_item_attribute(made: Dataset) -> None:
    made.ReferencedSOPSequence[1].RetrieveAETitle = "PACS"


def without_instance(made: Dataset) -> None:
    del made.ReferencedSOPSequence[1].ReferencedSOPInstanceUID


def without_transaction(made: Dataset) -> None:
    del made.TransactionUID


def with_spaces(made: Dataset) -> None:
    made.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2. 4"


def of_undefined_length(made: Dataset) -> None:
    made["ReferencedSOPSequence"].is_undefined_length = True


CHANGES = [
    with_other_attribute,
    with_other_item_attribute,
    without_instance,
    without_transaction,
    with_spaces,
    of_undefined_length,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_data_sets_for_the_complete_decoder(syntax, change):
    made = request()
    assert read(encoded(made, syntax), syntax) != COMPLETE
    with config.disable_value_validation():
        change(made)
        assert read(encoded(made, syntax), syntax) == COMPLETE


@pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit"])
def test_damaged_data_sets(syntax):
    """With any byte cut off or changed, the same is read as by pydicom, or nothing."""
    data = encoded(request(), syntax)
    whole = read(data, syntax)
    for end in range(len(data)):
        assert read(data[:end], syntax) in (COMPLETE, {"TransactionUID": "1.2.3"})
    for at in range(len(data)):
        for change in (0x01, 0x80):
            changed = bytearray(data)
            changed[at] ^= change
            found = read(bytes(changed), syntax)
            if found != COMPLETE:
                # A digit of a UID has changed, or the tag to that of the other sequence.
                assert found != whole
                assert changed[at : at + 1] in b"0123456789.\x98"


def test_no_data_set():
    assert information_of(Received(ImplicitVRLittleEndian), None) == {}
