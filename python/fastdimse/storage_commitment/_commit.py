"""Request commitment and wait for the reports, in one call."""

import os
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from fastdimse._core import Peer, listen
from fastdimse._role import check_scu

from ._references import SOP_CLASS, SOP_INSTANCE, Reference, References, read_references
from ._requests import CommitmentRequests
from ._standard import SOP_CLASS_UID

# Seconds to wait for the report of the first of several transactions. An SCP that sends it in this
# time on the association of the request gets the next request after it.
_FIRST_REPORT = 1.0


def commit(
    peer: Peer | tuple[str, int],
    instances: Any,
    *,
    database: str | os.PathLike[str] | None = None,
    port: int | None = None,
    host: str = "0.0.0.0",
    timeout: float | None = 60.0,
    max_references: int = 1000,
    repeat: bool = False,
) -> dict[str, list[Any]]:
    """Request the commitment of instances, and wait for the reports.

    The association of the requests remains open while this function waits, so that the SCP can
    report on it. Many SCPs report on an association of their own instead: they need the address of
    this program in their configuration, and `port`.

    Parameters
    ----------
    peer : Peer or tuple of str and int
        The SCP: a `Peer` with the role "scu", or its host and port.
    instances : path, iterable, mapping of columns, Arrow table, or References
        Same as for :func:`read_references`. Files that cannot be read are ignored: to learn their
        names, call that function and pass its result.
    database : str or os.PathLike, optional
        The file of a :class:`CommitmentRequests`, which later runs can join with late reports. By
        default, requests without a report are lost when this function returns.
    port : int, optional
        Port to listen on for reports on associations of the SCP. By default only reports on the
        association of the requests are received.
    host : str, default "0.0.0.0"
        Local address to listen on.
    timeout : float, default 60.0
        Maximum time to wait for the reports, in seconds; ``None`` for no limit.
    max_references : int, default 1000
        Maximum number of instances of a transaction. If the SCP reports the first of several
        transactions within a second, each request is sent after the report before it, because many
        SCPs cannot receive a request while they wait for the response to a report.
    repeat : bool, default False
        Whether to request instances that this SCP has committed, and those whose request is open,
        again. By default a program that was killed can call this function again with the same
        database: it only waits for the reports of open requests.

    Returns
    -------
    dict of str to list
        Same as :meth:`CommitmentRequests.results`, a row for each of `instances`. Instances without
        a report are *late* after `timeout`, and *open* if nothing could bring one any more, because
        the association has ended and there is no `port`.

    Raises
    ------
    AssociationError
        If no association can be opened.
    OSError
        If the port cannot be bound.
    StorageCommitmentError
        If the database cannot be used.
    TypeError, ValueError
        Same as :func:`read_references`, or if `peer` has the role "scp".

    Examples
    --------
    >>> from fastdimse.storage_commitment import commit, provide
    >>> ct = "1.2.840.10008.5.1.4.1.1.2"
    >>> with provide(0, host="localhost", lookup=lambda references: [True, False]) as provider:
    ...     results = commit(
    ...         ("localhost", provider.port), [(ct, "1.2.3.1"), (ct, "1.2.3.2")], timeout=10
    ...     )
    >>> results["State"]
    ['committed', 'failed']
    """
    if max_references < 1:
        raise ValueError(f"max_references must be at least 1, not {max_references}")
    to = _scp(peer)
    found = instances if isinstance(instances, References) else read_references(instances)
    with ExitStack() as stack:
        requests = stack.enter_context(CommitmentRequests(database))
        if port is not None:
            stack.enter_context(
                listen(port, host=host, sop_classes=[SOP_CLASS_UID], event_handler=requests.handle)
            )
        known = {} if repeat else _latest(requests, to.called_ae)
        new = [one for one in found.references if known.get(one[:2]) not in ("committed", "open")]
        if new or "open" in {known.get(one[:2]) for one in found.references}:
            association = stack.enter_context(to.connect(event_handler=requests.handle))
            start, wait = 0, _FIRST_REPORT
            while start < len(new):
                end = start + max_references if wait else len(new)
                sent = requests.request(
                    association,
                    References(new[start:end], {}),
                    max_references=max_references,
                    time_limit=timeout,
                    called_ae=to.called_ae,
                )
                start = end
                if wait and start < len(new):
                    is_reported = requests.wait(
                        sent, timeout=wait, association=association, until_released=True
                    )
                    wait = wait if is_reported else 0.0
            columns = requests.results()
            rows = _rows_of(columns, to.called_ae, found.references)
            requests.wait(
                {columns["TransactionUID"][row] for row in rows},
                timeout=timeout,
                association=association,
                until_released=port is None,
            )
        columns = requests.results()
        rows = _rows_of(columns, to.called_ae, found.references)
        files = [one.file for one in found.references]
        return {
            name: files if name == "File" else [values[row] for row in rows]
            for name, values in columns.items()
        }


def _scp(peer: Peer | tuple[str, int]) -> Peer:
    """Return the SCP, with which the local side must be the SCU."""
    if isinstance(peer, Peer):
        check_scu(peer)
        return peer
    if not isinstance(peer, tuple) or len(peer) != 2:
        raise TypeError(f"peer must be a Peer, or a tuple of host and port, not {peer!r}")
    host, port = peer
    return Peer(host, port, role="scu", sop_classes=[SOP_CLASS_UID])


def _rows(columns: dict[str, list[Any]], called_ae: str) -> dict[tuple[str, str], int]:
    """Return the row of the last request to an SCP for each instance."""
    pairs = zip(columns[SOP_CLASS], columns[SOP_INSTANCE], columns["CalledAE"], strict=True)
    return {
        (sop_class, instance): row
        for row, (sop_class, instance, title) in enumerate(pairs)
        if title == called_ae
    }


def _latest(requests: CommitmentRequests, called_ae: str) -> dict[tuple[str, str], str]:
    """Return the state of each instance of which the commitment was requested before."""
    columns = requests.results()
    return {pair: columns["State"][row] for pair, row in _rows(columns, called_ae).items()}


def _rows_of(
    columns: dict[str, list[Any]], called_ae: str, references: Iterable[Reference]
) -> list[int]:
    """Return the row of the last request for each reference."""
    rows = _rows(columns, called_ae)
    return [rows[one[:2]] for one in references]
