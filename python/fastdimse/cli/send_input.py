"""Events to send: rows of files, or the requests of streams and captures."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

from fastdimse import DecodeError, decode_capture, decode_events

from .errors import InputError
from .inputs import PIPE, read_input
from .options import IMPLICIT_VR
from .row_files.columns import PEER_COLUMN, SENT_COLUMNS, plain_schema
from .row_files.find_files import is_several
from .row_files.formats import P_DATA_SUFFIXES, RowFormat, capture_format, row_format
from .row_files.read import open_rows
from .row_files.row_file import RowFile
from .row_files.rows import ArrowRows, MappedRows, invalid_rows
from .row_files.several import RowFiles, find_and_report, repeatable
from .row_files.text_rows import RowRejection
from .terminal import plural

# The fields of a request (PS3.7 10.1.1). Rows of a capture also have those of its response.
_REQUEST_COLUMNS = [
    *("MessageID", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "EventTypeID"),
    "EventInformation",
]

# Maximum number of unreadable rows that are printed.
_MAX_SHOWN = 20


class UnreadableRows:
    """The rows of text that could not be read.

    Attributes
    ----------
    count : int
        Their number.
    first : list of str
        The lines and reasons of the first of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first: list[str] = []

    def add(self, reason: str) -> None:
        """Add a row."""
        self.count += 1
        if len(self.first) < _MAX_SHOWN:
            self.first.append(reason)


class Part(NamedTuple):
    """Events that are put into a delivery in one call.

    Attributes
    ----------
    events : Any
        The events.
    transfer_syntax : str
        The UID of the transfer syntax of their encoded data sets.
    source : str or None
        The content of the file and the number of the part within it, if they are identified.
    file : RowFile
        The file.
    rows : ArrowRows or MappedRows or None
        The rows, if it is a file of rows.
    unreadable_rows : UnreadableRows
        Counts the rows of text that could not be read.
    """

    events: Any
    transfer_syntax: str
    source: str | None
    file: RowFile
    rows: ArrowRows | MappedRows | None
    unreadable_rows: "UnreadableRows"

    def unreadable(self, first_row: int, count: int) -> dict[int, RowRejection]:
        """Return those rows of a range that could not be read, by their positions in the range."""
        text = self.file.text
        found: dict[int, RowRejection] = {}
        for row in sorted(() if text is None else text.rejected_within(first_row, count)):
            assert text is not None
            one = text.rejected.pop(row)
            reason = f"line {one.line}{'' if one.field is None else f', {one.field}'}: {one.reason}"
            found[row - first_row] = one._replace(field=None, reason=reason)
            several = self.file.first_row is not None
            self.unreadable_rows.add(f"{self.file.name}: {reason}" if several else reason)
        return found

    @contextmanager
    def invalid_events(self) -> Iterator[None]:
        """Raise errors about the rows as `InputError`, with the file if there are several."""
        try:
            with nullcontext() if self.rows is None else invalid_rows(self.rows):
                yield
        except InputError as error:
            if self.file.first_row is None:
                raise
            found = re.search(r"\brow (\d+)\b", str(error))
            place = f" (row {self.file.first_row + int(found[1])} of the input)" if found else ""
            raise InputError(f"{self.file.name}: {error}{place}") from error
        except Exception as error:
            if self.file.first_row is None or self.rows is None or self.rows.failure is None:
                raise
            raise self.rows.failure from error


