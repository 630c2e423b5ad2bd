"""Attributes of a data set as values that JSON can represent."""

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, TypeAlias

from fastdimse._data_set import of_dataset
from fastdimse._pydicom import load as load_pydicom

Attributes: TypeAlias = dict[str, Any]
"""Values by keyword: text, numbers, lists of these, or lists of items."""

IMPLICIT_VR = "1.2.840.10008.1.2"


def attributes_of(data_set: Any) -> Attributes:
    """Return the attributes of a data set.

    Parameters
    ----------
    data_set : Mapping or pydicom.Dataset
        Attributes by keyword, in which a sequence is a list of such data sets.

    Returns
    -------
    dict
        The attributes. Values that are bytes are left out: no matching key has them.

    Raises
    ------
    TypeError
        If `data_set` is neither a mapping nor a pydicom data set.
    """
    if isinstance(data_set, Mapping):
        items: Iterable[tuple[str, Any]] = data_set.items()
    elif hasattr(data_set, "to_json_dict"):
        items = of_dataset(data_set).items()
    else:
        raise TypeError(
            f"attributes must be a mapping or a pydicom Dataset, not {type(data_set).__name__}"
        )
    return {str(keyword): _value(value) for keyword, value in items if _is_kept(value)}


def _is_kept(value: Any) -> bool:
    return value is not None and not isinstance(value, bytes | bytearray | memoryview)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) or hasattr(value, "to_json_dict"):
        return attributes_of(value)
    if isinstance(value, Iterable):
        return [_value(one) for one in value if _is_kept(one)]
    return str(value)


def decoded(encoded: Any, transfer_syntax: str = IMPLICIT_VR) -> Attributes:
    """Return the attributes of an encoded data set.

    Parameters
    ----------
    encoded : bytes or BytesIO
        The data set.
    transfer_syntax : str, default "1.2.840.10008.1.2"
        UID of its transfer syntax.
    """
    load_pydicom()
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    uid = UID(transfer_syntax)
    stream = BytesIO(bytes(encoded.getvalue() if hasattr(encoded, "getvalue") else encoded))
    return attributes_of(read_dataset(stream, uid.is_implicit_VR, uid.is_little_endian))
