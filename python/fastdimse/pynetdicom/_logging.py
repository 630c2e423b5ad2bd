"""Replaces the handlers of pynetdicom that log N-EVENT-REPORT and N-ACTION messages."""

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

    # Elements whose absence or lack of a value the handlers log.
    logged = {
        dimse_messages.N_EVENT_REPORT_RQ: (
            "MessageID",
            "AffectedSOPClassUID",
            "AffectedSOPInstanceUID",
            "EventTypeID",
        ),
        dimse_messages.N_ACTION_RQ: (
            "MessageID",
            "RequestedSOPClassUID",
            "RequestedSOPInstanceUID",
            "ActionTypeID",
        ),
        dimse_messages.N_EVENT_REPORT_RSP: ("Status", "AffectedSOPClassUID"),
        dimse_messages.N_ACTION_RSP: ("Status", "AffectedSOPClassUID"),
    }

    def is_complete(message: Any) -> bool:
        """Return whether a message has all elements that a handler logs."""
        encoded = unread_command_set(message)
        read = None if encoded is None else read_message(encoded.command_set)
        if read is None:
            return False
        found = [getattr(read[0], keyword) for keyword in logged[type(message)]]
        return None not in found and "" not in found

    for message in logged:
        for direction in ("recv", "send"):
            name = f"_{direction}_{message.__name__.lower()}"
            _replace_handler(patches, _handlers, name, is_complete)


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