class EventsToSend:
    """Events of files, or of standard input.

    Parameters
    ----------
    files : Sequence[RowFile]
        The files.
    given : RowFormat, optional
        The format of rows; the suffixes decide if it is None.
    transfer_syntax : str, optional
        The UID of the transfer syntax of encoded data sets.
    ignore_columns : bool
        Whether rows may have columns that fastdimse does not know.
    identify : bool
        Whether parts have a source.
    peers : Sequence of str, optional
        The accepted values of a column of peers.

    Attributes
    ----------
    total : int or None
        The number of events for each peer, if it is known.
    omitted : list of str
        The content of the files read so far that is not sent, and the reasons.
    unreadable : UnreadableRows
        The rows of text that could not be read.
    """

    def __init__(
        self,
        files: Sequence[RowFile],
        given: RowFormat | None,
        transfer_syntax: str | None,
        *,
        ignore_columns: bool,
        identify: bool,
        peers: Sequence[str] = (),
    ) -> None:
        self._files = files
        self._peers = peers
        self._given = given
        self._syntax = transfer_syntax or IMPLICIT_VR
        self._ignore_columns = ignore_columns
        self._identify = identify
        self.total: int | None = None
        self.omitted: list[str] = []
        self.unreadable = UnreadableRows()
        if transfer_syntax is not None and any(map(self._is_capture, files)):
            raise InputError("--transfer-syntax cannot be used for a capture, which states its own")

    def _is_stream(self, file: RowFile) -> bool:
        return self._given is None and Path(file.path).suffix.lower() in P_DATA_SUFFIXES

    def _is_capture(self, file: RowFile) -> bool:
        return self._given is None and capture_format(file.path) is not None

    @contextmanager
    def open(self, *, is_several: bool) -> Iterator[Iterator[Part]]:
        """Open the files, and yield their events in parts.

        The only file is opened here. Several are opened one after another, after a check of the
        columns of all files of rows.
        """
        if not is_several:
            [file] = self._files
            with ExitStack() as opened:
                if self._is_stream(file) or self._is_capture(file):
                    tables, rows = self._tables(file), None
                else:
                    rows = opened.enter_context(
                        open_rows(
                            file,
                            self._given,
                            SENT_COLUMNS,
                            ignore_others=self._ignore_columns,
                            peers=self._peers,
                        )
                    )
                    tables = [(rows, self._syntax)]
                    # Otherwise each peer gets all rows.
                    if not isinstance(rows, ArrowRows) or PEER_COLUMN not in rows.schema.names:
                        self.total = rows.total
                yield self._parts(file, tables, rows, Counter())
            return
        of_rows = [
            one for one in self._files if not (self._is_stream(one) or self._is_capture(one))
        ]
        checked = RowFiles(
            of_rows,
            self._given,
            SENT_COLUMNS,
            ignore_others=self._ignore_columns,
            peers=self._peers,
        )
        if len(of_rows) == len(self._files):
            self.total = checked.total
        yield self._all_parts(checked)

    def _all_parts(self, row_files: RowFiles) -> Iterator[Part]:
        copies: Counter[str] = Counter()
        first_row = 0
        for file in self._files:
            file.first_row = first_row
            if self._is_stream(file) or self._is_capture(file):
                tables = self._tables(file)
                yield from self._parts(file, tables, None, copies)
                first_row += sum(table.num_rows for table, _ in tables)
            else:
                rows = row_files.rows_of(file)
                yield from self._parts(file, [(rows, self._syntax)], rows, copies)
                first_row += rows.read

    def _parts(
        self,
        file: RowFile,
        tables: Sequence[tuple[Any, str]],
        rows: ArrowRows | MappedRows | None,
        copies: Counter[str],
    ) -> Iterator[Part]:
        identity = _content_id(file) if self._identify else None
        if identity is not None:
            # Another file with the same content has other events.
            copies[identity] += 1
            if copies[identity] > 1:
                identity += f", copy {copies[identity]}"
        for number, (events, syntax) in enumerate(tables):
            source = None if identity is None else f"{identity}, part {number}"
            yield Part(events, syntax, source, file, rows, self.unreadable)

    def _tables(self, file: RowFile) -> list[tuple[Any, str]]:
        """Return the requests of a stream or a capture, with their transfer syntaxes."""
        if self._is_stream(file):
            table, omitted = _from_stream(file)
            tables = [(table, self._syntax)]
        else:
            table, omitted = _from_capture(file)
            tables = list(_split_by_syntax(table))
        if file.first_row is None:
            self.total = table.num_rows
            self.omitted += omitted
        else:
            self.omitted += [f"{file.name}: {one}" for one in omitted]
        return tables


