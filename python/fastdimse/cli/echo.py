"""``fastdimse echo``: verify the connection to a peer with C-ECHO."""

import time
from typing import Annotated

import typer

from fastdimse import AssociationError, Peer

from .delivery_table import milliseconds
from .errors import invalid_options
from .exit_codes import ExitCode
from .options import (
    Ca,
    Certificate,
    Host,
    Key,
    LocalAE,
    NoHostnameCheck,
    Passcode,
    PeerAE,
    Port,
    ServerName,
    Username,
    UseTLS,
    client_tls,
    flag,
    in_range,
)
from .terminal import error_line, print_json, print_line


def echo(
    host: Host,
    port: Port,
    called_ae: PeerAE = "ANY-SCP",
    calling_ae: LocalAE = "EVENT-SCP",
    count: Annotated[
        int,
        typer.Option(
            "--count",
            "-n",
            metavar="N",
            callback=in_range(1),
            help="Number of C-ECHO requests.",
        ),
    ] = 1,
    interval: Annotated[
        float,
        typer.Option(metavar="SECONDS", callback=in_range(0), help="Time between two requests."),
    ] = 1.0,
    as_json: Annotated[bool, flag("--json", "Print a JSON object for each request.")] = False,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Timeout of each step: the connection, the association, the response.",
        ),
    ] = 5.0,
    tls: UseTLS = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
    no_hostname_check: NoHostnameCheck = False,
    username: Username = None,
    passcode: Passcode = None,
) -> None:
    """Verify the connection to a peer: C-ECHO, each on a new association.

    The exit code is 1 if a response is missing.

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
    with invalid_options():
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
        latency = problem = None
        try:
            latency = peer.echo()
        except AssociationError as error:
            missing += 1
            problem = str(error)
            error_line(f"{called_ae}@{host}:{port}: {error}")
        if as_json:
            print_json(
                {
                    **{"host": host, "port": port},
                    **{"called_ae": called_ae, "calling_ae": calling_ae},
                    **{"request": number + 1, "latency": latency, "error": problem},
                }
            )
        elif latency is not None:
            print_line(f"{called_ae}@{host}:{port}: response in {milliseconds(latency)}")
    if missing:
        raise typer.Exit(ExitCode.INCOMPLETE)
