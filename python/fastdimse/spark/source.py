"""The data source ``dimse``: files of messages."""

import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import fs
from pyspark import TaskContext
from pyspark.sql.datasource import (
    DataSource,
    DataSourceArrowWriter,
    DataSourceReader,
    InputPartition,
    WriterCommitMessage,
)
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import BinaryType, StructType

from fastdimse import DecodeError, EncodeError, decode_batches, encode_batches
from fastdimse.spark.functions import message_type

_Batches: TypeAlias = Iterator[pa.RecordBatch]


class DimseDataSource(DataSource):  # type: ignore[misc]
    """The format ``"dimse"`` of ``spark.read`` and ``df.write``: files of messages.

    Register it with ``spark.dataSource.register(DimseDataSource)``. A path is a folder or a file,
    or a URI of a file system that pyarrow supports.

    Reading returns the eleven columns of an event, one partition for each file. With a schema, it
    returns the columns of the schema. A struct as `EventInformation` or `EventReply` has the
    attributes to decode. Writing requires ``mode("append")`` or ``mode("overwrite")``. It writes a
    file for each partition, and ignores columns that are not an event's.

    The options ``framing``, ``onInvalid`` and ``transferSyntax`` are those of `encode_batches` and
    `decode_batches`. By default, an event or a message that is not valid is an error with its row
    in the partition or in the file.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from pyspark.sql import SparkSession
    >>> from fastdimse.spark import DimseDataSource
    >>> spark = SparkSession.builder.getOrCreate()
    >>> spark.dataSource.register(DimseDataSource)
    >>> events = spark.createDataFrame(
    ...     [("1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 2)],
    ...     "AffectedSOPClassUID string, AffectedSOPInstanceUID string, EventTypeID int",
    ... )
    >>> folder = mkdtemp()
    >>> events.write.format("dimse").mode("append").save(folder)
    >>> spark.read.format("dimse").load(folder).select("MessageID", "EventTypeID").collect()
    [Row(MessageID=1, EventTypeID=2)]
    """

    @classmethod
    def name(cls) -> str:
        """Return ``"dimse"``."""
        return "dimse"

    def schema(self) -> StructType:
        """Return the eleven columns of an event."""
        return StructType([field for field in message_type("decode") if field.name != "Rejection"])

    def reader(self, schema: StructType) -> DataSourceReader:
        """Return a reader of files of messages."""
        columns = {field.name: field.dataType for field in self.schema()}
        for field in schema:
            if field.name not in columns:
                raise ValueError(
                    f"the format 'dimse' has no column {field.name!r}, only {', '.join(columns)}"
                )
            is_data_set = isinstance(columns[field.name], BinaryType)
            if field.dataType != columns[field.name] and not (
                is_data_set and isinstance(field.dataType, StructType)
            ):
                raise ValueError(
                    f"the column {field.name!r} of the format 'dimse' must be "
                    f"{columns[field.name].simpleString()}{' or a struct' if is_data_set else ''}, "
                    f"not {field.dataType.simpleString()}"
                )
        return _Reader(self.options, schema)

    def writer(self, schema: StructType, overwrite: bool) -> DataSourceArrowWriter:
        """Return a writer of files of messages."""
        return _Writer(self.options, overwrite)


def _options(options: Mapping[str, str]) -> dict[str, str]:
    names = {"framing": "framing", "onInvalid": "on_invalid", "transferSyntax": "transfer_syntax"}
    return {names[name]: options[name] for name in names if name in options}


def _filesystem(options: Mapping[str, str]) -> tuple[fs.FileSystem, str]:
    if "path" not in options:
        raise ValueError("the format 'dimse' needs a path: load(path) or save(path)")
    path = options["path"]
    filesystem, path = fs.FileSystem.from_uri(path if ":" in path else os.path.abspath(path))
    return filesystem, path


def _files(filesystem: fs.FileSystem, path: str) -> list[str]:
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(f"the path {path!r} does not exist")
    if info.type == fs.FileType.File:
        return [path]
    found = filesystem.get_file_info(fs.FileSelector(path))
    return sorted(
        file.path
        for file in found
        if file.type == fs.FileType.File and not file.base_name.startswith((".", "_"))
    )


class _Reader(DataSourceReader):  # type: ignore[misc]
    def __init__(self, options: Mapping[str, str], schema: StructType) -> None:
        self._filesystem, self._path = _filesystem(options)
        self._options: dict[str, Any] = _options(options)
        self._schema = to_arrow_schema(schema)
        forms = {"EventInformation": "event_information", "EventReply": "event_reply"}
        for field in self._schema:
            if pa.types.is_struct(field.type):
                self._options[forms[field.name]] = field.type

    def partitions(self) -> list[InputPartition]:
        return [InputPartition(path) for path in _files(self._filesystem, self._path)]

    def read(self, partition: InputPartition) -> _Batches:
        try:
            with self._filesystem.open_input_stream(partition.value) as file:
                for events in decode_batches(file, **self._options):
                    columns = pa.table(events).select(self._schema.names)
                    yield from columns.cast(self._schema).to_batches()
        except DecodeError as error:
            error.add_note(f"in the file {partition.value}")
            raise


@dataclass
class _Written(WriterCommitMessage):  # type: ignore[misc]
    name: str


class _Writer(DataSourceArrowWriter):  # type: ignore[misc]
    def __init__(self, options: Mapping[str, str], overwrite: bool) -> None:
        self._filesystem, self._path = _filesystem(options)
        self._options: dict[str, Any] = _options(options)
        self._overwrite = overwrite
        self._job = uuid.uuid4().hex
        self._staging = f"{self._path}/_staging-{self._job}"

    def write(self, iterator: _Batches) -> _Written:
        context = TaskContext.get()
        partition = context.partitionId()
        # Another attempt of this task can write at the same time.
        name = f"part-{partition:05}-{self._job}-{context.taskAttemptId()}.dimse"
        self._filesystem.create_dir(self._staging)
        try:
            with self._filesystem.open_output_stream(f"{self._staging}/{name}") as file:
                for encoded in encode_batches(iterator, other_columns="ignore", **self._options):
                    file.write(encoded)
        except EncodeError as error:
            error.add_note(f"in partition {partition}")
            raise
        return _Written(name)

    def commit(self, messages: list[_Written]) -> None:
        self._filesystem.create_dir(self._path)
        old = _files(self._filesystem, self._path) if self._overwrite else []
        for message in messages:
            self._filesystem.move(f"{self._staging}/{message.name}", f"{self._path}/{message.name}")
        for path in old:
            self._filesystem.delete_file(path)
        self.abort([])

    def abort(self, messages: list[_Written | None]) -> None:
        if self._filesystem.get_file_info(self._staging).type == fs.FileType.Directory:
            self._filesystem.delete_dir(self._staging)