@contextmanager
def open_events(
    paths: Sequence[str],
    given: RowFormat | None,
    transfer_syntax: str | None,
    *,
    ignore_columns: bool = False,
    identify: bool = False,
    peers: Sequence[str] = (),
) -> Iterator[tuple[EventsToSend, Iterator[Part]]]:
    """Open the events of files, of folders, or of standard input.

    Parameters
    ----------
    paths : Sequence[str]
        Files, folders, or `PIPE`.
    given : RowFormat, optional
        The format of rows; the suffixes decide if it is None.
    transfer_syntax : str, optional
        The UID of the transfer syntax of encoded data sets; Implicit VR Little Endian by default.
        A capture states its own, and so do rows with TransferSyntaxUID.
    ignore_columns : bool, optional
        Whether rows may have columns that fastdimse does not know.
    identify : bool, optional
        Whether parts have a source, by which an outbox recognizes them.
    peers : Sequence of str, optional
        The accepted values of a column of peers.

    Yields
    ------
    to_send : EventsToSend
        The events.
    parts : iterator of Part
        Their parts.
    """
    several = is_several(paths)
    with ExitStack() as stack:
        files = [RowFile(path) for path in paths]
        if several:
            found = find_and_report(paths)
            # Before anything is copied or opened: unknown suffixes.
            for path in found:
                if Path(path).suffix.lower() not in P_DATA_SUFFIXES and not capture_format(path):
                    row_format(path, given)
            files = [stack.enter_context(repeatable(path)) for path in found]
        to_send = EventsToSend(
            files,
            given,
            transfer_syntax,
            ignore_columns=ignore_columns,
            identify=identify,
            peers=peers,
        )
        yield to_send, stack.enter_context(to_send.open(is_several=several))


def _content_id(file: RowFile) -> str | None:
    """Return an identifier of the content of a file; None for standard input."""
    if file.path == PIPE:
        return None
    with open(file.copy or file.path, "rb") as content:
        return f"SHA-256 {hashlib.file_digest(content, 'sha256').hexdigest()}"


def _from_stream(file: RowFile) -> tuple[Any, list[str]]:
    """Return the requests of a stream, and the content that is not sent."""
    try:
        decoded = decode_events(read_input(file.copy or file.path), on_invalid="skip")
    except DecodeError as error:
        raise InputError(f"{file.name}: {error}") from error
    table = pa.table(decoded)
    table = table.cast(plain_schema(table.schema))
    requests = table.filter(pa.compute.is_null(table["MessageIDBeingRespondedTo"]))
    omitted = [str(one) for one in decoded.rejected]
    if responses := table.num_rows - requests.num_rows:
        omitted.append(f"{plural(responses, 'response')}: only requests are sent")
    return requests.select(_REQUEST_COLUMNS), omitted


def _from_capture(file: RowFile) -> tuple[Any, list[str]]:
    """Return the events of a capture, and the content that is not sent."""
    try:
        decoded = decode_capture(read_input(file.copy or file.path), on_invalid="skip")
    except DecodeError as error:
        raise InputError(f"{file.name}: {error}") from error
    return pa.table(decoded), [str(one) for one in decoded.faults]


def _split_by_syntax(table: Any) -> Iterator[tuple[Any, str]]:
    """Split a table where the transfer syntax changes."""
    syntaxes = table["TransferSyntaxUID"].to_pylist()
    begin = 0
    for row, syntax in enumerate(syntaxes):
        if row + 1 == len(syntaxes) or syntaxes[row + 1] != syntax:
            part = table.slice(begin, row + 1 - begin).select(_REQUEST_COLUMNS)
            yield part, syntax or IMPLICIT_VR
            begin = row + 1
