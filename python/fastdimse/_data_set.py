"""Data sets of pydicom and of the DICOM JSON model as mappings of attributes.

The keys of a mapping are keywords, or tag and VR for attributes without a keyword. Sequences and
multiple values are lists. Items of sequences are not converted: the extension, which imports this
module when it meets such a data set, calls it again for each item and so limits the depth.
"""

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from fastdimse._pydicom import load as load_pydicom

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IMPLICIT_VR = "1.2.840.10008.1.2"


def of_dataset(dataset: Any) -> dict[str, Any]:
    """Return a ``pydicom.Dataset`` as a mapping of attributes."""
    return {_name(element): _of_element(element) for element in dataset}


def read(stream: BinaryIO, transfer_syntax: str) -> "Dataset":
    """Return an encoded data set as a ``pydicom.Dataset``."""
    load_pydicom()
    from pydicom.filereader import read_dataset

    return read_dataset(stream, transfer_syntax == IMPLICIT_VR, True)


def attributes(dataset: "Dataset") -> dict[str, Any]:
    """Return a ``pydicom.Dataset`` as a mapping of attributes, its items included."""
    found = of_dataset(dataset)
    for element in dataset:
        if element.VR == "SQ":
            found[_name(element)] = [attributes(item) for item in element.value]
    return found


def _name(element: Any) -> str:
    if element.keyword and not element.tag.is_private:
        return str(element.keyword)
    return f"{element.tag:08X}:{element.VR}"


def _of_element(element: Any) -> Any:
    value = element.value
    if element.VR == "SQ":
        return list(value)
    if value is None or value == "":
        return [] if element.VR not in _TEXTS else ""
    if element.VM > 1 and not isinstance(value, bytes):
        return [_of_value(element.VR, one) for one in value]
    return _of_value(element.VR, value)


_TEXTS = {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT"}
_TEXTS |= {"PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


def _of_value(vr: str, value: Any) -> Any:
    if vr == "AT":
        return f"{int(value):08X}"
    if isinstance(value, bytes):
        return value
    return str(value) if vr in _TEXTS else value


def of_json_model(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of the DICOM JSON model (PS3.18 F.2) as a mapping of attributes."""
    return {f"{tag}:{_vr(tag, one)}": _of_attribute(tag, one) for tag, one in attributes.items()}


def _vr(tag: str, attribute: Mapping[str, Any]) -> str:
    vr = attribute.get("vr") if isinstance(attribute, Mapping) else None
    if not isinstance(vr, str):
        raise TypeError(
            f"{tag}: an attribute of the DICOM JSON model must have a 'vr' (PS3.18 F.2.2)"
        )
    return vr


def _of_attribute(tag: str, attribute: Mapping[str, Any]) -> Any:
    vr = attribute["vr"]
    if "BulkDataURI" in attribute:
        raise ValueError(f"{tag}: BulkDataURI is not supported: use InlineBinary")
    if "InlineBinary" in attribute:
        return base64.b64decode(attribute["InlineBinary"], validate=True)
    values = attribute.get("Value", [])
    if vr == "PN":
        return [_of_person_name(name) for name in values]
    # Null is an empty value (PS3.18 F.2.5).
    return list(values)


def _of_person_name(name: Mapping[str, str] | str | None) -> str | None:
    if name is None or isinstance(name, str):
        return name
    groups = [name.get(group, "") for group in _GROUPS]
    return "=".join(groups).rstrip("=")


_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
