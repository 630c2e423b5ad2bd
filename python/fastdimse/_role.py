"""The role of the local side on the associations with a peer (PS3.7 D.3.3.4)."""

from fastdimse._core import Peer


def check_scu(peer: Peer) -> None:
    """Raise ValueError if the local side cannot request actions from a peer."""
    if peer.role == "scp":
        raise ValueError('peer has the role "scp", but a request needs Peer(..., role="scu")')
