"""The addresses to which an SCP reports, from a TOML file."""

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from fastdimse._core import TLS, Peer

from ._standard import SOP_CLASS_UID

_TLS_OPTIONS = {"ca", "certificate", "key", "server_name", "check_hostname"}


def load_peers(path: str | os.PathLike[str], *, calling_ae: str | None = None) -> dict[str, Peer]:
    """Read peers from a TOML file.

    The file has a table for each peer. The name of the table is the AE title of the peer. Its keys
    are *host*, *port*, and other parameters of :class:`fastdimse.Peer`. *tls* is ``true``, or a
    table with parameters of :class:`fastdimse.TLS`::

        [MODALITY]
        host = "192.0.2.7"
        port = 11112

        ["CT 2"]
        host = "ct2.example.org"
        port = 2762
        tls = { ca = "/etc/ssl/hospital.pem" }

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    calling_ae : str, optional
        Local AE title for peers without *calling_ae*.

    Returns
    -------
    dict of str to Peer
        The peers, by AE title.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is not TOML, or a peer has invalid parameters.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import mkdtemp
    >>> from fastdimse.storage_commitment import load_peers
    >>> path = Path(mkdtemp(), "peers.toml")
    >>> _ = path.write_text('[MODALITY]\\nhost = "192.0.2.7"\\nport = 11112\\n')
    >>> load_peers(path, calling_ae="PACS")
    {'MODALITY': <Peer: MODALITY>}
    """
    with open(path, "rb") as file:
        try:
            tables = tomllib.load(file)
        except ValueError as error:
            raise ValueError(f"{os.fsdecode(path)}: {error}") from error
    peers = {}
    for ae_title, options in tables.items():
        try:
            peers[ae_title] = _peer(ae_title, options, calling_ae)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise ValueError(f"{os.fsdecode(path)}: [{ae_title}]: {error}") from error
    return peers


def _peer(ae_title: str, options: Any, calling_ae: str | None) -> Peer:
    if not isinstance(options, Mapping):
        raise TypeError(f"must be a table with host and port, not {options!r}")
    if missing := {"host", "port"} - set(options):
        raise ValueError(f"{' and '.join(sorted(missing))} missing")
    known = dict(options)
    if isinstance(tls := known.get("tls"), Mapping):
        if unknown := set(tls) - _TLS_OPTIONS:
            raise ValueError(f"unknown parameters of tls: {', '.join(sorted(unknown))}")
        known["tls"] = TLS(**tls)
    if calling_ae is not None:
        known.setdefault("calling_ae", calling_ae)
    known.setdefault("called_ae", ae_title)
    known.setdefault("sop_classes", [SOP_CLASS_UID])
    # Reports in the outbox belong to a name, and remain due if the address changes.
    known.setdefault("name", ae_title)
    return Peer(**known)
