"""Events and messages in Ray Data: functions for ``map_batches``, and a source.

:func:`encode` and :func:`decode` are functions for ``Dataset.map_batches``. :func:`read_dimse`
reads files of messages as a dataset of events.
"""

from collections.abc import Callable, Iterator
from typing import Any

from fastdimse import DecodeError, decode_batches, decode_messages, encode_messages

try:
    import pyarrow as pa
    import ray.data
    from ray.data.datasource import FileBasedDatasource
except ImportError as error:
    raise ImportError(
        'fastdimse.ray needs Ray Data: pip install "fastdimse[ray]"', name=error.name
    ) from error

__all__ = ["decode", "encode", "read_dimse"]


def encode(events: pa.Table, **options: Any) -> pa.Table:
    """Encode a batch of events, for ``Dataset.map_batches``.

    Parameters
    ----------
    events
        A batch in the format ``"pyarrow"``. Without a column `MessageID`, each batch has Message
        IDs from 1.
    **options
        Options of `encode_messages`. Pass them as ``fn_kwargs`` of ``map_batches``.

    Returns
    -------
    pyarrow.Table
        The columns that are not an event's, `Message` and `Rejection`. Exactly one of these two is
        null in each row.

    Raises
    ------
    TypeError
        If a column has the wrong type.

    Examples
    --------
    >>> import ray.data
    >>> from fastdimse.ray import encode
    >>> events = ray.data.from_items([
    ...     {
    ...         "key": key,
    ...         "MessageID": key % 65535 + 1,
    ...         "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...         "AffectedSOPInstanceUID": uid,
    ...         "EventTypeID": 1,
    ...     }
    ...     for key, uid in enumerate(["1.2.840.10008.1.20.1.1", "1.02"])
    ... ])
    >>> messages = events.map_batches(encode, batch_format="pyarrow")
    >>> [row["Rejection"] and row["Rejection"]["code"] for row in messages.sort("key").iter_rows()]
    [None, 'uid']
    """
    return _apply(encode_messages, events, options)


def decode(messages: pa.Table, **options: Any) -> pa.Table:
    """Decode a batch of messages, for ``Dataset.map_batches``.

    Parameters
    ----------
    messages
        A batch in the format ``"pyarrow"``, with a column `Message`.
    **options
        Options of `decode_messages`. Pass them as ``fn_kwargs`` of ``map_batches``.

    Returns
    -------
    pyarrow.Table
        The other columns, the eleven columns of an event, and `Rejection`, which is not null if the
        message cannot be decoded. All columns of an event are null if the message is null.

    Raises
    ------
    TypeError
        If `Message` is not a binary column.

    Examples
    --------
    >>> import ray.data
    >>> from fastdimse.ray import decode
    >>> messages = ray.data.from_items([{"key": 7, "Message": b"not a message"}])
    >>> events = messages.map_batches(decode, batch_format="pyarrow")
    >>> [row["Rejection"] is None for row in events.iter_rows()]
    [False]
    """
    return _apply(decode_messages, messages, options)


def read_dimse(
    paths: str | list[str],
    *,
    filesystem: Any = None,
    file_extensions: list[str] | None = None,
    include_paths: bool = False,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
    **options: Any,
) -> ray.data.Dataset:
    """Read files of messages as a dataset of events.

    Files are read in parallel, each in one task and in bounded memory.

    Parameters
    ----------
    paths
        A file or a folder, or a list of them.
    filesystem, file_extensions, include_paths, concurrency, override_num_blocks
        As in `ray.data.read_binary_files`.
    **options
        Options of `decode_batches`.

    Returns
    -------
    ray.data.Dataset
        The eleven columns of an event.

    Raises
    ------
    DecodeError
        In a worker, if a file cannot be decoded. The error has the row in the file, and the path.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from fastdimse import encode_events
    >>> from fastdimse.ray import read_dimse
    >>> event = {
    ...     "AffectedSOPClassUID": ["1.2.840.10008.1.20.1"],
    ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1"],
    ...     "EventTypeID": [2],
    ... }
    >>> folder = mkdtemp()
    >>> with open(f"{folder}/events.dimse", "wb") as file:
    ...     _ = file.write(encode_events(event))
    >>> read_dimse(folder).select_columns(["MessageID", "EventTypeID"]).take()
    [{'MessageID': 1, 'EventTypeID': 2}]
    """
    source = _DimseDatasource(
        paths,
        options,
        filesystem=filesystem,
        file_extensions=file_extensions,
        include_paths=include_paths,
    )
    return ray.data.read_datasource(
        source, concurrency=concurrency, override_num_blocks=override_num_blocks
    )


def _apply(function: Callable[..., Any], batch: pa.Table, options: dict[str, Any]) -> pa.Table:
    try:
        return pa.table(function(batch, **options))
    except TypeError as error:
        for field in batch.schema:
            if str(error).startswith((f"the column {field.name!r} ", f"{field.name} ")):
                raise TypeError(f"{error}; its type in Ray is {field.type}") from None
        raise


class _DimseDatasource(FileBasedDatasource):  # type: ignore[misc]
    def __init__(self, paths: str | list[str], options: dict[str, Any], **files: Any) -> None:
        super().__init__(paths, **files)
        self._options = options

    def _read_stream(self, f: pa.NativeFile, path: str) -> Iterator[pa.Table]:
        try:
            for events in decode_batches(f, **self._options):
                yield pa.table(events)
        except DecodeError as error:
            error.add_note(f"in the file {path}")
            raise
