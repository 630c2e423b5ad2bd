"""Events of storage commitment (PS3.4 J)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any, TypeAlias

from ._event import (
    Event,
    Sequences,
    arrow,
    columns_of,
    common_length,
    either,
    event,
    is_column,
)
from ._items import item_from
from ._table import sop_classes_in_table

(_COMMITMENT,) = sop_classes_in_table("J.3-2")
_SUCCESSFUL, _FAILURES_EXIST = _COMMITMENT.event_types

Reference: TypeAlias = tuple[str, str] | Mapping[str, Any]
"""SOP Class UID and SOP Instance UID of an instance, or a mapping of the item's attributes."""

Failure: TypeAlias = tuple[str, str, int] | Mapping[str, Any]
"""A reference with a Failure Reason (PS3.3 C.14.1.1)."""

_KEYWORDS = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "FailureReason")
_reference = item_from(*_KEYWORDS[:2])
_failure = item_from(*_KEYWORDS)


def storage_commitment(
    transaction_uid: str | Any,
    committed: Iterable[Reference] | Any = (),
    failed: Iterable[Failure] | Any = (),
    *,
    retrieve_ae_title: str | Any = None,
    storage_media_file_set_id: str | Any = None,
    storage_media_file_set_uid: str | Any = None,
) -> Event:
    """Return the event that reports the result of a storage commitment request (PS3.4 J.3.3).

    The Event Type ID is 1 if all instances are committed, and 2 if some are not.

    Parameters
    ----------
    transaction_uid : str or column of str
        Transaction UID of the request.
    committed : iterable of tuple or mapping, or column of these, optional
        Committed instances: (SOP Class UID, SOP Instance UID), or a mapping for an item with
        further attributes.
    failed : iterable of tuple or mapping, or column of these, optional
        Instances that are not committed: (SOP Class UID, SOP Instance UID, Failure Reason), for
        example with the Failure Reason ``0x0112`` (PS3.3 C.14.1.1), or a mapping.
    retrieve_ae_title : str or column of str, optional
        AE title from which all instances can be retrieved. If it differs between instances, it
        must be an attribute of the items.
    storage_media_file_set_id : str or column of str, optional
        File-set ID of the storage medium of the instances.
    storage_media_file_set_uid : str or column of str, optional
        File-set UID of the storage medium of the instances.

    Returns
    -------
    dict
        A row, or columns if `transaction_uid` is a column. In columns, `committed` and `failed`
        must be columns too, of lists of items or of Arrow lists of structs.

    Raises
    ------
    EncodeError
        If a row lacks an attribute that the standard requires, or has it both for the event and in
        the items. Columns are not checked: use ``validate_events(columns, check="standard")``.
    TypeError
        If `committed` or `failed` is not a column, but `transaction_uid` is.
    ValueError
        If an item has too few or too many values, or the columns have different lengths.

    Examples
    --------
    >>> from fastdimse import events
    >>> ct = "1.2.840.10008.5.1.4.1.1.2"
    >>> row = events.storage_commitment("1.2.3", [(ct, "1.2.4")], [(ct, "1.2.5", 0x0112)])
    >>> row["EventTypeID"], row["AffectedSOPInstanceUID"]
    (2, '1.2.840.10008.1.20.1.1')
    >>> row["EventInformation"]["FailedSOPSequence"][0]["FailureReason"]
    274
    """
    elements = {
        "TransactionUID": transaction_uid,
        "RetrieveAETitle": retrieve_ae_title,
        "StorageMediaFileSetID": storage_media_file_set_id,
        "StorageMediaFileSetUID": storage_media_file_set_uid,
    }
    if not is_column(transaction_uid):
        committed, failed = list(committed), list(failed)
        event_type: Any = _FAILURES_EXIST if failed else _SUCCESSFUL
        # A sequence without items is left out.
        sequences: Sequences = {
            "ReferencedSOPSequence": (committed or None, _reference),
            "FailedSOPSequence": (failed or None, _failure),
        }
    else:
        given = {
            "ReferencedSOPSequence": (_given(committed), _reference),
            "FailedSOPSequence": (_given(failed), _failure),
        }
        columns = columns_of({"transaction_uid": transaction_uid}, given)
        transactions = columns.pop("transaction_uid")
        elements["TransactionUID"] = transactions
        event_type = _event_types(columns.get("FailedSOPSequence"))
        sequences = {keyword: (_no_empty(lists), dict) for keyword, lists in columns.items()}
    instance = _COMMITMENT.well_known_instance
    return event(_COMMITMENT, event_type, instance, elements, sequences)


def _given(column: Any) -> Any:
    """Return a column of lists of items, or None if the parameter has its default value."""
    return None if column is None or (isinstance(column, tuple) and not column) else column


def _event_types(failed: Any) -> Any:
    """Return a column of event types: failures exist in rows with failed instances."""
    if failed is None:
        return _SUCCESSFUL.id
    pa = arrow()
    has_failed = list(map(bool, failed)) if pa is None else _has_items(pa, failed)
    return either(has_failed, _FAILURES_EXIST, _SUCCESSFUL)


def _has_items(pa: Any, lists: Any) -> Any:
    if pa.types.is_null(lists.type):
        return pa.repeat(False, len(lists))
    lengths = pa.compute.list_value_length(lists)
    return pa.compute.fill_null(pa.compute.greater(lengths, 0), False)


