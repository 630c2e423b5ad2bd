"""Storage commitment (PS3.4 Annex J), as SCU and as SCP.

A storage commitment is the confirmation of an archive (the SCP) that it stores instances safely.
The requester (the SCU), for example a modality, can then delete them. The SCU sends an N-ACTION
request with references to instances. The SCP reports the result later, in an N-EVENT-REPORT
request, on the same association or on another one.

:func:`commit` requests the commitment of instances and waits for the reports.
:class:`CommitmentRequests` keeps requests and reports in a file. :func:`provide` runs an SCP.
"""

from ._commit import commit
from ._errors import StorageCommitmentError
from ._failure_reasons import FAILURE_REASONS, describe_failure_reason
from ._index import index_lookup
from ._peers import load_peers
from ._provider import CommitmentProvider, provide
from ._references import Reference, References, read_references
from ._requests import CommitmentRequests

__all__ = [
    "FAILURE_REASONS",
    "CommitmentProvider",
    "CommitmentRequests",
    "Reference",
    "References",
    "StorageCommitmentError",
    "commit",
    "describe_failure_reason",
    "index_lookup",
    "load_peers",
    "provide",
    "read_references",
]

# `repr`, `help` and pickles name the public path.
for _public in (
    *(CommitmentProvider, CommitmentRequests, Reference, References, StorageCommitmentError),
    *(commit, describe_failure_reason, index_lookup, load_peers, provide, read_references),
):
    _public.__module__ = __name__
