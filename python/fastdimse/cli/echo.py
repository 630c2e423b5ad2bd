"""``fastdimse echo``: whether a peer is there."""

import time
from typing import Annotated

import typer

from fastdimse import AssociationError, Peer

from .delivery_table import milliseconds
from .row_files.rows import refused_values
from .terminal import error_line, printable
from .tls_options import (
    Ca,
    Certificate,
    Key,
    NoHostnameCheck,
    Passcode,
    ServerName,
    Username,
    UseTls,
    client_tls,
)


def echo(
    host: Annotated[str, typer.Argument(help="The peer's name or address.")],
    port: Annotated[int, typer.Argument(help="Its port.", min=1, max=65535)],
    called_ae: Annotated[str, typer.Option(help="The peer's AE title.")] = "ANY-SCP",
    calling_ae: Annotated[str, typer.Option(help="This end's AE title.")] = "EVENT-SCP",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How often to ask.")] = 1,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait in between.")
    ] = 1.0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long each step may take.")
    ] = 5.0,
    tls: UseTls = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Ask a peer whether it is there: C-ECHO, each on an association of its own.

    The exit code is 1 where an answer is missing.

    Example: fastdimse echo pacs.example.org 104 --called-ae PACS
    """
    secure = client_tls(
        tls=tls,
        ca=ca,
        certificate=certificate,
        key=key,
        server_name=server_name,
        no_hostname_check=no_hostname_check,
    )
    with refused_values():
        peer = Peer(
            host,
            port,
            called_ae=called_ae,
            calling_ae=calling_ae,
            connection_timeout=timeout,
            association_timeout=timeout,
            response_timeout=timeout,
            tls=secure,
            username=username,
            passcode=passcode,
        )
    missing = 0
    for number in range(count):
        if number:
            time.sleep(interval)
        try:
            took = peer.echo()
        except AssociationError as error:
            missing += 1
            error_line(f"{called_ae}@{host}:{port}: {error}")
        else:
            print(printable(f"{called_ae}@{host}:{port} answered in {milliseconds(took)}"))
    if missing:
        raise typer.Exit(1)
