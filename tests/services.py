"""The two services with a primitive: N-EVENT-REPORT and N-ACTION, ours and pynetdicom's."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import strategies as st
from pynetdicom import dimse_primitives

import fastdimse
from strategies import (
    ACTION_ATTRIBUTES,
    ACTION_ELEMENTS,
    ATTRIBUTES,
    ELEMENTS,
    action_rows,
    command_sets,
    rows,
)


@dataclass(frozen=True, repr=False)
class Service:
    """A service, its classes, and the names and values of its attributes.

    Attributes
    ----------
    ours, oracle : type
        The class of fastdimse, and that of pynetdicom.
    attributes : dict
        A strategy of values for each attribute.
    sop_class, sop_instance, type_id : str
        Attributes that a request needs, apart from the Message ID.
    information, reply : str
        Attributes of the data set of a request and of a response.
    elements : dict
        Element numbers of the command sets, with their VRs (PS3.7 E.1).
    command_fields : tuple of int
        Command Field of the request and of the response.
    rows, command_sets : SearchStrategy
        Requests and responses that can be encoded, and encoded command sets.
    """

    ours: Any
    oracle: Any
    attributes: dict[str, st.SearchStrategy[Any]]
    sop_class: str
    sop_instance: str
    type_id: str
    information: str
    reply: str
    elements: dict[int, bytes]
    command_fields: tuple[int, int]
    rows: st.SearchStrategy[dict[str, Any]]
    command_sets: st.SearchStrategy[bytes]

    def __repr__(self) -> str:
        return self.oracle.__name__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        # Hypothesis would print all strategies.
        printer.text(repr(self))

    @property
    def classes(self) -> tuple[type, type]:
        """Our class and pynetdicom's."""
        return self.ours, self.oracle

    @property
    def streams(self) -> tuple[str, str]:
        """The attributes with data sets."""
        return self.information, self.reply


def _service(name: str, noun: str, **values: Any) -> Service:
    return Service(
        ours=getattr(fastdimse, name),
        oracle=getattr(dimse_primitives, name),
        type_id=f"{noun}TypeID",
        information=f"{noun}Information",
        reply=f"{noun}Reply",
        **values,
    )


SERVICES = [
    _service(
        "N_EVENT_REPORT",
        "Event",
        attributes=ATTRIBUTES,
        sop_class="AffectedSOPClassUID",
        sop_instance="AffectedSOPInstanceUID",
        elements=ELEMENTS,
        command_fields=(0x0100, 0x8100),
        rows=rows,
        command_sets=command_sets(),
    ),
    _service(
        "N_ACTION",
        "Action",
        attributes=ACTION_ATTRIBUTES,
        sop_class="RequestedSOPClassUID",
        sop_instance="RequestedSOPInstanceUID",
        elements=ACTION_ELEMENTS,
        command_fields=(0x0130, 0x8130),
        rows=action_rows,
        command_sets=command_sets(ACTION_ELEMENTS, (0x0130, 0x8130)),
    ),
]
EACH_SERVICE = pytest.mark.parametrize("service", SERVICES, ids=str)
CLASSES = pytest.mark.parametrize(
    ("service", "cls"),
    [
        pytest.param(service, cls, id=f"{service}-{cls.__module__.partition('.')[0]}")
        for service in SERVICES
        for cls in service.classes
    ],
)
EACH_ATTRIBUTE = pytest.mark.parametrize(
    ("service", "name"),
    [
        pytest.param(service, name, id=f"{service}-{name}")
        for service in SERVICES
        for name in service.attributes
    ],
)
