"""DCMTK's dcmdump, and what it prints of a data set as the oracle."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

# In CI it must be there.
needed = pytest.mark.skipif(
    shutil.which("dcmdump") is None and not os.environ.get("CI"),
    reason="no dcmdump: ./dev peers installs DCMTK",
)
"""Marks tests that need it."""

_SYNTAXES = {ImplicitVRLittleEndian: "-ti", ExplicitVRLittleEndian: "-te"}
_HEADING = re.compile(r"\n# Dicom-Data-Set\n# Used TransferSyntax: .*\n")
# Text may have more than one line: an element ends where the next one begins.
_NEXT = re.compile(r"\n(?= *\([0-9a-f]{4},[0-9a-f]{4}\) )")
_ELEMENT = re.compile(
    r" *\((?P<group>[0-9a-f]{4}),(?P<element>[0-9a-f]{4})\) (?P<vr>..) (?P<value>.*) "
    r"+# +(?P<length>\d+), *(?P<count>\d+) [^\n]*",
    re.DOTALL,
)
_ITEM, _ENDS = 0xFFFEE000, (0xFFFEE00D, 0xFFFEE0DD)


@dataclass
class Element:
    """An element as it is printed.

    Attributes
    ----------
    tag : int
        Of the attribute.
    vr : str
        Of the data set, in Implicit VR of DCMTK's dictionary; ``??`` where that has none.
    value : str
        Text is in brackets.
    length, count : int
        Of how many bytes and of how many values.
    items : list of list of Element
        Those of a sequence.
    """

    tag: int
    vr: str
    value: str
    length: int
    count: int
    items: list[list["Element"]] = field(default_factory=list)


def dump(data_set: bytes, transfer_syntax: str, folder: Path, *options: str) -> list[Element]:
    """Return the elements of a data set, of which dcmdump must not complain."""
    path = folder / "data_set"
    path.write_bytes(data_set)
    done = subprocess.run(
        # Long values as a whole, and UIDs without their names.
        ["dcmdump", "-f", _SYNTAXES[transfer_syntax], "+L", "-Un", *options, str(path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    # Not as text, whose line ends would become others.
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
    """Return those of one item, up to its end."""
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
