"""Rows of a file as an encoder reads them: mappings, or an Arrow stream."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa

from ..errors import InputError

_T = TypeVar("_T")


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
        The number of rows, where the file states it.
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
        """Yield the rows one by one."""
        for block in self._counted(self._blocks, len):
            yield from block


@contextmanager
def invalid_rows(rows: ArrowRows | MappedRows) -> Iterator[None]:
    """Raise errors of an encoder about columns and options as `InputError`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if rows.failure is not None:
            raise
        raise InputError(str(error)) from error
