"""Replaces the class `N_EVENT_REPORT` in every module of pynetdicom."""

import sys
import threading
from types import ModuleType

from fastdimse._primitive import N_EVENT_REPORT

from ._patches import Patches


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


def replace_class(patches: Patches) -> None:
    """Replace the class of N-EVENT-REPORT primitives."""
    from pynetdicom import association, dimse, dimse_messages, dimse_primitives, service_class

    # Imported here, so that it has the class before the class is replaced.
    del service_class
    reactor = association.Association
    original = dimse_primitives.N_EVENT_REPORT
    # On revert all modules are searched again: more of them can be imported by then.
    patches.on_revert(lambda: _swap_class(N_EVENT_REPORT, original))
    _swap_class(original, N_EVENT_REPORT)
    patches.item(dimse_messages._MSG_TO_PRIMITVE, "N_EVENT_REPORT", N_EVENT_REPORT)
    # The original class stays in the tables: a program may have instances of it.
    tables = (dimse._RQ_TO_MESSAGE, dimse._RSP_TO_MESSAGE)
    for table in tables:
        table[N_EVENT_REPORT] = table[original]

    def remove_from_tables() -> None:
        # An association that is still open may be about to send an instance of our class.
        if not any(isinstance(thread, reactor) for thread in threading.enumerate()):
            for table in tables:
                table.pop(N_EVENT_REPORT, None)

    patches.on_revert(remove_from_tables)
