"""Functions for ``mapInArrow``, and the schemas of their results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import (
    from_arrow_schema,
    from_arrow_type,
    to_arrow_type,
)
from pyspark.sql.types import DataType, StructType, TimestampType

from fastdimse import decode_messages, encode_messages, message_schema

_Batches: TypeAlias = Iterator[pa.RecordBatch]
_Form: TypeAlias = "StructType | str | None"


def encode(*, first_row: int = 0, **options: Any) -> Callable[[_Batches], _Batches]:
    """Return a function for ``DataFrame.mapInArrow`` that encodes events.

    Its result has the schema ``message_type("encode", events)``: the columns that are not an
    event's, `Message` and `Rejection`. Exactly one of these two is null in each row. Without a
    column `MessageID`, the Message IDs of each partition start at 1.

    Parameters
    ----------
    first_row
        The number of the first row of each partition, from which Message IDs are counted.
    **options
        Other options of `encode_messages`.

    Returns
    -------
    Callable
        The function. It raises a `TypeError` in a worker if a column has the wrong type.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> from pyspark.sql.functions import col
    >>> from fastdimse.spark import encode, message_type
    >>> spark = SparkSession.builder.getOrCreate()
    >>> sop_class = "1.2.840.10008.1.20.1"
    >>> events = spark.createDataFrame(
    ...     [(0, sop_class, "1.2.840.10008.1.20.1.1", 1), (1, sop_class, "1.02", 1)],
    ...     "key long, AffectedSOPClassUID string, AffectedSOPInstanceUID string, EventTypeID int",
    ... ).withColumn("MessageID", col("key") % 65535 + 1)
    >>> messages = events.mapInArrow(encode(), message_type("encode", events))
    >>> [row.code for row in messages.orderBy("key").select("Rejection.code").collect()]
    [None, 'uid']
    """

    def encode_partition(batches: _Batches) -> _Batches:
        row = first_row
        for batch in batches:
            with _types_of_spark(batch.schema):
                messages = pa.record_batch(encode_messages(batch, first_row=row, **options))
            yield messages
            row += len(batch)

    return encode_partition


def decode(
    *, event_information: _Form = None, event_reply: _Form = None, **options: Any
) -> Callable[[_Batches], _Batches]:
    """Return a function for ``DataFrame.mapInArrow`` that decodes a column `Message`.

    Its result has the schema ``message_type("decode", messages)``: the other columns, the eleven
    columns of an event, and `Rejection`, which is not null if the message cannot be decoded. All
    columns of an event are null if the message is null.

    Parameters
    ----------
    event_information, event_reply
        ``None`` for data sets as bytes, or the type of the attributes to decode, as DDL or as a
        ``StructType``. Pass the same to `message_type`.
    **options
        Other options of `decode_messages`.

    Returns
    -------
    Callable
        The function. It raises a `TypeError` in a worker if `Message` is not binary.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> from fastdimse.spark import decode, message_type
    >>> spark = SparkSession.builder.getOrCreate()
    >>> messages = spark.createDataFrame([(7, b"not a message")], "key long, Message binary")
    >>> events = messages.mapInArrow(decode(), message_type("decode", messages))
    >>> events.select("key", "EventTypeID").collect()
    [Row(key=7, EventTypeID=None)]
    """
    options.update(_forms(event_information, event_reply))

    def decode_partition(batches: _Batches) -> _Batches:
        for batch in batches:
            with _types_of_spark(batch.schema):
                events = pa.record_batch(decode_messages(batch, **options))
            yield events

    return decode_partition


def message_type(
    operation: Literal["encode", "decode"],
    input: "DataFrame | StructType | None" = None,
    *,
    event_information: _Form = None,
    event_reply: _Form = None,
) -> StructType:
    """Return the schema of encoded or decoded rows, for ``DataFrame.mapInArrow``.

    Parameters
    ----------
    operation
        ``"encode"`` or ``"decode"``.
    input
        The DataFrame to encode or decode, or its schema. Without it, the result has only the
        columns that are added.
    event_information, event_reply
        As in `decode`.

    Returns
    -------
    pyspark.sql.types.StructType
        The schema. Its method ``toDDL`` returns it as DDL.

    Raises
    ------
    ColumnError
        If a column is missing in `input`.
    TypeError
        If a column of `input` has the wrong type.

    Examples
    --------
    >>> from fastdimse.spark import message_type
    >>> message_type("encode").simpleString()
    'struct<Message:binary,Rejection:struct<field:string,code:string,reason:string>>'
    """
    forms = _forms(event_information, event_reply)
    added = from_arrow_schema(pa.schema(message_schema(operation, **forms)))
    if input is None:
        return added
    schema = input.schema if isinstance(input, DataFrame) else input
    replaced = pa.schema(message_schema("decode")).names if operation == "encode" else ["Message"]
    columns = pa.schema(
        [(field.name, _to_arrow(field.dataType)) for field in schema if field.name in replaced]
    )
    with _types_of_spark(columns):
        message_schema(operation, columns)
    others = [field for field in schema if field.name not in {*replaced, *added.names}]
    return StructType(others + added.fields)


def _forms(event_information: _Form, event_reply: _Form) -> dict[str, Any]:
    forms: dict[str, Any] = {"event_information": event_information, "event_reply": event_reply}
    for name, form in forms.items():
        if form is not None:
            spark = DataType.fromDDL(form) if isinstance(form, str) else form
            forms[name] = to_arrow_type(spark)
    return forms


def _to_arrow(type_: DataType) -> pa.DataType:
    # Spark converts it only with a time zone.
    return pa.timestamp("us", "UTC") if isinstance(type_, TimestampType) else to_arrow_type(type_)


@contextmanager
def _types_of_spark(columns: pa.Schema) -> Iterator[None]:
    """Add the type in Spark to an error about the type of a column."""
    try:
        yield
    except TypeError as error:
        for field in columns:
            if str(error).startswith((f"the column {field.name!r} ", f"{field.name} ")):
                name = from_arrow_type(field.type).simpleString()
                raise TypeError(f"{error}; its type in Spark is {name}") from None
        raise
