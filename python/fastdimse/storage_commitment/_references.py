"""References to instances, from tables, data sets, and DICOM files."""

import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# Component rules of PS3.5 9.1 are not checked: the peer must receive the UID of the instance.
_UID = re.compile(r"[0-9.]{1,64}")
# A DICOMDIR lists instances of a medium, and is not one that a peer can commit.
_MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
_TAGS = ["SOPClassUID", "SOPInstanceUID"]

SOP_CLASS, SOP_INSTANCE = "ReferencedSOPClassUID", "ReferencedSOPInstanceUID"


class Reference(NamedTuple):
    """A reference to an instance.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
        The SOP Class UID and the SOP Instance UID.
    file : str or None
        The file from which the reference was read.
    """

    sop_class_uid: str
    sop_instance_uid: str
    file: str | None = None


class References(NamedTuple):
    """References to instances, without duplicates.

    Attributes
    ----------
    references : list of Reference
        The references, in the order of the input.
    unreadable : dict of str to str
        Files that are not DICOM instances, with the reason.
    """

    references: list[Reference]
    unreadable: dict[str, str]


def read_references(instances: Any) -> References:
    """Return references to instances.

    Parameters
    ----------
    instances : path, iterable, mapping of columns, or Arrow table
        A DICOM file, or a folder of such files; or an iterable of these, of pydicom data sets, of
        pairs of SOP Class UID and SOP Instance UID, or of mappings with a row; or a table. Rows and
        tables have *ReferencedSOPClassUID* and *ReferencedSOPInstanceUID*, or *SOPClassUID* and
        *SOPInstanceUID*.

    Returns
    -------
    References
        The references, and the files that cannot be read.

    Raises
    ------
    FileNotFoundError
        If a path does not exist.
    TypeError
        If an element is none of these.
    ValueError
        If a column is missing, or a UID is not 1 to 64 digits and full stops.

    Examples
    --------
    >>> from fastdimse.storage_commitment import read_references
    >>> found = read_references({"SOPClassUID": ["1.2.3"], "SOPInstanceUID": ["1.2.3.4"]})
    >>> found.references[0].sop_instance_uid
    '1.2.3.4'
    """
    unreadable: dict[str, str] = {}
    found: dict[tuple[str, str], Reference] = {}
    for row, reference in enumerate(_rows(instances, unreadable)):
        for name, value in zip(_TAGS, reference[:2], strict=True):
            if not _UID.fullmatch(value):
                where = reference.file or f"row {row}"
                raise ValueError(
                    f"{where}: {name} must be 1 to 64 digits and full stops, not {value!r}"
                )
        found.setdefault(reference[:2], reference)
    return References(list(found.values()), unreadable)


def _rows(instances: Any, unreadable: dict[str, str]) -> Iterator[Reference]:
    if isinstance(instances, (str, os.PathLike)):
        yield from _of_path(Path(instances), unreadable)
    elif isinstance(instances, Mapping):
        yield from _of_columns(instances)
    elif hasattr(instances, "__arrow_c_stream__"):
        yield from _of_columns(_arrow_columns(instances))
    elif isinstance(instances, Iterable):
        for element in instances:
            yield from _of_element(element, unreadable)
    else:
        raise TypeError(
            "instances must be a path, a table, a mapping of columns, or an iterable, not "
            f"{type(instances).__name__}"
        )


def _arrow_columns(table: Any) -> dict[str, Any]:
    import pyarrow as pa

    return dict(pa.table(table).select([*_names(pa.table(table).column_names)]).to_pydict())


def _names(columns: Iterable[str]) -> tuple[str, str]:
    """Return the names of the two columns of a table."""
    given = set(columns)
    for names in ((SOP_CLASS, SOP_INSTANCE), (_TAGS[0], _TAGS[1])):
        if given.issuperset(names):
            return names
    raise ValueError(
        f"instances must have the columns {SOP_CLASS} and {SOP_INSTANCE}, or SOPClassUID and "
        "SOPInstanceUID"
    )


def _of_columns(columns: Mapping[str, Any]) -> Iterator[Reference]:
    names = _names(columns)
    lists: list[list[Any] | None] = []
    for name in names:
        column = columns[name]
        if isinstance(column, str):
            lists.append(None)
        elif hasattr(column, "to_pylist"):
            lists.append(column.to_pylist())
        elif hasattr(column, "tolist"):
            lists.append(column.tolist())
        else:
            lists.append(list(column))
    lengths = {len(values) for values in lists if values is not None}
    if len(lengths) > 1:
        raise ValueError(f"{names[0]} and {names[1]} must have the same length, not {lengths}")
    rows = lengths.pop() if lengths else 1
    classes, uids = (
        [columns[name]] * rows if values is None else values
        for name, values in zip(names, lists, strict=True)
    )
    for row, pair in enumerate(zip(classes, uids, strict=True)):
        if None in pair:
            raise ValueError(f"row {row}: {names[pair.index(None)]} is null")
        yield Reference(str(pair[0]), str(pair[1]))


def _of_element(element: Any, unreadable: dict[str, str]) -> Iterator[Reference]:
    if isinstance(element, Reference):
        yield element
    elif isinstance(element, (str, os.PathLike)):
        yield from _of_path(Path(element), unreadable)
    elif isinstance(element, Mapping):
        names = _names(element)
        yield Reference(str(element[names[0]]), str(element[names[1]]))
    elif isinstance(element, (tuple, list)) and len(element) == 2:
        yield Reference(str(element[0]), str(element[1]))
    elif hasattr(element, "SOPInstanceUID") and hasattr(element, "SOPClassUID"):
        yield Reference(str(element.SOPClassUID), str(element.SOPInstanceUID))
    elif hasattr(element, SOP_INSTANCE) and hasattr(element, SOP_CLASS):
        yield Reference(str(element.ReferencedSOPClassUID), str(element.ReferencedSOPInstanceUID))
    else:
        raise TypeError(
            "an instance must be a path, a data set, a row, or a pair of SOP Class UID and SOP "
            f"Instance UID, not {element!r}"
        )


def _of_path(path: Path, unreadable: dict[str, str]) -> Iterator[Reference]:
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                yield from _of_file(Path(folder, name), unreadable)
    elif path.exists():
        yield from _of_file(path, unreadable)
    else:
        raise FileNotFoundError(2, os.strerror(2), str(path))


def _of_file(path: Path, unreadable: dict[str, str]) -> Iterator[Reference]:
    """Yield the reference to the instance of a file, or record why it has none."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        with warnings.catch_warnings():
            # Warnings about values that are not read here.
            warnings.simplefilter("ignore")
            read: Any = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        sop_class = read.get("SOPClassUID") or read.file_meta.get("MediaStorageSOPClassUID")
        instance = read.get("SOPInstanceUID") or read.file_meta.get("MediaStorageSOPInstanceUID")
    except InvalidDicomError:
        unreadable[str(path)] = "not a DICOM file"
        return
    except Exception as error:
        # pydicom raises errors of many types for invalid files.
        unreadable[str(path)] = f"{type(error).__name__}: {str(error).partition('.')[0]}"
        return
    reference = Reference(str(sop_class or ""), str(instance or ""), str(path))
    if sop_class == _MEDIA_STORAGE_DIRECTORY:
        unreadable[str(path)] = "a DICOMDIR, which is not an instance to commit"
    elif not all(_UID.fullmatch(uid) for uid in reference[:2]):
        unreadable[str(path)] = "no valid SOP Class UID and SOP Instance UID"
    else:
        yield reference
