"""A lookup in Parquet files that list the instances of an archive."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._failure_reasons import CLASS_INSTANCE_CONFLICT, NO_SUCH_INSTANCE
from ._references import SOP_CLASS, SOP_INSTANCE


def index_lookup(
    path: str | os.PathLike[str],
    *,
    sop_instance_uid: str = "SOPInstanceUID",
    sop_class_uid: str = "SOPClassUID",
) -> Callable[[Mapping[str, Sequence[Any]]], list[int]]:
    """Return a lookup for :func:`provide` that reads the stored instances from Parquet files.

    The files are read at each call, so that changes take effect at once. Row groups that cannot
    contain the instances are skipped: sort the files by the SOP Instance UID. Replace a file by
    renaming the new one, because a file that is being written cannot be read. Needs pyarrow.

    Parameters
    ----------
    path : str or os.PathLike
        A Parquet file, or a folder of such files.
    sop_instance_uid, sop_class_uid : str, default "SOPInstanceUID", "SOPClassUID"
        Names of the columns.

    Returns
    -------
    callable
        The lookup. It returns 0 for an instance in the files, 0x0119 (*Class-instance conflict*)
        for one with another SOP class, and 0x0112 (*No such object instance*) for all others.

    Raises
    ------
    FileNotFoundError
        If the path does not exist.
    ValueError
        If a column is missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import pyarrow, pyarrow.parquet
    >>> from fastdimse.storage_commitment import index_lookup
    >>> path = Path(mkdtemp(), "index.parquet")
    >>> ct = "1.2.840.10008.5.1.4.1.1.2"
    >>> index = pyarrow.table({"SOPClassUID": [ct], "SOPInstanceUID": ["1.2.3.1"]})
    >>> pyarrow.parquet.write_table(index, path)
    >>> lookup = index_lookup(path)
    >>> lookup(
    ...     {
    ...         "ReferencedSOPClassUID": [ct, ct],
    ...         "ReferencedSOPInstanceUID": ["1.2.3.1", "1.2.3.2"],
    ...     }
    ... )
    [0, 274]
    """
    import pyarrow.dataset as ds

    name = os.fsdecode(path)
    if not os.path.exists(name):
        raise FileNotFoundError(2, os.strerror(2), name)
    columns = [sop_instance_uid, sop_class_uid]
    if missing := set(columns) - set(ds.dataset(name).schema.names):
        raise ValueError(f"{name}: no column {' and no column '.join(sorted(missing))}")

    def lookup(references: Mapping[str, Sequence[Any]]) -> list[int]:
        asked = list(references[SOP_INSTANCE])
        table = ds.dataset(name).to_table(
            columns=columns, filter=ds.field(sop_instance_uid).isin(asked)
        )
        stored = set(zip(*(table[column].to_pylist() for column in columns), strict=True))
        instances = {instance for instance, _ in stored}
        results = []
        for sop_class, instance in zip(references[SOP_CLASS], asked, strict=True):
            if (instance, sop_class) in stored:
                results.append(0)
            else:
                is_other = instance in instances
                results.append(CLASS_INSTANCE_CONFLICT if is_other else NO_SUCH_INSTANCE)
        return results

    return lookup
