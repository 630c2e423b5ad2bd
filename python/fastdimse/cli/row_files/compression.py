"""Compressed text files: gzip (RFC 1952) and Zstandard (RFC 8878), by suffix."""

from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from ..errors import InputError


class Compression(StrEnum):
    """A compression of a whole file, by the name that pyarrow uses for it."""

    GZIP = "gzip"
    ZSTD = "zstd"


_SUFFIXES = {".gz": Compression.GZIP, ".zst": Compression.ZSTD}


def compression_of(path: str) -> Compression | None:
    """Return the compression that the last suffix of `path` names, or None."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def without_compression_suffix(path: str) -> Path:
    """Return `path` without the suffix of its compression."""
    return Path(path) if compression_of(path) is None else Path(path).with_suffix("")


def decompressed(source: pa.NativeFile, compression: Compression) -> pa.NativeFile:
    """Return a stream of the decompressed content.

    All members of a gzip file, and all frames of a Zstandard file, are read. A file that ends
    within one of them, or has other bytes after them, raises `OSError` at that position.
    """
    # pyarrow reads an empty file as empty content. A file without a member is truncated.
    if source.size() == 0:
        raise InputError(f"not {compression}: the file is empty")
    return pa.CompressedInputStream(source, compression.value)


class _Output:
    """A file that pyarrow writes to, and that ignores writes after an error.

    pyarrow writes the end of the compressed data when it destroys a stream that an error has left
    unfinished. The file is closed by then, and pyarrow would print a line about that.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._has_failed = False

    def write(self, data: bytes) -> None:
        if self._has_failed or self._file.closed:
            return
        try:
            self._file.write(data)
        except BaseException:
            self._has_failed = True
            raise

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def compressed(sink: BinaryIO, compression: Compression) -> Any:
    """Return a file that writes compressed content to `sink`, which stays open."""
    return pa.CompressedOutputStream(pa.PythonFile(_Output(sink), mode="w"), compression.value)


def describe_damage(error: OSError, compression: Compression) -> str | None:
    """Return an explanation of an error of `decompressed`; None for an error of another kind."""
    # pyarrow has one exception for all errors.
    text = str(error).strip().partition("\n")[0]
    if text == "Truncated compressed stream":
        return f"the {compression} data is incomplete: the file is truncated"
    if text.startswith(("zlib inflate failed", "ZSTD decompress failed")):
        reason = text.partition(": ")[2]
        return f"the {compression} data is damaged, or other bytes follow it: {reason}"
    return None
