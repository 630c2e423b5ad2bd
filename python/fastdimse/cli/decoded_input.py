"""Captures and streams, decoded in batches."""

from collections.abc import Iterator
from itertools import chain
from typing import Literal, NamedTuple

from fastdimse import CapturedEvents, DecodedEvents, DecodeError, decode_capture, decode_events

from .errors import InputError
from .inputs import read_input
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
    ) -> None:
        self._data = read_input(path)
        self._framing: Literal["p-data", "command-set"] = framing.value
        self._form: _Form = "binary" if form is DataSetForm.BYTES else "structured"
        self._is_json_model = form is DataSetForm.DICOM_JSON
        self._transfer_syntax = transfer_syntax
        batches = self._capture()
        try:
            first = [next(batches)]
            self.is_capture = True
        except DecodeError as error:
            if error.code != "not-a-capture":
                raise
            self.is_capture = False
            first, batches = [], self._stream()
        if self.is_capture and transfer_syntax is not None:
            raise InputError("--transfer-syntax cannot be used for a capture, which states its own")
        self._batches = chain(first, batches)

    def __iter__(self) -> Iterator[Batch]:
        """Return the batches."""
        return iter(self._batches)

    def _capture(self) -> Iterator[Batch]:
        form = self._form
        decoded = decode_capture(self._data, event_information=form, event_reply=form)
        yield Batch(decoded, decode_capture(self._data) if self._is_json_model else None)

    def _stream(self) -> Iterator[Batch]:
        form = self._form
        try:
            decoded = decode_events(
                self._data,
                framing=self._framing,
                on_invalid="skip",
                event_information=form,
                event_reply=form,
                transfer_syntax=self._transfer_syntax or IMPLICIT_VR,
            )
        except DecodeError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from error
        encoded = (
            decode_events(self._data, framing=self._framing, on_invalid="skip")
            if self._is_json_model
            else None
        )
        yield Batch(decoded, encoded)
