"""Items of sequences, from tuples of values or from mappings of attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

Item: TypeAlias = Mapping[str, Any]
"""An item of a sequence: its attributes by keyword."""

Code: TypeAlias = tuple[str, ...] | Mapping[str, Any]
"""A coded entry: Code Value, Coding Scheme Designator, Code Meaning and optionally Coding Scheme
Version, in the order of :class:`pydicom.sr.coding.Code`; or a mapping of its attributes."""

Codes: TypeAlias = Iterable[Code] | Any
"""Coded entries, or a column of them."""


def item_from(*keywords: str, optional: int = 0) -> Callable[[Any], Item]:
    """Return a function that makes an item from a tuple of values, or from a mapping.

    Parameters
    ----------
    *keywords : str
        Keywords of the values.
    optional : int, default 0
        How many of the last values can be left out.
    """
    required = len(keywords) - optional
    form = ", ".join(keywords[:required]) + "".join(f"[, {one}]" for one in keywords[required:])

    def item(given: Any) -> Item:
        if isinstance(given, Mapping):
            return dict(given)
        if isinstance(given, str) or not required <= len(given) <= len(keywords):
            raise ValueError(f"an item must be a mapping or ({form}), not {given!r}")
        values = zip(keywords, given, strict=False)
        return {keyword: value for keyword, value in values if value is not None}

    return item


code_item = item_from(
    "CodeValue", "CodingSchemeDesignator", "CodeMeaning", "CodingSchemeVersion", optional=1
)
