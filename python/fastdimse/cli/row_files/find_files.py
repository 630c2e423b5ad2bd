"""Files of an input: the paths that the user named, and the files in folders."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from ..errors import InputError
from ..inputs import PIPE

# Names that begin so are not data, by convention of Hive, Spark and pyarrow: hidden files,
# _SUCCESS, _metadata, _temporary.
_IGNORED_PREFIXES = (".", "_")
# Files of `fastdimse receive` that are not complete, or cannot be read.
_UNFINISHED_SUFFIXES = (".part", ".damaged")
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def is_several(paths: Sequence[str]) -> bool:
    """Return whether the input is several files, or a folder with any number of files."""
    return len(paths) != 1 or (paths[0] != PIPE and os.path.isdir(paths[0]))


def find_files(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the files of an input, and those in folders that are not read.

    Named files stay in the given order. The files of a folder and of its subfolders are sorted by
    name, level by level.

    Parameters
    ----------
    paths : Sequence[str]
        Files, folders, and at most one `PIPE`.

    Returns
    -------
    files : list of str
        The files.
    omitted : list of str
        Files of `fastdimse receive` that it has not completed.

    Raises
    ------
    InputError
        If a folder has no files, contains itself through a symbolic link, or has a file that is not
        a regular file.
    """
    if list(paths).count(PIPE) > 1:
        raise InputError(f"'{PIPE}' (standard input) can be given only once")
    files: list[str] = []
    omitted: list[str] = []
    for path in paths:
        if path == PIPE or not os.path.isdir(path):
            files.append(path)
            continue
        found = list(_files_in(path))
        unfinished = [one for one in found if one.endswith(_UNFINISHED_SUFFIXES)]
        omitted += unfinished
        if len(found) == len(unfinished):
            raise InputError(
                f"{path}: no files in this folder (names that begin with '.' or '_' are ignored"
                f"{', as are .part and .damaged' if found else ''})"
            )
        files += [one for one in found if not one.endswith(_UNFINISHED_SUFFIXES)]
    return files, omitted


def _files_in(folder: str) -> Iterator[str]:
    # Not recursive: paths can have more levels than Python's stack.
    open_folders = [_open_folder(folder, set())]
    while open_folders:
        folder, names, identities = open_folders[-1]
        name = next(names, None)
        if name is None:
            open_folders.pop()
            continue
        path = os.path.join(folder, name)
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            open_folders.append(_open_folder(path, identities))
        elif stat.S_ISREG(mode):
            yield path
        else:
            raise InputError(f"{path}: not a regular file")


def _open_folder(
    folder: str, parents: set[tuple[int, int]]
) -> tuple[str, Iterator[str], set[tuple[int, int]]]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in parents:
        raise InputError(f"{folder}: a symbolic link to a folder that contains it")
    names = sorted(name for name in os.listdir(folder) if not name.startswith(_IGNORED_PREFIXES))
    return folder, iter(names), parents | {identity}


def partitions_of(path: str) -> dict[str, str | None]:
    """Return the names and values of folders ``name=value`` in `path`, as Hive writes them."""
    found: dict[str, str | None] = {}
    for part in Path(path).parts[:-1]:
        name, separator, value = part.partition("=")
        if separator and name:
            found[unquote(name)] = None if value == _NULL_PARTITION else unquote(value)
    return found
