"""Events and messages in polars: expressions, a scan and a sink.

Importing this module registers the namespace ``dimse`` of expressions: ``encode`` turns structs of
events into messages, and ``decode`` turns messages into structs of events. :func:`scan_dimse` reads
files of messages as a LazyFrame, and :func:`sink_dimse` writes the events of a LazyFrame to a file
of messages.
"""

from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import Any

from fastdimse import (
    decode_batches,
    decode_messages,
    encode_batches,
    encode_messages,
    message_schema,
)

try:
    import polars as pl
    from polars.io.plugins import register_io_source
except ImportError as error:
    raise ImportError(
        'fastdimse.polars needs polars: pip install "fastdimse[polars]"', name="polars"
    ) from error

__all__ = ["Dimse", "scan_dimse", "sink_dimse"]

_Path = str | PathLike[str]


@pl.api.register_expr_namespace("dimse")
class Dimse:
    """Expressions that encode and decode messages: ``expression.dimse``."""

    def __init__(self, expression: pl.Expr) -> None:
        self._expression = expression

    def encode(self, *, first_row: int | None = 0, **options: Any) -> pl.Expr:
        """Encode structs of events.

        Parameters
        ----------
        first_row
            The number of the first row. Without a field `MessageID`, the Message ID of row *i* is
            ``(first_row + i) % 65535 + 1``, and polars encodes the column as a whole. With
            ``first_row=None``, the structs have a field `MessageID` or `MessageIDBeingRespondedTo`.
            polars then encodes batches independently, which lets its streaming engine use bounded
            memory.
        **options
            Other options of `encode_messages`.

        Returns
        -------
        polars.Expr
            Structs of `Message` and `Rejection`. Exactly one of them is null in each row. Other
            fields than those of an event are ignored.

        Examples
        --------
        >>> import polars as pl
        >>> import fastdimse.polars
        >>> events = pl.DataFrame({
        ...     "Site": ["north", "south"],
        ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
        ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
        ...     "EventTypeID": 1,
        ... })
        >>> messages = events.select(
        ...     "Site", pl.struct(pl.exclude("Site")).dimse.encode().struct.unnest()
        ... )
        >>> messages.columns
        ['Site', 'Message', 'Rejection']
        >>> messages["Rejection"].struct.field("code").to_list()
        [None, 'uid']
        """
        check = first_row is None

        def encode(events: pl.Series) -> pl.Series:
            if not isinstance(events.dtype, pl.Struct):
                raise TypeError(f"dimse.encode needs structs of events, not {events.dtype}")
            if check and not {"MessageID", "MessageIDBeingRespondedTo"} & {*events.struct.fields}:
                raise ValueError("first_row=None needs a field 'MessageID'")
            return _columns(encode_messages(events, first_row=first_row or 0, **options), schema)

        schema = pl.Schema(message_schema("encode"))
        return self._map(encode, schema, elementwise=check)

    def decode(
        self, *, event_information: Any = None, event_reply: Any = None, **options: Any
    ) -> pl.Expr:
        """Decode messages.

        Parameters
        ----------
        event_information, event_reply
            ``None`` for data sets as bytes, or an Arrow schema or struct type, or a polars schema,
            of the attributes to decode.
        **options
            Other options of `decode_messages`.

        Returns
        -------
        polars.Expr
            Structs of the eleven columns of an event, and `Rejection`, which is not null if the
            message cannot be decoded. All fields are null if the message is null.

        Examples
        --------
        >>> import polars as pl
        >>> import fastdimse.polars
        >>> event = pl.struct(
        ...     AffectedSOPClassUID=pl.lit("1.2.840.10008.1.20.1"),
        ...     AffectedSOPInstanceUID=pl.lit("1.2.840.10008.1.20.1.1"),
        ...     EventTypeID=pl.lit(2),
        ... )
        >>> message = event.dimse.encode().struct.field("Message")
        >>> pl.select(message.dimse.decode().struct.field("MessageID", "EventTypeID")).row(0)
        (1, 2)
        """
        types = {"event_information": event_information, "event_reply": event_reply}
        schema = pl.Schema(message_schema("decode", **types))

        def decode(messages: pl.Series) -> pl.Series:
            if messages.dtype != pl.Binary:
                raise TypeError(f"dimse.decode needs binary messages, not {messages.dtype}")
            return _columns(decode_messages(messages, **types, **options), schema)

        return self._map(decode, schema, elementwise=True)

    def _map(
        self, function: Callable[[pl.Series], pl.Series], schema: pl.Schema, *, elementwise: bool
    ) -> pl.Expr:
        return self._expression.map_batches(
            function, return_dtype=pl.Struct(schema), is_elementwise=elementwise
        )


