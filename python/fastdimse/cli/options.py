"""Options that several commands share, and the panels that group options in ``--help``."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fastdimse import TLS

from .errors import invalid_options
from .row_files.formats import RowFormat

IMPLICIT_VR = "1.2.840.10008.1.2"

ASSOCIATION = "Association"
CAPTURES = "Captures"
DATA_SETS = "Data sets"
DELIVERY = "Delivery"
ENCODING = "Encoding"
FILES = "Files"
FILTERS = "Filters"
OPERATION = "Operation"
RESULTS = "Results"
SECURITY = "Security"


class Framing(StrEnum):
    """What a stream consists of."""

    P_DATA = "p-data"
    COMMAND_SET = "command-set"


class DataSetForm(StrEnum):
    """The form of data sets in rows."""

    BYTES = "bytes"
    STRUCTURED = "structured"
    DICOM_JSON = "dicom-json"


def in_range(lowest: float, highest: float | None = None) -> Callable[[Any], Any]:
    """Return a callback that rejects a number below `lowest` or above `highest`.

    The `min` and `max` of typer would add an interval to the type of the option in ``--help``, too
    wide for a terminal of 60 columns. The help text states the limits instead.
    """

    def check(value: Any) -> Any:
        if value is None or (value >= lowest and (highest is None or value <= highest)):
            return value
        limits = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise typer.BadParameter(f"must be {limits}, not {value}")

    return check


def flag(name: str, help: str, panel: str | None = None) -> Any:
    """Return an option without a value. The empty `metavar` hides the type in ``--help``."""
    return typer.Option(name, metavar="", help=help, rich_help_panel=panel)


# ----------------------------------------------------------------------- rows

RowsIn = Annotated[
    list[str],
    typer.Argument(
        metavar="IN",
        help="Rows: Parquet, Arrow, NDJSON or CSV files, folders of such files, or - for standard "
        "input. NDJSON and CSV can be compressed (.gz, .zst).",
    ),
]
InputFormat = Annotated[
    RowFormat | None,
    typer.Option(
        "--format",
        "-f",
        metavar="FORMAT",
        help="Format of the rows in IN: parquet, arrow, ndjson or csv. Default: by the suffix.",
    ),
]
Rejects = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Write every rejection to this file of rows; format by the suffix."
    ),
]
LenientUIDs = Annotated[
    bool, flag("--lenient-uids", "Accept UIDs that do not conform to PS3.5 9.1.")
]
IgnoreColumns = Annotated[
    bool,
    flag(
        "--ignore-columns",
        "Ignore columns that fastdimse does not know. Without this option they are an error.",
    ),
]
Head = Annotated[
    int,
    typer.Option(
        metavar="N",
        callback=in_range(0),
        help="Print at most this many rows of the table. 0: no limit.",
    ),
]
FramingOption = Annotated[
    Framing,
    typer.Option(
        metavar="KIND",
        help="Content of the stream: p-data (P-DATA-TF PDUs), or command-set (command sets only).",
        rich_help_panel=ENCODING,
    ),
]
StructuredSyntax = Annotated[
    str,
    typer.Option(
        "--transfer-syntax",
        metavar="UID",
        help="Transfer syntax to encode structured data sets in: Implicit or Explicit VR Little "
        "Endian.",
        rich_help_panel=ENCODING,
    ),
]
EncodedSyntax = Annotated[
    str | None,
    typer.Option(
        "--transfer-syntax",
        metavar="UID",
        help="Transfer syntax of encoded data sets in rows and streams: Implicit VR Little Endian "
        f"({IMPLICIT_VR}, the default) or Explicit VR Little Endian. A capture states its transfer "
        "syntaxes.",
        rich_help_panel=DATA_SETS,
    ),
]

# --------------------------------------------------------------------- filters

PeerFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--peer",
        metavar="PEER",
        help="Only events that this peer sent or received: an AE title, an IP address, or "
        "ADDRESS:PORT. Repeatable.",
        rich_help_panel=FILTERS,
    ),
]
StatusFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only events with this Status: hexadecimal (0112), a category (success, warning, "
        "failure) or a name. Repeatable.",
        rich_help_panel=FILTERS,
    ),
]
EventFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--event",
        metavar="EVENT",
        help="Only events of this SOP class (name or UID) or event type (name or Event Type ID); "
        "the beginning of a name is enough. n-action: actions. Repeatable.",
        rich_help_panel=FILTERS,
    ),
]
UnansweredFilter = Annotated[bool, flag("--unanswered", "Only events without a response.", FILTERS)]
FailedFilter = Annotated[
    bool,
    flag(
        "--failed",
        "Only events with a Status of the category failure, and reports of instances that are not "
        "committed. With --unanswered or --status: also those.",
        FILTERS,
    ),
]
LatencyFilter = Annotated[
    str | None,
    typer.Option(
        "--slower-than",
        metavar="TIME",
        help="Only events with a longer latency: a number with ns, us, ms, s or min; without a "
        "unit, in milliseconds.",
        rich_help_panel=FILTERS,
    ),
]
SinceFilter = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only events at this time or later: ISO 8601, or a time of day on the first day of "
        "the capture. UTC, unless it has an offset.",
        rich_help_panel=FILTERS,
    ),
]
UntilFilter = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Only events at this time or earlier.",
        rich_help_panel=FILTERS,
    ),
]

# ----------------------------------------------------------------------- peers

Host = Annotated[str, typer.Argument(metavar="HOST", help="Host name or IP address of the peer.")]
Port = Annotated[
    int, typer.Argument(metavar="PORT", callback=in_range(1, 65535), help="Port of the peer.")
]
PeerAE = Annotated[
    str,
    typer.Option(
        "--called-ae", metavar="AE", help="AE title of the peer.", rich_help_panel=ASSOCIATION
    ),
]
LocalAE = Annotated[
    str,
    typer.Option("--calling-ae", metavar="AE", help="Local AE title.", rich_help_panel=ASSOCIATION),
]

# -------------------------------------------------------------------- security

UseTLS = Annotated[
    bool, flag("--tls", "Use TLS with the certificate authorities of the system.", SECURITY)
]
Ca = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM",
        help="Use TLS with the certificate authorities in this file.",
        rich_help_panel=SECURITY,
    ),
]
ClientCa = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        metavar="PEM",
        help="Require a certificate of the peer, issued by an authority in this file.",
        rich_help_panel=SECURITY,
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(metavar="PEM", help="Local certificate, for TLS.", rich_help_panel=SECURITY),
]
Key = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM", help="Private key of the local certificate.", rich_help_panel=SECURITY
    ),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Host name that the peer's certificate must have. Default: HOST.",
        rich_help_panel=SECURITY,
    ),
]
NoHostnameCheck = Annotated[
    bool,
    flag(
        "--no-hostname-check",
        "Do not check the host name in the peer's certificate.",
        SECURITY,
    ),
]
Username = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="User name for User Identity Negotiation (PS3.7 D.3.3.7).",
        rich_help_panel=SECURITY,
    ),
]
Passcode = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        envvar="FASTDIMSE_PASSCODE",
        show_envvar=False,
        help="Passcode of that user. Other users of this machine can read the command line: set "
        "FASTDIMSE_PASSCODE in the environment instead.",
        rich_help_panel=SECURITY,
    ),
]


def client_tls(
    *,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str | None,
    no_hostname_check: bool,
) -> TLS | None:
    """Return the TLS options of connections to a peer; None for plain connections."""
    if not (tls or ca or certificate or key or server_name or no_hostname_check):
        return None
    with invalid_options():
        return TLS(
            ca=ca,
            certificate=certificate,
            key=key,
            server_name=server_name,
            check_hostname=not no_hostname_check,
        )


def server_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> TLS | None:
    """Return the TLS options of accepted connections; None for plain connections."""
    if not (ca or certificate or key):
        return None
    with invalid_options():
        return TLS(ca=ca, certificate=certificate, key=key)
