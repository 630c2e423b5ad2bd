"""Replaces the classes `N_EVENT_REPORT` and `N_ACTION` in every module of pynetdicom."""

import sys
import threading
from types import ModuleType

from fastdimse._primitive import N_ACTION, N_EVENT_REPORT

from ._patches import Patches

# The classes that replace pynetdicom's, and the attribute with the data set of a message, which the
# request and the response share.
DATA_SETS: dict[type, str] = {
    N_EVENT_REPORT: "EventInformation",
    N_ACTION: "ActionInformation",
}


def _modules() -> list[ModuleType]:
    return [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "pynetdicom" and isinstance(module, ModuleType)
    ]


def _swap_class(old: type, new: type) -> None:
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is old:
                setattr(module, name, new)


def replace_classes(patches: Patches) -> None:
    """Replace the classes of N-EVENT-REPORT and N-ACTION primitives."""
    from pynetdicom import dimse_primitives, service_class

    # Imported here, so that it has the classes before they are replaced.
    del service_class
    for cls in DATA_SETS:
        _replace_class(patches, getattr(dimse_primitives, cls.__name__), cls)


def _replace_class(patches: Patches, original: type, cls: type) -> None:
    from pynetdicom import association, dimse, dimse_messages

    reactor = association.Association
    # On revert all modules are searched again: more of them can be imported by then.
    patches.on_revert(lambda: _swap_class(cls, original))
    _swap_class(original, cls)
    patches.item(dimse_messages._MSG_TO_PRIMITVE, cls.__name__, cls)
    # The original class stays in the tables: a program may have instances of it.
    tables = (dimse._RQ_TO_MESSAGE, dimse._RSP_TO_MESSAGE)
    for table in tables:
        table[cls] = table[original]

    def remove_from_tables() -> None:
        # An association that is still open may be about to send an instance of our class.
        if not any(isinstance(thread, reactor) for thread in threading.enumerate()):
            for table in tables:
                table.pop(cls, None)

    patches.on_revert(remove_from_tables)
