"""Rows of several files as one input.

All files are opened before the first row is read, so that a difference between them is found before
anything is written or sent. They are then opened again, one after another.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from ..errors import InputError
from ..inputs import PIPE, standard_input
from ..terminal import note
from .columns import DATA_SETS, EVENT_COLUMNS, relevant
from .find_files import find_files, is_several
from .formats import TEXT_FORMATS, RowFormat, row_format
from .json_objects import to_rows
from .read import first_line, open_rows
from .read_ndjson import SIGNIFICANT_IF_ABSENT
from .row_file import RowFile
from .rows import ArrowRows, MappedRows, RowSource
from .schemas import SchemaUnion

_BLOCK_ROWS = 1024

_T = TypeVar("_T")
_Rows = ArrowRows | MappedRows


@contextmanager
def open_all_rows(
    paths: Sequence[str],
    given: RowFormat | None = None,
    columns: Any = EVENT_COLUMNS,
    *,
    ignore_others: bool = False,
) -> Iterator[ArrowRows | MappedRows]:
    """Open the rows of files, of folders or of standard input, in this order.

    Parameters
    ----------
    paths : Sequence[str]
        Files, folders, or `PIPE`.
    given : RowFormat, optional
        The format of all files; their suffixes decide if it is None.
    columns : pyarrow.Schema, optional
        The columns that are read.
    ignore_others : bool, optional
        Whether the files may have columns that fastdimse does not know.

    Yields
    ------
    ArrowRows or MappedRows
        The rows. Errors while they are read leave the block as `InputError`.
    """
    if not is_several(paths):
        with open_rows(RowFile(paths[0]), given, columns, ignore_others=ignore_others) as rows:
            yield rows
        return
    with ExitStack() as copies:
        found = find_and_report(paths)
        # Before anything is copied or opened: unknown suffixes.
        for path in found:
            row_format(path, given)
        files = [copies.enter_context(repeatable(path)) for path in found]
        rows = RowFiles(files, given, columns, ignore_others=ignore_others).rows()
        try:
            yield rows
        except Exception as error:
            if rows.failure is None:
                raise
            raise rows.failure from error


def find_and_report(paths: Sequence[str]) -> list[str]:
    """Return the files of an input; print a line for each file in a folder that is not read."""
    found, omitted = find_files(paths)
    for path in omitted:
        note(f"{path}: not read: not completed by 'fastdimse receive'")
    return found


@contextmanager
def repeatable(path: str) -> Iterator[RowFile]:
    """Yield a file that can be opened more than once: a pipe is copied to a temporary file."""
    file = RowFile(path)
    if path != PIPE and stat.S_ISREG(os.stat(path).st_mode):
        yield file
        return
    # Not NamedTemporaryFile: Windows cannot open its file a second time.
    with tempfile.TemporaryDirectory() as folder:
        file.copy = os.path.join(folder, "input")
        with open(file.copy, "wb") as copy:
            if path == PIPE:
                shutil.copyfileobj(standard_input(), copy)
            else:
                with open(path, "rb") as source:
                    shutil.copyfileobj(source, copy)
        yield file


class _Inspected(NamedTuple):
    """A file that was opened before its rows are read. Rows that are mappings have no schema."""

    file: RowFile
    schema: Any
    total: int | None


class RowFiles:
    """Several files, which must have the same columns.

    Parameters
    ----------
    files : Sequence[RowFile]
        The files.
    given : RowFormat, optional
        The format of all files.
    columns : pyarrow.Schema
        The columns that are read.
    ignore_others : bool
        Whether the files may have columns that fastdimse does not know.
    peers : Sequence of str, optional
        The accepted values of a column of peers in text files.

    Attributes
    ----------
    total : int or None
        The number of rows, where all files state it.

    Raises
    ------
    InputError
        If a file cannot be read, or if the files have different columns.
    """

    def __init__(
        self,
        files: Sequence[RowFile],
        given: RowFormat | None,
        columns: Any,
        *,
        ignore_others: bool,
        peers: Sequence[str] = (),
    ) -> None:
        self._given = given
        self._peers = peers
        self._columns = columns
        self._ignore_others = ignore_others
        self._places: list[tuple[int, RowSource]] = []
        self._files = [self._inspect(file) for file in files]
        self._schema = self._common_schema()
        totals = [one.total for one in self._files]
        self.total = sum(one or 0 for one in totals) if None not in totals else None

    def _inspect(self, file: RowFile) -> _Inspected:
        with open_rows(file, self._given, self._columns, ignore_others=self._ignore_others) as rows:
            return _Inspected(
                file, rows.schema if isinstance(rows, ArrowRows) else None, rows.total
            )

    def _common_schema(self) -> Any:
        """Return the columns of all files."""
        union = SchemaUnion(relevant(self._columns))
        for file, schema, _ in self._files:
            if file.ndjson is None:
                union.add(file.name, schema)
            elif not file.ndjson.is_empty:
                union.add(
                    file.name, self._ndjson_schema(file, schema), significant=SIGNIFICANT_IF_ABSENT
                )
        return union.schema() or self._columns

    def _ndjson_schema(self, file: RowFile, schema: Any) -> Any:
        """Return the columns that a file of NDJSON has, or null columns where it has no values."""
        content = file.ndjson
        assert content is not None
        if schema is None:
            constants = file.constants(relevant(self._columns))
            absent = content.checked - content.keys - constants.keys()
            schema = pa.schema(one for one in self._columns if one.name not in absent)
        for name in DATA_SETS:
            data_type = pa.null()
            if name in content.structured and name not in content.encoded:
                data_type = pa.struct([])
            elif name in content.encoded and name not in content.structured:
                data_type = pa.binary()
            index = schema.get_field_index(name)
            schema = schema.set(index, pa.field(name, data_type))
        return schema

    def rows(self) -> ArrowRows | MappedRows:
        """Return all rows. They are mappings if a file of NDJSON has structured data sets."""
        rows: ArrowRows | MappedRows
        if any(schema is None for _, schema, _ in self._files):
            rows = MappedRows(self._all_parts(self._as_mappings, as_mappings=True))
        else:
            rows = ArrowRows(self._schema, self._all_parts(self._as_batches), self.total)
        rows.files = self._places
        rows.is_text = any(self._is_text(one.file) for one in self._files)
        return rows

    def _is_text(self, file: RowFile) -> bool:
        return row_format(file.path, self._given) in TEXT_FORMATS

    def rows_of(self, file: RowFile) -> ArrowRows | MappedRows:
        """Return the rows of one of the files, which is opened when they are read."""
        one = next(one for one in self._files if one.file is file)
        if one.schema is None:
            return MappedRows(self._parts(one, _blocks))
        return ArrowRows(one.schema, self._parts(one, _batches), one.total)

    def _all_parts(
        self, parts_of: Callable[[_Rows], Iterable[_T]], *, as_mappings: bool = False
    ) -> Iterator[_T]:
        first_row = 0
        for one in self._files:
            one.file.first_row = first_row
            self._places.append((first_row, one.file))
            first_row += yield from self._parts(one, parts_of, as_mappings=as_mappings)

    def _parts(
        self,
        one: _Inspected,
        parts_of: Callable[[_Rows], Iterable[_T]],
        *,
        as_mappings: bool = False,
    ) -> Generator[_T, None, int]:
        """Open a file, yield its rows in parts, and return their number."""
        with open_rows(
            one.file,
            self._given,
            self._columns,
            ignore_others=self._ignore_others,
            as_mappings=as_mappings,
            peers=self._peers,
        ) as rows:
            changed = InputError(f"{one.file.name}: changed while it was read")
            known = one.schema
            if isinstance(rows, ArrowRows) and known is not None and rows.schema != known:
                raise changed
            try:
                yield from parts_of(rows)
            except pa.ArrowException as error:
                if rows.failure is not None:
                    raise
                raise InputError(f"{one.file.name}: {first_line(error)}") from error
            if one.total is not None and rows.read != one.total:
                raise changed
            return rows.read

    def _as_batches(self, rows: _Rows) -> Iterator[Any]:
        for batch in _batches(rows):
            names = batch.schema.names
            columns = [
                _cast(batch.column(field.name), field.type)
                if field.name in names
                else pa.nulls(batch.num_rows, field.type)
                for field in self._schema
            ]
            yield pa.record_batch(columns, schema=self._schema)

    def _as_mappings(self, rows: ArrowRows | MappedRows) -> Iterator[Sequence[Mapping[str, Any]]]:
        if isinstance(rows, MappedRows):
            yield from rows.blocks()
            return
        names = [name for name in self._schema.names if name in rows.schema.names]
        absent = dict.fromkeys(SIGNIFICANT_IF_ABSENT.intersection(names))
        for batch in rows.batches():
            for begin in range(0, batch.num_rows, _BLOCK_ROWS):
                block = batch.select(names).slice(begin, _BLOCK_ROWS)
                yield [{**absent, **row} for row in to_rows(block.to_struct_array())]


def _batches(rows: _Rows) -> Iterator[Any]:
    assert isinstance(rows, ArrowRows)
    return rows.batches()


def _blocks(rows: _Rows) -> Iterator[Sequence[Mapping[str, Any]]]:
    assert isinstance(rows, MappedRows)
    return rows.blocks()


def _cast(column: Any, data_type: Any) -> Any:
    return column if column.type == data_type else column.cast(data_type)
