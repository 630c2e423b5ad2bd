"""``fastdimse provide-commitment``: respond to storage commitment requests."""

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from .errors import invalid_options
from .options import (
    ASSOCIATION,
    Certificate,
    ClientCa,
    Key,
    flag,
    in_range,
    server_tls,
)
from .signals import first_signal
from .terminal import note, plural, print_json, print_line, printable

_SECONDS_PER_DAY = 86400.0
# Seconds between two looks for a signal.
_POLL_INTERVAL = 0.1


def provide_commitment(
    port: Annotated[
        int,
        typer.Argument(
            metavar="PORT",
            callback=in_range(0, 65535),
            help="Port to listen on. 0: a free port.",
        ),
    ],
    index: Annotated[
        Path,
        typer.Option(
            metavar="PARQUET",
            help="Parquet file, or folder of such files, with a row for each stored instance: "
            "SOPInstanceUID and SOPClassUID. It is read for each request.",
        ),
    ],
    peers: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="File with a table for each requester, named by its AE title: host, port, and "
            "other parameters of Peer.",
        ),
    ] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep requests in this file until they are reported. After a crash, the same "
            "command continues. Default: in memory.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Local address to listen on.")
    ] = "0.0.0.0",
    ae_title: Annotated[
        str | None,
        typer.Option(
            metavar="AE",
            help="Local AE title, which requesters must call. Default: any.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = None,
    calling_aes: Annotated[
        list[str] | None,
        typer.Option(
            "--calling-ae",
            metavar="AE",
            help="AE title of an accepted requester. Repeatable. Default: any.",
            rich_help_panel=ASSOCIATION,
        ),
    ] = None,
    own_association: Annotated[
        bool,
        flag(
            "--own-association",
            "Report only on associations with the peers, not on those of the requests.",
            ASSOCIATION,
        ),
    ] = False,
    retrieve_ae: Annotated[
        str | None,
        typer.Option(
            metavar="AE", help="AE title in the reports from which instances can be retrieved."
        ),
    ] = None,
    keep_days: Annotated[
        float,
        typer.Option(
            metavar="DAYS",
            callback=in_range(0),
            help="Delete reported requests from the database after this time.",
        ),
    ] = 30.0,
    as_json: Annotated[
        bool, flag("--json", "Print the summary as a JSON object on standard output.")
    ] = False,
    ca: ClientCa = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Respond to storage commitment requests (PS3.4 J) with the instances of a Parquet index.

    The result is reported on the association of the request, or, if that has ended, on an
    association with the peer that has the AE title of the requester.

    Ctrl-C (or SIGTERM) ends the command with exit code 0. Requests that are not reported remain in
    the database.

    Example: fastdimse provide-commitment 11112 --index index.parquet --peers peers.toml
    """
    from fastdimse import storage_commitment

    secure = server_tls(ca, certificate, key)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(message)s"))
    logging.getLogger("fastdimse").addHandler(handler)
    logging.getLogger("fastdimse.storage_commitment").setLevel(logging.INFO)
    with invalid_options():
        lookup = storage_commitment.index_lookup(index)
        known = {} if peers is None else storage_commitment.load_peers(peers, calling_ae=ae_title)
    with first_signal() as is_signalled:
        with invalid_options():
            provider = storage_commitment.provide(
                port,
                lookup=lookup,
                peers=known,
                database=database,
                host=host,
                ae_title=ae_title,
                same_association=not own_association,
                retrieve_ae_title=retrieve_ae,
                forget_after=keep_days * _SECONDS_PER_DAY,
                calling_aes=calling_aes,
                tls=secure,
            )
        with provider:
            note(f"listening on {host}:{provider.port}")
            while not is_signalled():
                time.sleep(_POLL_INTERVAL)
            states = Counter(provider.transactions()["State"])
    if as_json:
        print_json({"transactions": states.total(), "states": dict(sorted(states.items()))})
        return
    summary = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    print_line(f"{plural(states.total(), 'transaction')}{': ' if summary else ''}{summary}")


class _OneLine(logging.Formatter):
    """Escapes control characters of peers."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))
