"""Replaces the handlers of pynetdicom that log N-EVENT-REPORT messages."""

import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from fastdimse._core import read_message

from ._messages import unread_command_set
from ._patches import Patches


def replace_logging(patches: Patches) -> None:
    """Let the handlers read messages only if the logger is at DEBUG."""
    from pynetdicom import _handlers, dimse_messages

    requests = dimse_messages.N_EVENT_REPORT_RQ

    def is_complete(message: Any) -> bool:
        """Return whether a message has all elements that a handler logs."""
        encoded = unread_command_set(message)
        read = None if encoded is None else read_message(encoded.command_set)
        if read is None:
            return False
        event = read[0]
        found = [event.MessageID if type(message) is requests else event.Status]
        found += [event.EventTypeID, event.AffectedSOPClassUID, event.AffectedSOPInstanceUID]
        return None not in found and "" not in found

    for name in ("recv_n_event_report_rq", "recv_n_event_report_rsp"):
        _replace_handler(patches, _handlers, f"_{name}", is_complete)
        _replace_handler(patches, _handlers, f"_{name.replace('recv', 'send')}", is_complete)


def _replace_handler(
    patches: Patches, handlers: ModuleType, name: str, is_complete: Callable[[Any], bool]
) -> None:
    """Call a handler only if the logger is at DEBUG, or the message is incomplete.

    The handler logs missing elements at any level.
    """
    handler = getattr(handlers, name)
    logger = handlers.LOGGER

    def handle(event: Any) -> list[str]:
        if logger.isEnabledFor(logging.DEBUG) or not is_complete(event.message):
            lines: list[str] = handler(event)
            return lines
        return []

    patches.attribute(handlers, name, handle)
