"""Rows of a file as an encoder reads them: mappings, or an Arrow stream."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import pyarrow as pa
import pyarrow.compute

from ..errors import InputError
from .text_rows import RowRejection, TextRows

_T = TypeVar("_T")


class RowSource(Protocol):
    """A file of rows.

    Attributes
    ----------
    name : str
        The name of the file for messages.
    text : TextRows or None
        The lines of its rows, if it is a text file.
    """

    @property
    def name(self) -> str: ...

    text: TextRows | None


class Rows:
    """Rows of a file, counted while they are read.

    Parameters
    ----------
    total : int, optional
        The number of rows, where the file states it.

    Attributes
    ----------
    read : int
        The number of rows read so far.
    advanced : Callable[[int], None]
        Called with the number of rows after each part.
    failure : BaseException or None
        The exception that reading raised: the Arrow stream interface passes on only its text.
    files : list of tuple or None
        In an input of several files: the number of the first row and each file that has been
        opened.
    text : TextRows or None
        The lines of the rows of a text file, and the rows that cannot be read.
    is_text : bool
        Whether the file, or one of several, is a text file.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.read = 0
        self.advanced: Callable[[int], None] = lambda rows: None
        self.failure: BaseException | None = None
        self.files: list[tuple[int, RowSource]] | None = None
        self.text: TextRows | None = None
        self.is_text = False

    @property
    def is_several(self) -> bool:
        """Whether the rows are of several files."""
        return self.files is not None

    def locate(self, row: int) -> tuple[str, int]:
        """Return the file of a row of several files, and the number of the row in that file."""
        if not self.files:
            raise ValueError("not several files")
        first_row, file = self._file_of(row)
        return file.name, row - first_row

    def _file_of(self, row: int) -> tuple[int, RowSource]:
        assert self.files
        return self.files[bisect_right(self.files, row, key=lambda file: file[0]) - 1]

    def _text_of(self, row: int) -> tuple[int, TextRows | None]:
        """Return the text file of a row, and the number of the first row of that file."""
        if self.files is None:
            return 0, self.text
        if not self.files:
            return 0, None
        first_row, file = self._file_of(row)
        return first_row, file.text

    def line(self, row: int) -> int | None:
        """Return the line of a row in its text file; None for other files."""
        first_row, text = self._text_of(row)
        return None if text is None else text.line(row - first_row)

    def unreadable(self, row: int) -> RowRejection | None:
        """Return the rejection of a row that could not be read; None for all other rows."""
        first_row, text = self._text_of(row)
        found = None if text is None else text.rejected.get(row - first_row)
        return None if found is None else found._replace(row=row)

    def forget(self, row: int) -> None:
        """Free the memory of the rejection of a row that could not be read."""
        first_row, text = self._text_of(row)
        if text is not None:
            text.rejected.pop(row - first_row, None)

    def located(self, text: str) -> str:
        """Return an error text that also has the file of the row that it names."""
        found = re.search(r"\brow (\d+)\b", text)
        if found is None or not self.files:
            return text
        name, row = self.locate(int(found[1]))
        return f"{text} (row {row} of {name})"

    def _counted(self, parts: Iterable[_T], rows_of: Callable[[_T], int]) -> Iterator[_T]:
        try:
            for part in parts:
                rows = rows_of(part)
                self.read += rows
                yield part
                self.advanced(rows)
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise


class ArrowRows(Rows):
    """Rows as an Arrow stream, read batch by batch.

    Parameters
    ----------
    schema : pyarrow.Schema
        The columns.
    batches : Iterable[pyarrow.RecordBatch]
        The rows.
    total : int, optional
        The number of rows, where the file states it.
    """

    def __init__(self, schema: Any, batches: Iterable[Any], total: int | None = None) -> None:
        super().__init__(total)
        self.schema = schema
        self._batches = batches

    def batches(self) -> Iterator[Any]:
        """Yield the rows as record batches."""
        return self._counted(self._batches, lambda batch: batch.num_rows)

    def with_constants(self, constants: Mapping[str, Any]) -> "ArrowRows":
        """Return the rows with further columns, each with the same value in all rows."""
        _reject_both(self.schema.names, constants)
        fields = [pa.field(name, value.type) for name, value in constants.items()]
        schema = pa.schema([*self.schema, *fields])
        rows = ArrowRows(schema, self._extended(schema, constants), self.total)
        rows.text = self.text
        return rows

    def _extended(self, schema: Any, constants: Mapping[str, Any]) -> Iterator[Any]:
        first_row = 0
        for batch in self._batches:
            count = batch.num_rows
            columns = [pa.repeat(value, count) for value in constants.values()]
            bad = set() if self.text is None else self.text.rejected_within(first_row, count)
            if bad:
                # A row that could not be read stays null.
                is_valid = pa.array([row not in bad for row in range(first_row, first_row + count)])
                columns = [pa.compute.if_else(is_valid, one, None) for one in columns]
            yield pa.record_batch([*batch.columns, *columns], schema=schema)
            first_row += count

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the rows through the Arrow PyCapsule interface."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)


class MappedRows(Rows):
    """Rows as mappings, whose data sets may be mappings of attributes.

    Parameters
    ----------
    blocks : Iterable[Sequence[Mapping[str, Any]]]
        The rows, several at a time.
    """

    def __init__(self, blocks: Iterable[Sequence[Mapping[str, Any]]]) -> None:
        super().__init__()
        self._blocks = blocks

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows one by one."""
        for block in self.blocks():
            yield from block

    def blocks(self) -> Iterator[Sequence[Mapping[str, Any]]]:
        """Yield the rows, several at a time."""
        return self._counted(self._blocks, len)

    def with_constants(self, constants: Mapping[str, Any]) -> "MappedRows":
        """Return the rows with further keys, each with the same value in all rows."""
        added = {name: value.as_py() for name, value in constants.items()}

        nulls = dict.fromkeys(added)

        def extended() -> Iterator[Sequence[Mapping[str, Any]]]:
            number = 0
            for block in self._blocks:
                rows = []
                for row in block:
                    _reject_both(row, added)
                    # A row that could not be read stays null.
                    is_read = self.text is None or number not in self.text.rejected
                    rows.append({**row, **(added if is_read else nulls)})
                    number += 1
                yield rows

        rows = MappedRows(extended())
        rows.text = self.text
        return rows


def _reject_both(names: Iterable[str], constants: Mapping[str, Any]) -> None:
    for name in names:
        if name in constants:
            raise InputError(f"column '{name}' is both in the file and in the name of its folder")


@contextmanager
def invalid_rows(rows: ArrowRows | MappedRows) -> Iterator[None]:
    """Raise errors of an encoder about columns and options as `InputError`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if rows.failure is not None:
            raise
        raise InputError(rows.located(str(error))) from error
