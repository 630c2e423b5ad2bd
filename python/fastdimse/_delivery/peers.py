"""Peers by name and by called AE title."""

from collections.abc import Iterable

from fastdimse._core import Peer


class PeerNames:
    """The peers of a delivery, found by name or by called AE title.

    Parameters
    ----------
    peers : iterable of Peer
        The peers.

    Raises
    ------
    ValueError
        If two peers have the same name.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        self._by_name: dict[str, Peer] = {}
        self._by_title: dict[str, dict[str, Peer]] = {}
        for peer in peers:
            self.add(peer)

    def add(self, peer: Peer) -> None:
        """Add a peer.

        Raises
        ------
        ValueError
            If another peer has its name.
        """
        if peer.name in self._by_name:
            raise ValueError(f"peers must have different names: {peer.name} occurs 2 times")
        self._by_name[peer.name] = peer
        self._by_title.setdefault(_title(peer.called_ae), {})[peer.name] = peer

    def remove(self, peer: Peer) -> None:
        """Remove a peer."""
        del self._by_name[peer.name]
        title = _title(peer.called_ae)
        del self._by_title[title][peer.name]
        if not self._by_title[title]:
            del self._by_title[title]

    def find(self, name: str) -> Peer:
        """Return the peer with a name, or the only one with a called AE title.

        Raises
        ------
        ValueError
            If there is no such peer, or there are several with this title.
        """
        found = self._by_name.get(name)
        if found is not None:
            return found
        # A copy: another thread may add or remove a peer.
        candidates = dict(self._by_title.get(_title(name), ()))
        if len(candidates) > 1:
            raise ValueError(
                f"several peers have the called AE title {name!r}: give the name of one, "
                f"{' or '.join(map(repr, sorted(candidates)))}"
            )
        for peer in candidates.values():
            return peer
        raise ValueError(f"no peer of this delivery has the name or called AE title {name!r}")

    def resolve(self, peer: Peer | str) -> Peer:
        """Return a peer of this delivery: the same one, or one that is found by a name or title.

        Raises
        ------
        ValueError
            If it is not a peer of this delivery, or there are several with this title.
        """
        if isinstance(peer, str):
            return self.find(peer)
        if not isinstance(peer, Peer):
            raise TypeError(f"a peer must be a Peer or a str, not {type(peer).__name__}")
        if self._by_name.get(peer.name) is not peer:
            raise ValueError(f"peer must be a peer of this delivery, not {peer!r}")
        return peer


def _title(title: str) -> str:
    # Leading and trailing spaces are not significant (PS3.8 9.3.2).
    return title.strip(" ")
