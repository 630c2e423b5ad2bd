"""Rows of a file as an encoder reads them: mappings, or an Arrow stream."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

from ..errors import InputError

_T = TypeVar("_T")


class RowError(InputError):
    """A row that cannot be read.

    Parameters
    ----------
    row : int
        The number of the row in its file.
    reason : str
        The reason.
    """

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row}, {reason}")
        self.row = row
        self.reason = reason


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
        In an input of several files: the number of the first row and the name of each file that has
        been opened.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.read = 0
        self.advanced: Callable[[int], None] = lambda rows: None
        self.failure: BaseException | None = None
        self.files: list[tuple[int, str]] | None = None

    @property
    def is_several(self) -> bool:
        """Whether the rows are of several files."""
        return self.files is not None

    def locate(self, row: int) -> tuple[str, int]:
        """Return the file of a row of several files, and the number of the row in that file."""
        if not self.files:
            raise ValueError("not several files")
        first_row, name = self.files[bisect_right(self.files, row, key=lambda file: file[0]) - 1]
        return name, row - first_row

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
        batches = (
            pa.record_batch(
                [
                    *batch.columns,
                    *(pa.repeat(value, batch.num_rows) for value in constants.values()),
                ],
                schema=schema,
            )
            for batch in self._batches
        )
        return ArrowRows(schema, batches, self.total)

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

        def extended(row: Mapping[str, Any]) -> Mapping[str, Any]:
            _reject_both(row, added)
            return {**row, **added}

        return MappedRows([*map(extended, block)] for block in self._blocks)


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
