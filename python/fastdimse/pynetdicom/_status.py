"""Replaces how the status of a response becomes a data set: its values were checked already."""

from __future__ import annotations

from typing import Any

from fastdimse._primitive import N_EVENT_REPORT

from ._patches import Patches


def replace_status(patches: Patches) -> None:
    """Replace the method of an association that makes the data set of a status."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag
    from pydicom.uid import UID
    from pynetdicom import association

    def column(keyword: str) -> tuple[str, Any, str]:
        number = tag_for_keyword(keyword)
        assert number is not None
        return keyword, Tag(number), dictionary_VR(number)

    copied = [column(keyword) for keyword in _COPIED]
    others = set(N_EVENT_REPORT.STATUS_OPTIONAL_KEYWORDS).difference(_COPIED)

    def is_plain(response: Any) -> bool:
        """Return whether pydicom neither warns about a value of the status nor changes it."""
        if type(response) is not N_EVENT_REPORT or not response.is_valid_response:
            return False
        values = [getattr(response, keyword) for keyword in _COPIED]
        return all(not isinstance(value, UID) or value.is_valid for value in values) and all(
            getattr(response, keyword, None) is None for keyword in others
        )

    def new_check_received_status(self: Any, rsp: Any) -> Any:
        if not is_plain(rsp):
            return check_received_status(self, rsp)
        status = Dataset()
        for keyword, tag, vr in copied:
            value = getattr(rsp, keyword)
            if value is not None:
                status[tag] = DataElement(tag, vr, value, already_converted=True)
        return status

    check_received_status = patches.attribute(
        association.Association, "_check_received_status", new_check_received_status
    )


# Elements of the status of an event.
_COPIED = ("Status", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID")
