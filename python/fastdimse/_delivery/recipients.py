"""The column `Peer` of events: the peers of each row."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, Generic, TypeVar

from fastdimse._core import ColumnError, EventBatch, event_batches

COLUMN = "Peer"
_BATCH_SIZE = 4096

_T = TypeVar("_T")


class EventsWithRecipients(Generic[_T]):
    """Events in batches, each with the recipients of its rows.

    Parameters
    ----------
    events : Arrow table or stream, mapping of columns, or iterable
        Same as for :func:`fastdimse.encode_events`, with or without a column *Peer*.
    resolve : callable
        Returns the recipients for a value of the column, or raises ValueError or TypeError.
    other_columns : {"raise", "ignore"}
        Same as for :func:`fastdimse.encode_events`.

    Attributes
    ----------
    has_column : bool
        Whether the events have a column *Peer*.

    Raises
    ------
    ValueError, TypeError
        If a value of the column cannot be resolved. The values of tables in memory, mappings and
        lists are resolved here; other values when their batch is read.
    """

    def __init__(
        self,
        events: Any,
        resolve: Callable[[Any], tuple[_T, ...]],
        other_columns: Any,
    ) -> None:
        self.has_column = False
        self._resolve = resolve
        self._resolved: dict[str, tuple[_T, ...]] = {}
        # The recipients of rows that were read, and the number of the first of these rows.
        self._recipients: list[tuple[_T, ...]] = []
        self._first_row = 0
        with _similar_column_named():
            self._batches = event_batches(
                self._without_column(events), batch_size=_BATCH_SIZE, other_columns=other_columns
            )

    def __iter__(self) -> Iterator[tuple[EventBatch, Sequence[tuple[_T, ...]] | None]]:
        """Yield each batch with the recipients of its rows, or with None without a column."""
        while True:
            with _similar_column_named():
                batch = next(self._batches, None)
            if batch is None:
                return
            if not self.has_column:
                yield batch, None
                continue
            count = len(batch)
            yield batch, self._recipients[:count]
            del self._recipients[:count]

    def _without_column(self, events: Any) -> Any:
        if _is_arrow(events):
            return self._of_arrow(events)
        if isinstance(events, Mapping):
            return self._of_mapping(events)
        if isinstance(events, str | bytes | bytearray):
            return events
        if isinstance(events, list | tuple):
            if not events or not _may_have_column(events[0]):
                return events
            return list(self._of_rows(events))
        if not isinstance(events, Iterable) or _column_names(events) is not None:
            return self._of_arrow(events)
        rows = iter(events)
        first = next(rows, None)
        if first is None:
            return ()
        with_first = chain([first], rows)
        return self._of_rows(with_first) if _may_have_column(first) else with_first

    def _of_mapping(self, columns: Mapping[str, Any]) -> Mapping[str, Any]:
        if COLUMN not in columns:
            return columns
        self.has_column = True
        given = columns[COLUMN]
        rest = {name: column for name, column in columns.items() if name != COLUMN}
        lengths = {name: len(column) for name, column in rest.items() if not _is_scalar(column)}
        if isinstance(given, str) or not isinstance(given, Iterable):
            # The same value for each row.
            self._add([given] * next(iter(lengths.values()), 1))
            return rest
        values = _to_list(given)
        for name, length in lengths.items():
            if length != len(values):
                text = f"'{COLUMN}' has {len(values)} rows, but '{name}' has {length}"
                raise ColumnError(text)
        self._add(values)
        if len(values) != 1 and not lengths:
            # A column with as many rows, so that the other values are repeated.
            for name in list(rest)[:1]:
                rest[name] = [rest[name]] * len(values)
        return rest

    def _of_rows(self, rows: Iterable[Any]) -> Iterator[Any]:
        count = 0
        for row in rows:
            is_table = _is_arrow(row) and not isinstance(row, Mapping)
            found = _column_names(row) if is_table else row if isinstance(row, Mapping) else ()
            has_column = COLUMN in (found or ())
            if count == 0:
                self.has_column = has_column
            if has_column is not self.has_column:
                has = "has a" if has_column else "has no"
                raise ColumnError(f"row {count} {has} '{COLUMN}', unlike the rows before it")
            if not has_column:
                yield row
                count += 1
            elif is_table:
                for batch in self._of_arrow(row):
                    yield batch
                    count += batch.num_rows
            else:
                self._add([row[COLUMN]])
                yield {name: value for name, value in row.items() if name != COLUMN}
                count += 1

    def _of_arrow(self, events: Any) -> Any:
        if COLUMN not in (_column_names(events) or ()):
            return events
        try:
            import pyarrow as pa
        except ImportError as error:
            raise ImportError(
                f"a column '{COLUMN}' of an Arrow table requires pyarrow: pip install pyarrow"
            ) from error
        self.has_column = True
        if hasattr(events, "collect"):
            # A LazyFrame.
            events = events.collect()
        if hasattr(events, "get_fragments"):
            events = events.scanner(batch_readahead=2, fragment_readahead=1)
        if isinstance(events, pa.Table):
            # In memory: no row is stored if one has no recipient.
            for row, value in enumerate(events[COLUMN].to_pylist()):
                self._recipients_of(value, f"row {row}: ")
        if hasattr(events, "to_reader"):
            reader = events.to_reader()
        elif hasattr(events, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(events)
        else:
            reader = [pa.record_batch(events)]
        return self._of_batches(reader)

    def _of_batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            column = batch.column(COLUMN)
            # Data of other libraries can be invalid.
            column.validate(full=True)
            self._add(column.to_pylist())
            yield batch.drop_columns([COLUMN])

    def _add(self, values: Iterable[Any]) -> None:
        for value in values:
            self._recipients.append(self._recipients_of(value, f"row {self._first_row}: "))
            self._first_row += 1

    def _recipients_of(self, value: Any, where: str) -> tuple[_T, ...]:
        if isinstance(value, str) and (known := self._resolved.get(value)) is not None:
            return known
        try:
            found = self._resolve(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}{COLUMN}: {error}") from None
        if isinstance(value, str):
            self._resolved[value] = found
        return found


def _is_arrow(value: Any) -> bool:
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__")


def _may_have_column(row: Any) -> bool:
    return isinstance(row, Mapping) or _is_arrow(row)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | bytes | int | Mapping)


def _to_list(column: Any) -> list[Any]:
    for name in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def _column_names(events: Any) -> list[str] | None:
    """Return the names of the columns of a table, or None if it has no such attribute."""
    if hasattr(events, "collect_schema"):
        return list(events.collect_schema().names())
    for name in ("projected_schema", "schema"):
        schema = getattr(events, name, None)
        if isinstance(found := getattr(schema, "names", None), list):
            return found
    columns = getattr(events, "columns", None)
    if columns is not None and not callable(columns) and not isinstance(columns, str):
        names = list(columns)
        if all(isinstance(one, str) for one in names):
            return names
    return None


def groups_of(
    recipients: Sequence[tuple[_T, ...]], begin: int
) -> list[tuple[tuple[_T, ...], list[int]]]:
    """Divide rows into groups with the same recipients.

    Each recipient receives its rows in order if it receives the groups in the order of their first
    rows.

    Parameters
    ----------
    recipients : sequence of tuple
        The recipients of each row.
    begin : int
        The first row to include.

    Returns
    -------
    list of tuple
        The recipients and the rows of each group, in the order of the first rows.
    """
    groups: list[tuple[tuple[_T, ...], list[int]]] = []
    last: dict[tuple[_T, ...], int] = {}
    last_of_one: dict[_T, int] = {}
    for row in range(begin, len(recipients)):
        these = recipients[row]
        number = last.get(these)
        if number is None or any(last_of_one[one] != number for one in these):
            number = last[these] = len(groups)
            groups.append((these, []))
            for one in these:
                last_of_one[one] = number
        groups[number][1].append(row)
    return groups


@contextmanager
def _similar_column_named() -> Iterator[None]:
    """Let the error for a misspelt column name this one, which is not a column of events."""
    try:
        yield
    except ColumnError as error:
        found = getattr(error, "column", None)
        if found is not None and found.casefold().strip(" _s") == COLUMN.casefold():
            error.args = (f"unknown column {found!r}: did you mean {COLUMN!r}?",)
        raise
