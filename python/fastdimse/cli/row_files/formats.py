"""Formats of files, by option or by suffix."""

from enum import StrEnum
from pathlib import Path

from ..errors import InputError
from ..inputs import PIPE
from .compression import compression_of, without_compression_suffix


class RowFormat(StrEnum):
    """A file format for rows."""

    PARQUET = "parquet"
    ARROW = "arrow"
    NDJSON = "ndjson"
    CSV = "csv"


_ROW_SUFFIXES = {
    ".parquet": RowFormat.PARQUET,
    ".arrow": RowFormat.ARROW,
    ".arrows": RowFormat.ARROW,
    ".feather": RowFormat.ARROW,
    ".ipc": RowFormat.ARROW,
    ".ndjson": RowFormat.NDJSON,
    ".jsonl": RowFormat.NDJSON,
    ".csv": RowFormat.CSV,
}
TEXT_FORMATS = (RowFormat.NDJSON, RowFormat.CSV)
"""The formats that can be compressed as a whole file."""

P_DATA_SUFFIXES = (".bin", ".pdata", ".dimse")
_CAPTURE_SUFFIXES = {".pcap": "pcap", ".pcapng": "pcapng"}


def row_format(path: str, given: RowFormat | None = None, *, option: str = "--format") -> RowFormat:
    """Return the format of the rows in `path`, which a compression suffix may follow.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    given : RowFormat, optional
        The format that the user named; the suffix of `path` decides otherwise.
    option : str, optional
        The option that names the format, for error texts; empty if there is none.
    """
    suffix = without_compression_suffix(path).suffix.lower()
    chosen = given or _ROW_SUFFIXES.get(suffix)
    if chosen is not None:
        if compression_of(path) is not None and chosen not in TEXT_FORMATS:
            raise InputError(f"{path}: {_ONLY_TEXT}; {chosen} files compress their own content")
        return chosen
    formats = ", ".join(RowFormat)
    if path == PIPE:
        if not option:
            raise InputError(f"rows of this kind cannot be written to '{PIPE}': name a file")
        raise InputError(f"{option} is required for standard input and output ({formats})")
    if suffix in P_DATA_SUFFIXES or suffix in _CAPTURE_SUFFIXES:
        reject_compression(path)
        kind = "capture" if suffix in _CAPTURE_SUFFIXES else "P-DATA stream"
        raise InputError(
            f"{path}: must be a file of rows, but the suffix is that of a {kind}; "
            "'fastdimse decode' and 'fastdimse encode' convert between them"
        )
    hint = f", or name the format with {option} ({formats})" if option else ""
    unknown = suffix or Path(path).suffix
    raise InputError(
        f"{path}: unknown suffix '{unknown}': use one of {' '.join(_ROW_SUFFIXES)}{hint}"
    )


_ONLY_TEXT = "only NDJSON and CSV can be compressed with .gz or .zst"


def reject_compression(path: str) -> None:
    """Raise `InputError` if the suffix of a stream or a capture to write names a compression."""
    if compression_of(path) is not None:
        raise InputError(f"{path}: {_ONLY_TEXT}, not streams and captures")


def reject_row_suffix(path: str) -> None:
    """Raise `InputError` where a stream or a capture is needed and `path` names rows."""
    if without_compression_suffix(path).suffix.lower() in _ROW_SUFFIXES:
        raise InputError(
            f"{path}: must be a P-DATA stream or a capture "
            f"({' '.join((*P_DATA_SUFFIXES, *_CAPTURE_SUFFIXES))}), but the suffix is that of a "
            "file of rows"
        )


def capture_format(path: str) -> str | None:
    """Return the capture format that the suffix of `path` names, or None."""
    return _CAPTURE_SUFFIXES.get(Path(path).suffix.lower())
