"""Data sets as objects of the DICOM JSON model."""

import json
from io import BytesIO

from .errors import InputError
from .options import IMPLICIT_VR


def to_dicom_json(data_set: bytes, transfer_syntax: str | None) -> str:
    """Return an encoded data set as an object of the DICOM JSON model (PS3.18 F.2)."""
    try:
        from pydicom.filereader import read_dataset
    except ImportError as error:
        raise InputError("--data-sets dicom-json needs pydicom: pip install pydicom") from error
    implicit = transfer_syntax in (None, IMPLICIT_VR)
    dataset = read_dataset(BytesIO(data_set), implicit, is_little_endian=True)
    return json.dumps(dataset.to_json_dict())
