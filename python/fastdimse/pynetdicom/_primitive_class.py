"""The class in every module of pynetdicom."""

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
    from pynetdicom import association, dimse, dimse_messages, dimse_primitives, service_class

    # Imported, so that they have it before it is replaced.
    del service_class
    reactor = association.Association
    theirs = dimse_primitives.N_EVENT_REPORT
    # Looked for again when it is undone: modules may have been imported in between.
    patches.call(lambda: _swap_class(N_EVENT_REPORT, theirs))
    _swap_class(theirs, N_EVENT_REPORT)
    patches.item(dimse_messages._MSG_TO_PRIMITVE, "N_EVENT_REPORT", N_EVENT_REPORT)
    # Their class keeps its place: a program may have instances of it.
    both = (dimse._RQ_TO_MESSAGE, dimse._RSP_TO_MESSAGE)
    for messages in both:
        messages[N_EVENT_REPORT] = messages[theirs]

    def forget() -> None:
        # An association that lives on may be about to send one of ours.
        if not any(isinstance(thread, reactor) for thread in threading.enumerate()):
            for messages in both:
                messages.pop(N_EVENT_REPORT, None)

    patches.call(forget)
