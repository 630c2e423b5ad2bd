"""Events of storage commitment (PS3.4 J)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import repeat
from typing import Any, TypeAlias

from ._event import (
    Event,
    Item,
    Sequences,
    arrow,
    columns_of,
    common_length,
    either,
    event,
    is_column,
)
from ._table import SOP_CLASSES

_COMMITMENT = next(one for one in SOP_CLASSES if one.table == "J.3-2")
_SUCCESSFUL, _FAILURES_EXIST = _COMMITMENT.event_types

Reference: TypeAlias = tuple[str, str] | Mapping[str, Any]
"""An instance: its SOP Class UID and SOP Instance UID, or a mapping of the item's attributes."""

Failure: TypeAlias = tuple[str, str, int] | Mapping[str, Any]
"""The same with a Failure Reason (PS3.3 C.14.1.1)."""

_KEYWORDS = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "FailureReason")


def _item(given: Reference | Failure, names: tuple[str, ...]) -> Item:
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, str) or len(given) != len(names):
        raise ValueError(f"{given!r} must be ({', '.join(names)})")
    return dict(zip(_KEYWORDS, given, strict=False))


_reference = partial(_item, names=("SOP Class UID", "SOP Instance UID"))
_failure = partial(_item, names=("SOP Class UID", "SOP Instance UID", "Failure Reason"))


def storage_commitment(
    transaction_uid: str | Any,
    committed: Iterable[Reference] | Any = (),
    failed: Iterable[Failure] | Any = (),
    *,
    retrieve_ae_title: str | Any = None,
    storage_media_file_set_id: str | Any = None,
    storage_media_file_set_uid: str | Any = None,
) -> Event:
    """Return the report of a storage commitment (PS3.4 J.3.3).

    Its event type is 1 where all was committed, 2 where something failed.

    Parameters
    ----------
    transaction_uid : str
        The transaction that asked for it.
    committed : iterable of tuple or mapping, optional
        What was committed: SOP Class UID and SOP Instance UID, or a mapping where the item
        has more.
    failed : iterable of tuple or mapping, optional
        What was not: SOP Class UID, SOP Instance UID and Failure Reason (PS3.3 C.14.1.1), for
        example ``0x0112``.
    retrieve_ae_title : str, optional
        From whom all of it can be had; where that differs, the items have it.
    storage_media_file_set_id, storage_media_file_set_uid : str, optional
        On what medium it is.

    Returns
    -------
    dict
        A row; columns where *transaction_uid* is a column. Then *committed* and *failed* are
        columns too, of what they are in a row, or Arrow lists of structs.

    Raises
    ------
    EncodeError
        If an attribute is missing that the standard asks for, or stands in two places. Columns
        are not looked through: ``validate_events(columns, check="standard")`` does that.

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
        # A sequence without an item is not there.
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
    """Return a column of items, or None where it was left out."""
    return None if column is None or (isinstance(column, tuple) and not column) else column


def _event_types(failed: Any) -> Any:
    """Return the event type of each report, by whether something failed."""
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
    """Return the column with null where a row has no items: the sequence is not there then."""
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
    """Return reports of storage commitments from a flat table, a row for each instance.

    The instances of a transaction make one report, wherever they stand; reports and their
    items are in the order of their first rows.

    Parameters
    ----------
    transaction_uid : column of str
        The transaction of each instance.
    sop_class_uid : column of str, or str
        Its SOP Class.
    sop_instance_uid : column of str
        The instance.
    failure_reason : column of int, optional
        Why it could not be committed, ``None`` where it was.
    retrieve_ae_title, storage_media_file_set_id, storage_media_file_set_uid : str, optional
        As of :func:`storage_commitment`, of all reports.

    Returns
    -------
    dict
        Columns with a row for each transaction.

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
        # Its values need not be in the order of the rows.
        transactions = transactions.dictionary_decode()
    transactions = transactions.dictionary_encode(null_encoding="encode")
    table = pa.table({"report": transactions.indices, **columns})
    # The sort is stable.
    table = table.take(pa.compute.sort_indices(table["report"]))
    failed = pa.compute.is_valid(table["FailureReason"])
    reports = len(transactions.dictionary)
    return (
        transactions.dictionary,
        _lists(table.filter(pa.compute.invert(failed)), _KEYWORDS[:2], reports),
        _lists(table.filter(failed), _KEYWORDS, reports),
    )


def _lists(items: Any, keywords: tuple[str, ...], reports: int) -> Any:
    """Return the items of each report, or None where no report has one."""
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
