"""Captures and streams, decoded in batches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from types import TracebackType
from typing import Any, BinaryIO, Literal, NamedTuple, Self

from fastdimse import (
    CapturedEvents,
    DecodedEvents,
    DecodeError,
    decode_batches,
    decode_capture,
    decode_capture_batches,
    decode_events,
)

from .errors import InputError
from .inputs import input_name, open_input
from .options import IMPLICIT_VR, DataSetForm, Framing

Decoded = CapturedEvents | DecodedEvents
_Form = Literal["binary", "structured"]


class Batch(NamedTuple):
    """Some of the messages of an input.

    Attributes
    ----------
    decoded : CapturedEvents or DecodedEvents
        The messages.
    encoded : CapturedEvents or DecodedEvents, optional
        The same messages with encoded data sets, for the DICOM JSON model.
    """

    decoded: Decoded
    encoded: Decoded | None = None


class _Input:
    """A file whose beginning can be read again, so that its kind can be found out.

    It returns what a pipe has, without a wait for more.
    """

    def __init__(self, file: BinaryIO) -> None:
        # A raw file has no `read1`: its `read` does not wait.
        self._read: Callable[[int], bytes] = getattr(file, "read1", file.read)
        self._begin: list[bytes] | None = []
        self._again: list[bytes] = []

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        if self._again:
            return self._again.pop(0)
        data = self._read(size)
        if self._begin is not None:
            self._begin.append(data)
        return data

    read1 = read

    def rewind(self) -> None:
        """Return to the beginning, once."""
        self._again, self._begin = self._begin or [], None

    def forget(self) -> None:
        """Keep the beginning no longer."""
        self._begin = None


class DecodedInput:
    """The batches of a capture or a stream.

    Parameters
    ----------
    path : str
        The file, or `PIPE`.
    framing : Framing
        What a stream consists of.
    form : DataSetForm
        The form of data sets.
    transfer_syntax : str, optional
        The transfer syntax of the data sets of a stream.
    at_once : bool
        Whether there must be one batch: with structured data sets, each batch has the attributes
        that occur in it.

    Attributes
    ----------
    is_capture : bool
        Whether the input is a capture.
    """

    def __init__(
        self,
        path: str,
        framing: Framing,
        form: DataSetForm,
        transfer_syntax: str | None,
        *,
        at_once: bool,
    ) -> None:
        self._opened: AbstractContextManager[BinaryIO] = open_input(path, seekable=False)
        self._name = input_name(path)
        self._framing: Literal["p-data", "command-set"] = framing.value
        self._form: _Form = "binary" if form is DataSetForm.BYTES else "structured"
        self._is_json_model = form is DataSetForm.DICOM_JSON
        self._transfer_syntax = transfer_syntax
        self._at_once = at_once or self._is_json_model
        self.is_capture = True
        self._batches: Iterator[Batch] = iter(())

    def __enter__(self) -> Self:
        """Open the input and decode its first batch."""
        file = self._opened.__enter__()
        try:
            self._batches = self._open(file)
        except BaseException:
            self._opened.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the input."""
        self._opened.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[Batch]:
        """Return the batches."""
        return self._batches

    def _open(self, file: BinaryIO) -> Iterator[Batch]:
        source: Any = file.read() if self._at_once else _Input(file)
        batches = self._capture(source)
        try:
            first = next(batches)
        except DecodeError as error:
            if error.code != "not-a-capture":
                raise InputError(f"{self._name}: {error}") from error
        else:
            if self._transfer_syntax is not None:
                raise InputError(
                    "--transfer-syntax cannot be used for a capture, which states its own"
                )
            if isinstance(source, _Input):
                source.forget()
            return chain([first], batches)
        self.is_capture = False
        if isinstance(source, _Input):
            source.rewind()
        return self._stream(source)

    def _capture(self, source: Any) -> Iterator[Batch]:
        form = self._form
        if self._at_once:
            decoded = decode_capture(source, event_information=form, event_reply=form)
            yield Batch(decoded, decode_capture(source) if self._is_json_model else None)
            return
        batches = decode_capture_batches(source, event_information=form, event_reply=form)
        first = next(batches, None)
        if first is not None:
            yield Batch(first)
        try:
            yield from map(Batch, batches)
        except DecodeError as error:
            # Compressed data that is damaged before the first packet.
            raise InputError(f"{self._name}: {error}") from error

    def _stream(self, source: Any) -> Iterator[Batch]:
        options: Any = {
            "framing": self._framing,
            "on_invalid": "skip",
            "event_information": self._form,
            "event_reply": self._form,
            "transfer_syntax": self._transfer_syntax or IMPLICIT_VR,
        }
        try:
            if self._at_once:
                yield self._whole_stream(source, options)
                return
            is_empty = True
            for decoded in decode_batches(source, **options):
                is_empty = False
                yield Batch(decoded)
            if is_empty:
                yield Batch(decode_events(b"", **options))
        except DecodeError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from error

    def _whole_stream(self, source: bytes, options: Any) -> Batch:
        decoded = decode_events(source, **options)
        if not self._is_json_model:
            return Batch(decoded)
        return Batch(decoded, decode_events(source, framing=self._framing, on_invalid="skip"))
