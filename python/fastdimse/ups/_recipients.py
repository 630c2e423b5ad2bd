"""Events divided by the AE titles that receive them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from fastdimse.events._event import is_column

Subscribers = Callable[[str], list[str]]


def by_recipient(events: Any, subscribers: Subscribers) -> dict[str, tuple[Any, int]]:
    """Return the events of each recipient in their order, and the number of these.

    Parameters
    ----------
    events : Arrow table, mapping, or iterable
        Columns, one row, or rows.
    subscribers : Callable[[str], list[str]]
        Returns the recipients of the events of a SOP instance.
    """
    if hasattr(events, "__arrow_c_stream__") or hasattr(events, "__arrow_c_array__"):
        return _of_table(events, subscribers)
    rows = _rows(events) if isinstance(events, Mapping) else list(events)
    places = _places((_instance(row) for row in rows), subscribers)
    return {
        ae_title: ([rows[place] for place in found], len(found))
        for ae_title, found in places.items()
    }


def _of_table(events: Any, subscribers: Subscribers) -> dict[str, tuple[Any, int]]:
    import pyarrow as pa

    table = pa.table(events)
    instances = table.column("AffectedSOPInstanceUID").to_pylist()
    return {
        ae_title: (pa.concat_tables(_slices(table, found)), len(found))
        for ae_title, found in _places(instances, subscribers).items()
    }


def _slices(table: Any, places: list[int]) -> Iterator[Any]:
    """Yield the rows of a table: `take` does not support every type."""
    first = places[0]
    for place, following in pairwise((*places, -1)):
        if following != place + 1:
            yield table.slice(first, place + 1 - first)
            first = following


def _places(instances: Iterable[Any], subscribers: Subscribers) -> dict[str, list[int]]:
    """Return the positions of the events of each recipient."""
    known: dict[str, list[str]] = {}
    places: dict[str, list[int]] = {}
    for place, instance in enumerate(instances):
        uid = str(instance)
        if uid not in known:
            known[uid] = subscribers(uid)
        for ae_title in known[uid]:
            places.setdefault(ae_title, []).append(place)
    return places


def _rows(columns: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return a mapping of columns as rows. A mapping without a column is one row."""
    lists = {
        name: column.to_pylist() if hasattr(column, "to_pylist") else list(column)
        for name, column in columns.items()
        if is_column(column)
    }
    if not lists:
        return [columns]
    return [
        {**columns, **dict(zip(lists, values, strict=True))}
        for values in zip(*lists.values(), strict=True)
    ]


def _instance(row: Any) -> Any:
    if isinstance(row, Mapping):
        return row.get("AffectedSOPInstanceUID")
    return row.AffectedSOPInstanceUID
