"""Events and actions as the command line shows and filters them: with their peers and content."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from fastdimse import CapturedActions, CapturedEvents, DecodedEvents

from .event_content import with_content
from .event_names import with_peers
from .options import IMPLICIT_VR

ACTION = "IsAction"
"""The column that marks actions among events."""

_OF_EVENTS = {
    "RequestedSOPClassUID": "AffectedSOPClassUID",
    "RequestedSOPInstanceUID": "AffectedSOPInstanceUID",
    "ActionTypeID": "EventTypeID",
    "ActionInformation": "EventInformation",
    "ActionReply": "EventReply",
}


def event_rows(decoded: CapturedEvents | DecodedEvents, transfer_syntax: str | None) -> list[Any]:
    """Return the events of a batch and, of a capture, its actions, each with its details.

    Parameters
    ----------
    decoded : CapturedEvents or DecodedEvents
        The batch.
    transfer_syntax : str, optional
        The transfer syntax of the data sets of a stream.
    """
    tables = [_marked(pa.table(decoded), is_action=False)]
    syntax: str | None = transfer_syntax or IMPLICIT_VR
    if isinstance(decoded, CapturedEvents):
        syntax = None
        tables.append(_marked(_action_rows(decoded.actions), is_action=True))
    return [with_content(with_peers(one), syntax) for one in tables]


def in_order(tables: Sequence[Any]) -> Any:
    """Return tables as one, in the order of time if they have times."""
    both = pa.concat_tables(tables)
    if len(tables) == 1 or "Time" not in both.column_names:
        return both
    return both.sort_by([("Time", "ascending"), ("Frame", "ascending")])


def _marked(events: Any, *, is_action: bool) -> Any:
    return events.append_column(ACTION, pa.array([is_action] * events.num_rows, pa.bool_()))


def _action_rows(actions: CapturedActions) -> Any:
    """Return actions in the columns of events with the same meaning."""
    table = pa.table(actions)
    return table.rename_columns([_OF_EVENTS.get(name, name) for name in table.column_names])
