"""Options of secure connections, and of who opens them."""

from pathlib import Path
from typing import Annotated

import typer

from fastdimse import TLS

from .row_files.rows import refused_values

_PANEL = "Security"

UseTls = Annotated[
    bool,
    typer.Option("--tls", help="TLS, with the authorities of the system.", rich_help_panel=_PANEL),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM", help="TLS, with the authorities of this file.", rich_help_panel=_PANEL
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(metavar="PEM", help="The certificate of this end.", rich_help_panel=_PANEL),
]
Key = Annotated[
    Path | None,
    typer.Option(metavar="PEM", help="The key of that certificate.", rich_help_panel=_PANEL),
]
ServerName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The name that the peer's certificate has; else HOST.",
        rich_help_panel=_PANEL,
    ),
]
NoHostnameCheck = Annotated[
    bool,
    typer.Option(
        "--no-hostname-check",
        help="Accept any name in the peer's certificate.",
        rich_help_panel=_PANEL,
    ),
]
Username = Annotated[
    str | None,
    typer.Option(help="The user that associations are opened for.", rich_help_panel=_PANEL),
]
Passcode = Annotated[
    str | None,
    typer.Option(
        envvar="FASTDIMSE_PASSCODE",
        help="The user's passcode; others can see it here, but not in the environment.",
        rich_help_panel=_PANEL,
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
    """Return how a connection is secure that this end opens, if it is to be."""
    if not (tls or ca or certificate or key or server_name or no_hostname_check):
        return None
    with refused_values():
        return TLS(
            ca=ca,
            certificate=certificate,
            key=key,
            server_name=server_name,
            check_hostname=not no_hostname_check,
        )


def server_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> TLS | None:
    """Return how connections are secure that this end accepts, if they are to be."""
    if not (ca or certificate or key):
        return None
    with refused_values():
        return TLS(ca=ca, certificate=certificate, key=key)
