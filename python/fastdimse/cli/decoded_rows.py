"""Decoded messages written as rows, batch by batch."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute

from fastdimse import CapturedEvents

from .atomic_output import atomic_output
from .decoded_input import Batch, Decoded
from .dicom_json import to_dicom_json
from .errors import InputError
from .event_content import FAILURE_REASONS
from .event_names import with_names
from .inputs import PIPE
from .options import DataSetForm
from .row_files.columns import DATA_SETS
from .row_files.formats import TEXT_FORMATS, RowFormat
from .row_files.read import first_line
from .row_files.write import RowWriter


class DecodedRows:
    """Writes the rows of batches.

    Parameters
    ----------
    sink : BinaryIO
        The file.
    path : str
        Its name.
    chosen : RowFormat
        Its format.
    actions : bool
        Write actions instead of events.
    names : bool
        Add the columns of names.
    form : DataSetForm
        The form of data sets.
    transfer_syntax : str, optional
        The transfer syntax of the data sets of a stream.
    """

    def __init__(
        self,
        sink: BinaryIO,
        path: str,
        chosen: RowFormat,
        *,
        actions: bool,
        names: bool,
        form: DataSetForm,
        transfer_syntax: str | None,
    ) -> None:
        self._sink = sink
        self._path = path
        self._chosen = chosen
        self._actions = actions
        self._names = names
        self._is_json_model = form is DataSetForm.DICOM_JSON
        self._transfer_syntax = transfer_syntax
        self._writer: RowWriter | None = None
        self._schema: Any = None

    def write(self, batch: Batch, details: Any, mask: Any) -> None:
        """Write the rows of a batch for which the mask is true.

        Parameters
        ----------
        batch : Batch
            The batch.
        details : pyarrow.Table
            The same rows with the columns of `event_rows`.
        mask : pyarrow.BooleanArray
            Whether to write each row.
        """
        rows = self._rows(batch)
        if self._names:
            rows = with_names(rows, details.column(FAILURE_REASONS))
        rows = rows.filter(mask)
        if self._schema is not None and rows.schema != self._schema:
            # Only NDJSON can have other attributes in each batch.
            self.close()
            self._writer = None
        try:
            if self._writer is None:
                self._schema = rows.schema
                columns = DATA_SETS if self._is_json_model else ()
                self._writer = RowWriter(self._sink, self._path, self._chosen, rows.schema, columns)
            self._writer.write(rows)
            if self._path == PIPE:
                self._sink.flush()
        except pa.ArrowException as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Write the end of the file."""
        try:
            if self._writer is not None:
                self._writer.close()
        except pa.ArrowException as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> InputError:
        text = first_line(error)
        return InputError(f"{self._path}: cannot be written as {self._chosen}: {text}")

    def _rows(self, batch: Batch) -> Any:
        decoded = batch.decoded
        if self._actions and isinstance(decoded, CapturedEvents):
            return pa.table(decoded.actions)
        events = pa.table(decoded)
        if batch.encoded is not None:
            encoded = _encoded(batch.encoded, decoded)
            events = _with_dicom_json(events, encoded, self._transfer_syntax)
        return _without_empty_structs(events)


@contextmanager
def open_rows(path: str, chosen: RowFormat, **options: Any) -> Iterator[DecodedRows]:
    """Open the output of `DecodedRows`."""
    is_text_pipe = path == PIPE and chosen in TEXT_FORMATS
    with nullcontext(sys.stdout.buffer) if is_text_pipe else atomic_output(path) as sink:
        rows = DecodedRows(sink, path, chosen, **options)
        yield rows
        rows.close()


def _encoded(encoded: Decoded, decoded: Decoded) -> Any:
    """Return the encoded data sets of the same rows, with their transfer syntaxes if known."""
    if isinstance(encoded, CapturedEvents) or isinstance(decoded, CapturedEvents):
        return pa.table(encoded).select([*DATA_SETS, "TransferSyntaxUID"])
    kept = pa.compute.is_in(pa.array(encoded.offsets), value_set=pa.array(decoded.offsets))
    columns = {name: pa.table(encoded).column(name).cast(pa.binary()) for name in DATA_SETS}
    return pa.table(columns).filter(kept)


def _with_dicom_json(events: Any, encoded: Any, transfer_syntax: str | None) -> Any:
    """Return the events with data sets as DICOM JSON text; null where a data set is invalid."""
    syntaxes = (
        encoded.column("TransferSyntaxUID").to_pylist()
        if "TransferSyntaxUID" in encoded.column_names
        else [transfer_syntax] * encoded.num_rows
    )
    for name in DATA_SETS:
        valid = events.column(name).is_valid().to_pylist()
        rows = zip(encoded.column(name).to_pylist(), valid, syntaxes, strict=True)
        texts = [to_dicom_json(one, syntax) if is_valid else None for one, is_valid, syntax in rows]
        index = events.column_names.index(name)
        events = events.set_column(index, name, pa.array(texts, pa.string()))
    return events


def _without_empty_structs(events: Any) -> Any:
    """Return columns of structs without fields as bytes: Parquet does not support them."""
    for name in DATA_SETS:
        column = events.column(name)
        if pa.types.is_struct(column.type) and column.type.num_fields == 0:
            values = [None if one is None else b"" for one in column.to_pylist()]
            index = events.column_names.index(name)
            events = events.set_column(index, name, pa.array(values, pa.binary()))
    return events