def _columns(result: Any, schema: pl.Schema) -> pl.Series:
    return pl.DataFrame(result).select(schema.names()).to_struct()


def scan_dimse(source: _Path | Iterable[_Path], **options: Any) -> pl.LazyFrame:
    """Read files of messages as a LazyFrame of events.

    Files are read when the frame is collected, in bounded memory: only the selected columns of a
    batch are kept, and reading ends after the last row that is needed.

    Parameters
    ----------
    source
        The path of a file, or several paths.
    **options
        Options of `decode_batches`.

    Returns
    -------
    polars.LazyFrame
        The eleven columns of events.

    Examples
    --------
    >>> from fastdimse.polars import scan_dimse
    >>> scan_dimse("events.dimse").select("EventTypeID").collect_schema()
    Schema([('EventTypeID', Int32)])
    """
    paths = [source] if isinstance(source, str | PathLike) else list(source)
    types = {name: options.get(name) for name in ("event_information", "event_reply")}
    schema = pl.Schema(message_schema("decode", **types))
    del schema["Rejection"]

    def batches(
        columns: list[str] | None,
        predicate: pl.Expr | None,
        rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        for path in paths:
            for decoded in decode_batches(path, **options):
                frame = pl.DataFrame(decoded)
                if rows is not None:
                    frame = frame.head(rows)
                    rows -= len(frame)
                if predicate is not None:
                    frame = frame.filter(predicate)
                yield frame.select(columns or schema.names())
                if rows == 0:
                    return

    return register_io_source(batches, schema=schema)


def sink_dimse(frame: pl.LazyFrame | pl.DataFrame, path: _Path, **options: Any) -> pl.DataFrame:
    """Write the events of a frame to a file of messages.

    polars' streaming engine collects the frame in batches, so memory is bounded. Columns that are
    not an event's are ignored.

    Parameters
    ----------
    frame
        The events.
    path
        The file, which is replaced. It contains P-DATA-TF PDUs.
    **options
        Options of `encode_batches`.

    Returns
    -------
    polars.DataFrame
        The rejected rows, which the file does not contain: `row`, `field`, `code` and `reason`.

    Examples
    --------
    >>> import polars as pl
    >>> from tempfile import mkdtemp
    >>> from fastdimse.polars import scan_dimse, sink_dimse
    >>> path = f"{mkdtemp()}/events.dimse"
    >>> events = pl.LazyFrame({
    ...     "AffectedSOPClassUID": "1.2.840.10008.1.20.1",
    ...     "AffectedSOPInstanceUID": ["1.2.840.10008.1.20.1.1", "1.02"],
    ...     "EventTypeID": [1, 2],
    ... })
    >>> sink_dimse(events, path).select("row", "field").rows()
    [(1, 'AffectedSOPInstanceUID')]
    >>> scan_dimse(path).select("MessageID", "EventTypeID").collect().rows()
    [(1, 1)]
    """
    options = {"on_invalid": "skip", "other_columns": "ignore", **options}
    schema = pl.Schema(
        {"row": pl.Int64, "field": pl.String, "code": pl.String, "reason": pl.String}
    )
    rejected = [schema.to_frame()]
    with open(path, "wb") as file:
        for encoded in encode_batches(frame, **options):
            file.write(encoded)
            if encoded.rejected:
                rejected.append(pl.DataFrame(encoded.rejected).select(schema.names()))
    return pl.concat(rejected)
