"""pynetdicom's own logging handlers."""

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastdimse._core import read_message

from ._messages import held_by
from ._patches import Patches


def replace_logging(patches: Patches) -> None:
    from pynetdicom import _handlers, dimse_messages

    requests = dimse_messages.N_EVENT_REPORT_RQ

    def is_whole(message: Any) -> bool:
        """Return whether a logging handler would find all that it writes."""
        held = held_by(message)
        read = None if held is None else read_message(held.command_set)
        if read is None:
            return False
        event = read[0]
        found = [event.MessageID if type(message) is requests else event.Status]
        found += [event.EventTypeID, event.AffectedSOPClassUID, event.AffectedSOPInstanceUID]
        return None not in found and "" not in found

    for name in ("recv_n_event_report_rq", "recv_n_event_report_rsp"):
        _quiet(patches, _handlers, f"_{name}", is_whole)
        _quiet(patches, _handlers, f"_{name.replace('recv', 'send')}", is_whole)


def _quiet(
    patches: Patches, handlers: ModuleType, name: str, is_whole: Callable[[Any], bool]
) -> None:
    """Let a logging handler that writes only at DEBUG look at a message only then.

    What it can't find in a message is logged at every level.
    """
    handler = getattr(handlers, name)
    logger = handlers.LOGGER

    def when_debugging(event: Any) -> list[str]:
        if logger.isEnabledFor(logging.DEBUG) or not is_whole(event.message):
            lines: list[str] = handler(event)
            return lines
        return []

    patches.attribute(handlers, name, when_debugging)
