"""DCMTK's dcmdump, whose output is the oracle for data sets."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

# CI fails without it.
needed = pytest.mark.skipif(
    shutil.which("dcmdump") is None and not os.environ.get("CI"),
    reason="no dcmdump: ./dev peers installs DCMTK",
)
"""Marks tests that need dcmdump."""

_SYNTAXES = {ImplicitVRLittleEndian: "-ti", ExplicitVRLittleEndian: "-te"}
_HEADING = re.compile(r"\n# Dicom-Data-Set\n# Used TransferSyntax: .*\n")
# Text can have several lines: an element ends at the start of the next one.
_NEXT = re.compile(r"\n(?= *\([0-9a-f]{4},[0-9a-f]{4}\) )")
_ELEMENT = re.compile(
    r" *\((?P<group>[0-9a-f]{4}),(?P<element>[0-9a-f]{4})\) (?P<vr>..) (?P<value>.*) "
    r"+# +(?P<length>\d+), *(?P<count>\d+) [^\n]*",
    re.DOTALL,
)
_ITEM, _ENDS = 0xFFFEE000, (0xFFFEE00D, 0xFFFEE0DD)


@dataclass
class Element:
    """An element of the output.

    Attributes
    ----------
    tag : int
        Tag of the attribute.
    vr : str
        VR in the data set, or in DCMTK's dictionary for Implicit VR; ``??`` if it has none.
    value : str
        Value; text is in brackets.
    length, count : int
        Numbers of bytes and of values.
    items : list of list of Element
        Items of a sequence.
    """

    tag: int
    vr: str
    value: str
    length: int
    count: int
    items: list[list["Element"]] = field(default_factory=list)


def dump(data_set: bytes, transfer_syntax: str, folder: Path, *options: str) -> list[Element]:
    """Return the elements of a data set; dcmdump must print no error or warning."""
    path = folder / "data_set"
    path.write_bytes(data_set)
    done = subprocess.run(
        # Complete values, and UIDs without their names.
        ["dcmdump", "-f", _SYNTAXES[transfer_syntax], "+L", "-Un", *options, str(path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    # Text mode would convert line ends.
    heading, *lines = _NEXT.split("\n" + done.stdout.decode().strip("\n"))
    assert _HEADING.fullmatch(heading + "\n"), heading
    return _elements(map(_element, lines))


def _element(line: str) -> Element:
    parts = _ELEMENT.fullmatch(line)
    assert parts is not None, line
    return Element(
        tag=int(parts["group"] + parts["element"], 16),
        vr=parts["vr"],
        value=parts["value"].rstrip(" "),
        length=int(parts["length"]),
        count=int(parts["count"]),
    )


def _elements(rest: Iterator[Element]) -> list[Element]:
    """Return the elements of one item, up to its end."""
    found = []
    for element in rest:
        if element.tag in _ENDS:
            break
        if element.vr == "SQ":
            element.items = list(_items(rest))
        found.append(element)
    return found


def _items(rest: Iterator[Element]) -> Iterator[list[Element]]:
    for element in rest:
        if element.tag in _ENDS:
            return
        assert element.tag == _ITEM
        yield _elements(rest)