def _no_empty(lists: Any) -> Any:
    """Return a column with null in rows without items, whose sequence is left out."""
    pa = arrow()
    if pa is None:
        return [items or None for items in lists]
    if pa.types.is_null(lists.type):
        return lists
    return pa.compute.if_else(_has_items(pa, lists), lists, pa.scalar(None, lists.type))


def storage_commitment_table(
    transaction_uid: Any,
    sop_class_uid: Any,
    sop_instance_uid: Any,
    failure_reason: Any = None,
    *,
    retrieve_ae_title: str | None = None,
    storage_media_file_set_id: str | None = None,
    storage_media_file_set_uid: str | None = None,
) -> Event:
    """Return the events of storage commitment requests, from a table with a row for each instance.

    All instances of a transaction are in one event. Events are in the order of the first rows of
    their transactions, and items in the order of their rows.

    Parameters
    ----------
    transaction_uid : column of str
        Transaction UID of each instance.
    sop_class_uid : str or column of str
        SOP Class UID of each instance.
    sop_instance_uid : column of str
        SOP Instance UID of each instance.
    failure_reason : int or column of int, optional
        Failure Reason of each instance that is not committed, ``None`` for committed instances.
    retrieve_ae_title, storage_media_file_set_id, storage_media_file_set_uid : str, optional
        Same as for :func:`storage_commitment`, for all events.

    Returns
    -------
    dict
        Columns with a row for each transaction.

    Raises
    ------
    TypeError
        If `transaction_uid` or `sop_instance_uid` is not a column.
    ValueError
        If the columns have different lengths.

    Examples
    --------
    >>> from fastdimse import events
    >>> columns = events.storage_commitment_table(
    ...     ["1.2.3", "1.2.3", "1.2.4"],
    ...     "1.2.840.10008.5.1.4.1.1.2",
    ...     ["1.2.3.1", "1.2.3.2", "1.2.4.1"],
    ...     [None, 0x0112, None],
    ... )
    >>> columns["EventTypeID"].to_pylist()
    [2, 1]
    """
    values = (transaction_uid, sop_class_uid, sop_instance_uid, failure_reason)
    given = dict(zip(("transaction_uid", *_KEYWORDS), values, strict=True))
    columns = columns_of(given, {})
    for name in ("transaction_uid", "ReferencedSOPInstanceUID"):
        if name not in columns:
            raise TypeError(f"{name} must be a column, not {given[name]!r}")
    rows = common_length(columns)
    missing = {name: value for name, value in given.items() if name not in columns}
    grouped = _grouped_lists if arrow() is None else _grouped_arrays
    return storage_commitment(
        *grouped(columns, missing, rows),
        retrieve_ae_title=retrieve_ae_title,
        storage_media_file_set_id=storage_media_file_set_id,
        storage_media_file_set_uid=storage_media_file_set_uid,
    )


def _grouped_lists(columns: dict[str, Any], same: dict[str, Any], rows: int) -> tuple[Any, ...]:
    names = ("transaction_uid", *_KEYWORDS)
    values = (columns[name] if name in columns else repeat(same[name], rows) for name in names)
    reports: dict[str, tuple[list[Reference], list[Failure]]] = {}
    for transaction, sop_class, instance, reason in zip(*values, strict=True):
        committed, failed = reports.setdefault(transaction, ([], []))
        if reason is None:
            committed.append((sop_class, instance))
        else:
            failed.append((sop_class, instance, reason))
    items = reports.values()
    return list(reports), [committed for committed, _ in items], [failed for _, failed in items]


def _grouped_arrays(columns: dict[str, Any], same: dict[str, Any], rows: int) -> tuple[Any, ...]:
    pa = arrow()
    for name, value in same.items():
        columns[name] = pa.nulls(rows) if value is None else pa.repeat(value, rows)
    transactions = columns.pop("transaction_uid")
    if pa.types.is_dictionary(transactions.type):
        # The values of the dictionary can be in another order than the rows.
        transactions = transactions.dictionary_decode()
    transactions = transactions.dictionary_encode(null_encoding="encode")
    table = pa.table({"report": transactions.indices, **columns})
    # The sort is stable: items stay in the order of their rows.
    table = table.take(pa.compute.sort_indices(table["report"]))
    failed = pa.compute.is_valid(table["FailureReason"])
    reports = len(transactions.dictionary)
    return (
        transactions.dictionary,
        _lists(table.filter(pa.compute.invert(failed)), _KEYWORDS[:2], reports),
        _lists(table.filter(failed), _KEYWORDS, reports),
    )


def _lists(items: Any, keywords: tuple[str, ...], reports: int) -> Any:
    """Return a column of lists of items, one list for each report, or None without items."""
    if not len(items):
        return None
    pa = arrow()
    found = items["report"].combine_chunks().value_counts()
    places = pa.compute.index_in(pa.array(range(reports), pa.int32()), found.field("values"))
    counts = found.field("counts").take(places).fill_null(0)
    large = len(items) > 2**31 - 1
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pa.compute.cumulative_sum(counts)])
    columns = [items[keyword].combine_chunks() for keyword in keywords]
    return (pa.LargeListArray if large else pa.ListArray).from_arrays(
        offsets if large else offsets.cast(pa.int32()),
        pa.StructArray.from_arrays(columns, names=list(keywords)),
    )
