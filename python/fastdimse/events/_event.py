"""Builds one event as a row, or many events as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from fastdimse._core import check_event

from ._items import Item
from ._table import EventType, SOPClass

Event: TypeAlias = dict[str, Any]
"""A row: its fields by keyword, with *EventInformation* as a mapping of attributes by keyword. Or
columns of such rows."""

Type: TypeAlias = EventType | str | int | Any
"""An event type, its name or its ID, or a column of these."""

Sequences: TypeAlias = Mapping[str, tuple[Any, Callable[[Any], Item]]]
"""Sequences by keyword: their items or a column of these, and a function that makes an item."""


def is_column(value: object) -> bool:
    """Return whether a value is a column of values, not a single value."""
    iterable = hasattr(value, "__iter__") or _is_arrow(value)
    return iterable and not isinstance(value, str | bytes | Mapping)


def event(
    sop_class: SOPClass,
    event_type: Any,
    sop_instance_uid: Any,
    elements: Mapping[str, Any],
    sequences: Sequences,
) -> Event:
    """Return a row, or columns if the type, the SOP Instance UID or an element is a column.

    Parameters
    ----------
    sop_class : SOPClass
        The SOP Class.
    event_type : EventType, str or int, or a column of these
        The event type, its name or its ID.
    sop_instance_uid : str or column of str
        The SOP Instance UID.
    elements : Mapping[str, Any]
        Attributes with one value in each row, by keyword. ``None`` is an attribute that is absent.
    sequences : Mapping[str, tuple[Any, Callable]]
        Sequences by keyword: their items, and a function that makes an item.

    Raises
    ------
    EncodeError
        If a row lacks an attribute that the standard requires. Columns are not checked.
    """
    if any(map(is_column, (event_type, sop_instance_uid, *elements.values()))):
        return _columns(sop_class, event_type, sop_instance_uid, elements, sequences)
    class_uid = sop_class.affected_sop_class_uid
    type_id = event_type_id(sop_class, event_type)
    information = data_set(elements, sequences) or None
    check_event(class_uid, sop_instance_uid, type_id, information)
    return {
        "AffectedSOPClassUID": class_uid,
        "AffectedSOPInstanceUID": sop_instance_uid,
        "EventTypeID": type_id,
        "EventInformation": information,
    }


def data_set(elements: Mapping[str, Any], sequences: Sequences) -> dict[str, Any]:
    """Return a data set of the elements and sequences that are not None."""
    attributes = {keyword: value for keyword, value in elements.items() if value is not None}
    for keyword, (items, item) in sequences.items():
        if items is not None:
            attributes[keyword] = [item(one) for one in items]
    return attributes


def event_type_id(sop_class: SOPClass, event_type: EventType | str | int) -> int:
    """Return the ID of an event type of a SOP Class, from the event type, its name or its ID."""
    for one in sop_class.event_types:
        if event_type in (one, one.name, one.id):
            return one.id
    known = ", ".join(f"{one.id} {one.name!r}" for one in sop_class.event_types)
    raise ValueError(f"event type of {sop_class} must be one of {known}, not {event_type!r}")


def either(conditions: Any, one: EventType, other: EventType) -> Any:
    """Return a column of event type IDs: `one` where the condition is true, else `other`."""
    pa = arrow()
    if pa is None:
        return [one.id if holds else other.id for holds in conditions]
    ids = (pa.scalar(event_type.id, pa.uint16()) for event_type in (one, other))
    return pa.compute.if_else(conditions, *ids)


def arrow() -> Any:
    """Return pyarrow, or None where it is not installed."""
    try:
        import pyarrow
        import pyarrow.compute
    except ImportError:
        return None
    return pyarrow


def _columns(
    sop_class: SOPClass,
    event_type: Any,
    sop_instance_uid: Any,
    elements: Mapping[str, Any],
    sequences: Sequences,
) -> Event:
    if isinstance(event_type, list | tuple):
        event_type = [event_type_id(sop_class, one) for one in event_type]
    fields = {"event_type": event_type, "sop_instance_uid": sop_instance_uid}
    found = columns_of({**fields, **elements}, sequences)
    columns = {
        "AffectedSOPClassUID": sop_class.affected_sop_class_uid,
        "AffectedSOPInstanceUID": found.get("sop_instance_uid", sop_instance_uid),
        "EventTypeID": _event_type_ids(sop_class, found.get("event_type", event_type)),
    }
    information = data_sets(elements, sequences, found)
    if information is not None:
        columns["EventInformation"] = information
    return columns


def columns_of(values: Mapping[str, Any], sequences: Sequences) -> dict[str, Any]:
    """Return those of `values` that are columns, and all `sequences`, as arrays or lists."""
    pa = arrow()
    as_array = list if pa is None else _array
    columns = {name: as_array(value) for name, value in values.items() if is_column(value)}
    for keyword, (items, item) in sequences.items():
        if items is not None:
            columns[keyword] = _item_column(pa, keyword, items, item)
    return columns


def data_sets(elements: Mapping[str, Any], sequences: Sequences, columns: dict[str, Any]) -> Any:
    """Return a column of data sets: an Arrow array of structs, or a list of mappings.

    Parameters
    ----------
    elements : Mapping[str, Any]
        Attributes with one value in each row, by keyword.
    sequences : Mapping[str, tuple[Any, Callable]]
        Sequences by keyword.
    columns : dict[str, Any]
        The elements and sequences that are columns, by keyword.

    Returns
    -------
    pyarrow.StructArray, list of dict, or None
        ``None`` if there are no attributes.
    """
    pa = arrow()
    rows = common_length(columns)
    parts = {}
    for keyword in (*elements, *sequences):
        if keyword in columns:
            parts[keyword] = columns[keyword]
        elif elements.get(keyword) is not None:
            parts[keyword] = _repeated(pa, elements[keyword], rows)
    return _structs(pa, parts) if parts else None


def one_item_each(items: Any) -> Any:
    """Return a column of sequences with one item each."""
    pa = arrow()
    if pa is None:
        return [[item] for item in items]
    return pa.ListArray.from_arrays(pa.array(range(len(items) + 1), pa.int32()), items)


def common_length(columns: Mapping[str, Any]) -> int:
    """Return the number of values of each column."""
    (first, rows), *others = ((name, len(column)) for name, column in columns.items())
    for name, length in others:
        if length != rows:
            raise ValueError(
                f"columns must have the same length: {name} has {length} values, {first} has {rows}"
            )
    return rows


def _array(values: Any) -> Any:
    """Return a column as an Arrow array of one chunk."""
    import pyarrow as pa

    if isinstance(values, pa.Array):
        return values
    if hasattr(values, "__arrow_c_stream__"):
        # Many functions of pyarrow do not support string views.
        chunks = pa.chunked_array(values)
        if pa.types.is_string_view(chunks.type):
            chunks = chunks.cast(pa.string())
        return pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)
    is_array = hasattr(values, "__arrow_c_array__") or hasattr(values, "__array__")
    return pa.array(values if is_array else list(values))


def _item_column(pa: Any, keyword: str, values: Any, item: Callable[[Any], Item]) -> Any:
    """Return a column of lists of items."""
    if pa is not None and _is_arrow(values):
        return _array(values)
    if isinstance(values, Mapping | str):
        raise TypeError(
            f"{keyword} must be a column of lists of items: other parameters are columns"
        )
    rows = [None if items is None else [item(one) for one in items] for items in values]
    return rows if pa is None else pa.array(rows)


def _is_arrow(values: object) -> bool:
    return hasattr(values, "__arrow_c_array__") or hasattr(values, "__arrow_c_stream__")


def _repeated(pa: Any, value: Any, rows: int) -> Any:
    return [value] * rows if pa is None else pa.repeat(value, rows)


def _event_type_ids(sop_class: SOPClass, event_type: Any) -> Any:
    """Return a column of event type IDs, or one ID for all rows."""
    if not is_column(event_type):
        return event_type_id(sop_class, event_type)
    pa = arrow()
    if pa is None:
        return [event_type_id(sop_class, one) for one in event_type]
    known = (
        event_type if pa.types.is_dictionary(event_type.type) else event_type.dictionary_encode()
    )
    ids = [event_type_id(sop_class, one) for one in known.dictionary.to_pylist()]
    return pa.array(ids, pa.uint16()).take(known.indices)


def _structs(pa: Any, columns: Mapping[str, Any]) -> Any:
    """Return a column of data sets: an Arrow array of structs, or a list of mappings."""
    if pa is not None:
        return pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    rows: Iterable[Sequence[Any]] = zip(*columns.values(), strict=True)
    return [
        {keyword: value for keyword, value in zip(columns, row, strict=True) if value is not None}
        for row in rows
    ]
