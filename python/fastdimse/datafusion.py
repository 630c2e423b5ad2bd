"""Functions of DataFusion that encode and decode messages.

:func:`encode_function` and :func:`decode_function` return functions for expressions of DataFrames.
:func:`register` adds them to a context as ``dimse_encode`` and ``dimse_decode``, for SQL, with the
table function ``read_dimse``.
"""

from pathlib import Path
from typing import Any

from fastdimse import decode_events, decode_messages, encode_messages, message_schema

try:
    import pyarrow as pa
    import pyarrow.dataset as ds
    from datafusion import Expr, ScalarUDF, SessionContext, Table, udf, udtf
except ImportError as error:
    raise ImportError(
        f'fastdimse.datafusion needs {error.name}: pip install "fastdimse[datafusion]"',
        name=error.name,
    ) from error

__all__ = ["decode_function", "encode_function", "register"]

# The columns of a request with encoded data sets.
_REQUEST = pa.schema(
    {
        "MessageID": pa.int64(),
        "AffectedSOPClassUID": pa.string_view(),
        "AffectedSOPInstanceUID": pa.string_view(),
        "EventTypeID": pa.int64(),
        "EventInformation": pa.binary_view(),
    }
)


def encode_function(events: Any = None, **options: Any) -> ScalarUDF:
    """Return a function that encodes events.

    Parameters
    ----------
    events
        The arguments of the function: an Arrow schema, or an object with one, such as the
        `schema()` of a DataFrame. They must include `MessageID` or `MessageIDBeingRespondedTo`,
        because DataFusion encodes partitions and batches independently. Columns that are not an
        event's are not arguments. The default is `MessageID`, `AffectedSOPClassUID`,
        `AffectedSOPInstanceUID`, `EventTypeID` and `EventInformation`, which is binary.
    **options
        Options of `encode_messages`.

    Returns
    -------
    datafusion.ScalarUDF
        A function of the event's columns, in the order of the schema. It returns structs of
        `Message` and `Rejection`, of which exactly one is null in each row.

    Examples
    --------
    >>> from datafusion import SessionContext, col
    >>> from fastdimse.datafusion import encode_function
    >>> events = SessionContext().from_pydict({
    ...     "Site": ["north", "south"],
    ...     "MessageID": [1, 2],
    ...     "AffectedSOPClassUID": ["1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1"],
    ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
    ...     "EventTypeID": [1, 2],
    ... })
    >>> names = events.schema().names[1:]
    >>> dimse_encode = encode_function(events.schema())
    >>> encoded = dimse_encode(*[col(f'"{name}"') for name in names])
    >>> events.select(encoded["Rejection"]["code"].alias("code")).to_pydict()
    {'code': [None, 'uid']}
    """
    schema = _REQUEST if events is None else pa.schema(events)
    fields = set(pa.schema(message_schema("decode")).names)
    arguments = [field for field in schema if field.name in fields]
    names = [field.name for field in arguments]
    if not {"MessageID", "MessageIDBeingRespondedTo"} & {*names}:
        raise ValueError(
            "dimse_encode needs a column 'MessageID', for example "
            "CAST(row_number() OVER () - 1 AS BIGINT) % 65535 + 1"
        )

    def encode(*columns: pa.Array) -> pa.StructArray:
        batch = pa.RecordBatch.from_arrays(list(columns), names=names)
        return pa.array(encode_messages(batch, **options))

    types = [field.type for field in arguments]
    return udf(encode, types, _struct(message_schema("encode")), "immutable", "dimse_encode")


def decode_function(
    *, event_information: Any = None, event_reply: Any = None, **options: Any
) -> ScalarUDF:
    """Return a function that decodes messages.

    Parameters
    ----------
    event_information, event_reply
        ``None`` for data sets as bytes, or an Arrow schema or struct type of the attributes to
        decode.
    **options
        Other options of `decode_messages`.

    Returns
    -------
    datafusion.ScalarUDF
        A function of a binary column. It returns structs of the eleven columns of an event, and
        `Rejection`, which is not null if the message cannot be decoded.

    Examples
    --------
    >>> import pyarrow
    >>> from datafusion import SessionContext, col
    >>> from fastdimse import encode_events
    >>> from fastdimse.datafusion import decode_function
    >>> encoded = encode_events({
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": "1.2.840.10008.1.20.1.1",
    ...     "EventTypeID": [1, 2],
    ... })
    >>> messages = pyarrow.table({"Message": pyarrow.array(encoded)})
    >>> event = decode_function()(col('"Message"'))
    >>> frame = SessionContext().from_arrow(messages)
    >>> frame.select(event["EventTypeID"].alias("type")).to_pydict()
    {'type': [1, 2]}
    """
    types = {"event_information": event_information, "event_reply": event_reply}

    def decode(messages: pa.Array) -> pa.StructArray:
        return pa.array(decode_messages(messages, **types, **options))

    result = _struct(message_schema("decode", **types))
    return udf(decode, [pa.binary_view()], result, "immutable", "dimse_decode")


def register(
    context: SessionContext,
    *,
    events: Any = None,
    event_information: Any = None,
    event_reply: Any = None,
    transfer_syntax: str = "1.2.840.10008.1.2",
    **options: Any,
) -> None:
    """Add the functions to a context, for SQL.

    ``dimse_encode(...)`` and ``dimse_decode(message)`` are the functions that `encode_function`
    and `decode_function` return. The table function ``read_dimse(path)`` decodes a file of
    messages as a whole when a query is planned.

    Parameters
    ----------
    context
        The context.
    events
        The arguments of ``dimse_encode``, as in `encode_function`.
    event_information, event_reply
        ``None`` for data sets as bytes, or an Arrow schema or struct type of the attributes to
        decode.
    transfer_syntax
        The transfer syntax of structured data sets.
    **options
        Other options of `encode_messages`.

    Examples
    --------
    >>> from datafusion import SessionContext
    >>> import fastdimse.datafusion
    >>> context = SessionContext()
    >>> fastdimse.datafusion.register(context)
    >>> messages = context.sql('''
    ...     SELECT dimse_encode(
    ...         CAST(row_number() OVER (ORDER BY type) - 1 AS BIGINT) % 65535 + 1,
    ...         '1.2.840.10008.1.20.1', '1.2.840.10008.1.20.1.1', type, NULL
    ...     ) AS encoded
    ...     FROM (VALUES (1), (70000)) AS events(type)
    ... ''')
    >>> context.register_view("messages", messages)
    >>> context.sql('''
    ...     SELECT encoded['Rejection']['code'] AS code,
    ...         dimse_decode(encoded['Message'])['EventTypeID'] AS type FROM messages
    ... ''').to_pydict()
    {'code': [None, 'out-of-range'], 'type': [1, None]}
    """
    types = {"event_information": event_information, "event_reply": event_reply}
    decoding = {**types, "transfer_syntax": transfer_syntax}
    schema = pa.schema(message_schema("decode", **types))

    def read_dimse(path: Expr) -> Table:
        decoded = decode_events(Path(path.python_value().as_py()).read_bytes(), **decoding)
        return Table(ds.dataset(pa.table(decoded, schema.remove(len(schema) - 1))))

    context.register_udf(encode_function(events, transfer_syntax=transfer_syntax, **options))
    context.register_udf(decode_function(**decoding))
    context.register_udtf(udtf(read_dimse, "read_dimse"))


def _struct(schema: Any) -> pa.StructType:
    return pa.struct(list(pa.schema(schema)))
