"""Rows of a file on their way into an encoder: one by one, or as an Arrow stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

_T = TypeVar("_T")


class InputError(Exception):
    """Something the user gave can't be used; its text is one line for them."""


@contextmanager
def refused_values() -> Iterator[None]:
    """Let a `ValueError` about what the user gave leave as `InputError`."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error


class Rows:
    """Rows of a file, counted as they are read.

    Parameters
    ----------
    total : int, optional
        How many there are, where the file says so beforehand.

    Attributes
    ----------
    read : int
        How many rows have been read.
    advanced : Callable[[int], None]
        Called with a number of rows whenever so many more are done.
    failure : BaseException or None
        What reading raised. An Arrow stream hands on only the text of an error.
    """

    def __init__(self, total: int | None = None) -> None:
        self.total = total
        self.read = 0
        self.advanced: Callable[[int], None] = lambda rows: None
        self.failure: BaseException | None = None

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
        How many there are, where the file says so beforehand.
    """

    def __init__(self, schema: Any, batches: Iterable[Any], total: int | None = None) -> None:
        super().__init__(total)
        self.schema = schema
        self._batches = batches

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the rows through the Arrow PyCapsule interface."""
        batches = self._counted(self._batches, lambda batch: batch.num_rows)
        reader = pa.RecordBatchReader.from_batches(self.schema, batches)
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
        """Give the rows one by one."""
        for block in self._counted(self._blocks, len):
            yield from block
