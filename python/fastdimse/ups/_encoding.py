"""Encoded matching keys.

fastdimse encodes only values that conform to their VR. Wild cards and ranges do not: ``CT*`` is not
a CS, and ``20200101-`` is not a DA (PS3.4 C.2.2.2). pydicom encodes them.
"""

from collections.abc import Mapping
from typing import Any

from fastdimse._pydicom import load as load_pydicom


def encode_keys(attributes: Mapping[str, Any], transfer_syntax: str) -> bytes:
    """Return the data set of attributes of which some are matching keys.

    Parameters
    ----------
    attributes : Mapping
        The attributes by keyword. A sequence is a list of such mappings.
    transfer_syntax : str
        UID of Implicit or Explicit VR Little Endian.

    Raises
    ------
    ValueError
        If a keyword is not in the dictionary, or a value cannot be encoded.
    """
    load_pydicom()
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset
    from pydicom.uid import UID

    uid = UID(transfer_syntax)
    data_set = _data_set(attributes)
    if not _is_ascii(attributes):
        data_set.SpecificCharacterSet = "ISO_IR 192"
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = uid.is_implicit_VR, uid.is_little_endian
    try:
        write_dataset(file, data_set)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"the matching keys cannot be encoded: {error}") from error
    return bytes(file.getvalue())


def _data_set(attributes: Mapping[str, Any]) -> Any:
    from pydicom.config import IGNORE
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    data_set = Dataset()
    for keyword, value in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(f"{keyword} is not the keyword of an attribute (PS3.6)")
        vr = dictionary_VR(tag)
        if vr == "SQ":
            value = [_data_set(item) for item in value or []]
        data_set.add(DataElement(tag, vr, value, validation_mode=IGNORE))
    return data_set


def _is_ascii(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_ascii, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_ascii, value))
    return not isinstance(value, str) or value.isascii()
