"""One file of an input."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..errors import InputError
from ..inputs import input_name
from .find_files import partitions_of
from .read_ndjson import NdjsonContent
from .text_rows import TextRows


@dataclass(eq=False)
class RowFile:
    """One file of an input.

    Attributes
    ----------
    path : str
        The file, or `PIPE`.
    copy : str or None
        A copy of the content, where it can be read only once.
    first_row : int or None
        The number of its first row in an input of several files; None for the only file.
    ndjson : NdjsonContent or None
        The content of NDJSON, once it has been inspected.
    text : TextRows or None
        The lines of its rows, and the rows that cannot be read, once a text file has been opened.
    partitions : dict
        The names and values of its folders ``name=value``.
    """

    path: str
    copy: str | None = None
    first_row: int | None = None
    ndjson: NdjsonContent | None = None
    text: TextRows | None = None
    partitions: dict[str, str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.partitions = partitions_of(self.path)

    @property
    def name(self) -> str:
        """The name of the file for messages."""
        return input_name(self.path)

    def constants(self, columns: Any) -> dict[str, Any]:
        """Return the columns of `columns` that are in the names of folders, as Arrow scalars."""
        return {
            name: _scalar(name, value, columns.field(name).type)
            for name, value in self.partitions.items()
            if name in columns.names
        }


def _scalar(name: str, value: str | None, data_type: Any) -> Any:
    folder = f"in the folder name '{name}={value}'"
    if pa.types.is_binary(data_type):
        raise InputError(f"{folder}: {name} is a data set, which must be in the file")
    if value is None:
        return pa.scalar(None, data_type)
    if not pa.types.is_integer(data_type):
        return pa.scalar(value, pa.string())
    try:
        return pa.scalar(int(value), data_type)
    except (ValueError, OverflowError, pa.ArrowInvalid):
        raise InputError(f"{folder}: {name} must be an integer") from None
