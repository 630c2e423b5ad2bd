"""SQL functions of DuckDB that encode and decode messages, and a relation that reads messages.

:func:`register` adds ``dimse_encode``, ``dimse_decode`` and ``read_dimse`` to a connection.
:func:`scan_dimse` reads files that are larger than the memory.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from os import PathLike
from typing import Any

from fastdimse import (
    decode_batches,
    decode_events,
    decode_messages,
    encode_messages,
    message_schema,
)

try:
    import duckdb
    import pyarrow as pa
    from duckdb.func import PythonUDFType
except ImportError as error:
    raise ImportError(
        f'fastdimse.duckdb needs {error.name}: pip install "fastdimse[duckdb]"', name=error.name
    ) from error

__all__ = ["register", "scan_dimse"]

_MESSAGE_IDS = {"MessageID", "MessageIDBeingRespondedTo"}
_READ_DIMSE = """
CREATE OR REPLACE TEMPORARY MACRO read_dimse(path) AS TABLE
SELECT unnest(batch, max_depth := 2)
FROM (SELECT unnest(dimse_decode_stream(content)) AS batch FROM read_blob(path))
"""
# DuckDB needs time proportional to the square of the length to unnest a list.
_BATCH = 16_384


def register(
    connection: duckdb.DuckDBPyConnection,
    *,
    event_information: Any = None,
    event_reply: Any = None,
    transfer_syntax: str = "1.2.840.10008.1.2",
    **options: Any,
) -> None:
    """Add the SQL functions to a connection.

    ``dimse_encode(event)`` returns a struct of `Message` and `Rejection` for a struct with the
    columns of an event; other fields are ignored. DuckDB encodes 2,048 rows at a time, so the
    struct needs a field `MessageID`, or `MessageIDBeingRespondedTo`. ``dimse_decode(message)``
    returns a struct of the eleven columns of an event, and `Rejection`. The table function
    ``read_dimse(path)`` decodes files of messages, each as a whole; the path can be a pattern.
    A second call replaces the functions.

    Parameters
    ----------
    connection
        The connection.
    event_information, event_reply
        ``None`` for data sets as bytes, or an Arrow schema or struct type of the attributes to
        decode.
    transfer_syntax
        The transfer syntax of structured data sets.
    **options
        Other options of `encode_messages`.

    Examples
    --------
    >>> import duckdb
    >>> import fastdimse.duckdb
    >>> connection = duckdb.connect()
    >>> fastdimse.duckdb.register(connection)
    >>> connection.execute('''
    ...     CREATE TABLE messages AS
    ...     SELECT unnest(dimse_encode(event)) FROM (
    ...         SELECT
    ...             (row_number() OVER () - 1) % 65535 + 1 AS MessageID,
    ...             '1.2.840.10008.1.20.1' AS AffectedSOPClassUID,
    ...             '1.2.840.10008.1.20.1.1' AS AffectedSOPInstanceUID,
    ...             EventTypeID
    ...         FROM (VALUES (1), (70000)) AS events(EventTypeID)
    ...     ) AS event
    ... ''')
    <_duckdb.DuckDBPyConnection object at ...>
    >>> connection.sql("SELECT Rejection.code FROM messages").fetchall()
    [(None,), ('out-of-range',)]
    >>> connection.sql("SELECT dimse_decode(Message).EventTypeID FROM messages").fetchall()
    [(1,), (None,)]
    """
    types = {"event_information": event_information, "event_reply": event_reply}
    outputs = {
        "encode": pa.schema(message_schema("encode")),
        "decode": pa.schema(message_schema("decode", **types)),
    }
    events = outputs["decode"].remove(len(outputs["decode"]) - 1)
    decoding = {**types, "transfer_syntax": transfer_syntax}

    def encode(event: pa.ChunkedArray) -> pa.StructArray:
        if not pa.types.is_struct(event.type):
            with duckdb.connect() as other:
                raise TypeError(f"dimse_encode needs a struct, not {_type(other, event.type)}")
        if not {field.name for field in event.type} & _MESSAGE_IDS:
            raise ValueError(
                "dimse_encode needs a field 'MessageID', for example "
                "(row_number() OVER () - 1) % 65535 + 1"
            )
        result = encode_messages(event, transfer_syntax=transfer_syntax, **options)
        return pa.record_batch(result).select(outputs["encode"].names).to_struct_array()

    def decode(message: pa.ChunkedArray) -> pa.StructArray:
        return pa.array(decode_messages(message, **decoding))

    def decode_streams(contents: pa.ChunkedArray) -> pa.Array:
        streams = []
        for content in contents:
            rows = pa.table(decode_events(content.as_buffer(), **decoding), events)
            starts = [*range(0, len(rows), _BATCH), len(rows)]
            streams.append(pa.ListArray.from_arrays(pa.array(starts, pa.int32()), _rows(rows)))
        starts = [0, *accumulate(map(len, streams))]
        empty = pa.array([], pa.list_(_struct(events)))
        return pa.ListArray.from_arrays(
            pa.array(starts, pa.int32()), pa.concat_arrays([empty, *streams])
        )

    # Any struct; DuckDB has no other way to declare this than to declare nothing.
    _replace(connection, "dimse_encode", encode, None, _struct(outputs["encode"]))
    _replace(connection, "dimse_decode", decode, ["BLOB"], _struct(outputs["decode"]))
    streams = pa.list_(pa.list_(_struct(events)))
    _replace(connection, "dimse_decode_stream", decode_streams, ["BLOB"], streams)
    connection.execute(_READ_DIMSE)


def _struct(schema: pa.Schema) -> pa.StructType:
    return pa.struct(list(schema))


def _rows(table: pa.Table) -> pa.StructArray:
    return table.combine_chunks().to_struct_array().combine_chunks()


def _type(connection: duckdb.DuckDBPyConnection, kind: pa.DataType) -> Any:
    return connection.from_arrow(pa.table({"column": pa.array([], kind)})).types[0]


def _replace(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    function: Any,
    parameters: list[Any] | None,
    result: pa.DataType,
) -> None:
    with suppress(duckdb.InvalidInputException):
        connection.remove_function(name)
    connection.create_function(
        name, function, parameters, _type(connection, result), type=PythonUDFType.ARROW
    )


class _Messages:
    """Files of messages as an Arrow stream, which each query reads again."""

    def __init__(self, paths: list[Any], schema: pa.Schema, options: dict[str, Any]) -> None:
        self._paths = paths
        self._schema = schema
        self._options = options

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            for decoded in decode_batches(path, **self._options):
                yield from pa.table(decoded, self._schema).to_batches()

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)


def scan_dimse(
    connection: duckdb.DuckDBPyConnection,
    source: str | PathLike[str] | Iterable[str | PathLike[str]],
    **options: Any,
) -> duckdb.DuckDBPyRelation:
    """Read files of messages as a relation of events, in bounded memory.

    Each query of the relation reads the files again.

    Parameters
    ----------
    connection
        The connection.
    source
        The path of a file, or several paths.
    **options
        Options of `decode_batches`.

    Returns
    -------
    duckdb.DuckDBPyRelation
        The eleven columns of events.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> import duckdb
    >>> from fastdimse import encode_events
    >>> from fastdimse.duckdb import scan_dimse
    >>> path = Path(mkdtemp(), "events.dimse")
    >>> path.write_bytes(encode_events({
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": [1, 2, 2],
    ... }))
    366
    >>> events = scan_dimse(duckdb.connect(), path)
    >>> events.filter("EventTypeID = 2").aggregate("count(*)").fetchall()
    [(2,)]
    """
    paths = [source] if isinstance(source, str | PathLike) else list(source)
    types = {name: options.get(name) for name in ("event_information", "event_reply")}
    schema = pa.schema(message_schema("decode", **types))
    messages = _Messages(paths, schema.remove(len(schema) - 1), options)
    return connection.from_arrow(messages)
