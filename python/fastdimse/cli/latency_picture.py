"""A picture of the events in a capture: their latency over time, by peer."""

import importlib
import warnings
from array import array
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from .event_names import title
from .event_rows import ACTION

_MAX_POINTS = 20_000
_MAX_PEERS = 10
# As many colours as named peers, from matplotlib's tab10.
_COLOURS = [f"C{number}" for number in range(_MAX_PEERS)]
# Readable on light and dark pages.
_GREY = "#808080"
_OTHERS = "other peers"
# The height of the marks of events without a response, as a part of the height of the picture.
_TOP = 0.97
# From this factor between the shortest and the longest latency, the scale is logarithmic.
_LOGARITHMIC = 30


class _Peer:
    """The points of a sender and a receiver.

    If there are too many points, each two neighbours are replaced by the slower one.
    """

    def __init__(self) -> None:
        self.times: array[float] = array("d")
        self.latencies: array[float] = array("d")
        self.unanswered: array[float] = array("d")
        self.count = 0
        self.count_unanswered = 0

    def add(self, times: list[float], latencies: list[float]) -> None:
        self.count += len(times)
        self.times.extend(times)
        self.latencies.extend(latencies)
        while len(self.times) > _MAX_POINTS:
            pairs = zip(self.latencies, self.times, strict=True)
            kept = [max(two) for two in zip(pairs, pairs, strict=False)]
            self.times = array("d", (time for _, time in kept))
            self.latencies = array("d", (latency for latency, _ in kept))

    def add_unanswered(self, times: list[float]) -> None:
        self.count += len(times)
        self.count_unanswered += len(times)
        self.unanswered.extend(times)
        while len(self.unanswered) > _MAX_POINTS:
            self.unanswered = self.unanswered[::2]


class LatencyPicture:
    """Collects the latencies of all batches, and draws them.

    Parameters
    ----------
    path : pathlib.Path
        The file, ``.svg`` or ``.png``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._peers: dict[str, _Peer] = {}

    def add(self, tables: Sequence[Any]) -> None:
        """Add events and actions, as `event_rows` returns them."""
        for table in tables:
            self._add(table)

    def _add(self, events: Any) -> None:
        requests = events.filter(pa.compute.is_null(events.column("MessageIDBeingRespondedTo")))
        times = requests.column("Time").cast(pa.int64())
        latencies = requests.column("Latency").cast(pa.int64())
        keys = ["From", "To", ACTION]
        groups = (
            requests.select(keys)
            .append_column("Time", times)
            .append_column("Latency", latencies)
            .group_by(keys, use_threads=False)
            .aggregate([("Time", "list"), ("Latency", "list")])
        )
        for group in groups.to_pylist():
            label = f"{title(group['From'])} → {title(group['To'])}"
            peer = self._peer(f"{label} N-ACTION" if group[ACTION] else label)
            both = list(zip(group["Time_list"], group["Latency_list"], strict=True))
            known = [one for one in both if one[1] is not None]
            peer.add([time / 1e9 for time, _ in known], [latency / 1e6 for _, latency in known])
            peer.add_unanswered([time / 1e9 for time, latency in both if latency is None])

    def _peer(self, label: str) -> _Peer:
        if label not in self._peers and len(self._peers) >= 10 * _MAX_PEERS:
            label = _OTHERS
        return self._peers.setdefault(label, _Peer())

    def draw(self) -> None:
        """Draw the picture."""
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot

        dates: Any = importlib.import_module("matplotlib.dates")
        figure, axes = pyplot.subplots(figsize=(10, 5), layout="constrained")
        for (label, peer), colour in zip(self._named_peers(), [*_COLOURS, _GREY], strict=False):
            _draw_peer(axes, label, peer, colour)
        _set_scale(axes, [one for peer in self._peers.values() for one in peer.latencies])
        axes.xaxis.axis_date(tz=UTC)
        locator = dates.AutoDateLocator(tz=UTC)
        axes.xaxis.set_major_locator(locator)
        formatter = dates.ConciseDateFormatter(locator, tz=UTC)
        formatter.offset_formats[3:] = ["%Y-%m-%d"] * 3
        formatter.formats[5] = "%H:%M:%S.%f"
        axes.xaxis.set_major_formatter(formatter)
        axes.set(xlabel="time (UTC)", ylabel="latency in ms")
        _style(axes, named=bool(self._peers))
        with warnings.catch_warnings():
            # Characters of names that the font lacks are drawn as boxes.
            warnings.simplefilter("ignore")
            is_svg = self._path.suffix.lower() == ".svg"
            figure.savefig(self._path, transparent=is_svg, dpi=120)
        pyplot.close(figure)

    def _named_peers(self) -> list[tuple[str, _Peer]]:
        """Return the peers with the most events, and one that has all other events."""
        peers = sorted(self._peers.items(), key=lambda one: one[1].count, reverse=True)
        named = [one for one in peers if one[0] != _OTHERS][:_MAX_PEERS]
        others = _Peer()
        for one in peers:
            if one not in named:
                others.add(list(one[1].times), list(one[1].latencies))
                others.add_unanswered(list(one[1].unanswered))
                others.count_unanswered += one[1].count_unanswered - len(one[1].unanswered)
        return [*named, (_OTHERS, others)] if others.count else named


def _draw_peer(axes: Any, label: str, peer: _Peer, colour: str) -> None:
    if peer.unanswered:
        label = f"{label} ({peer.count_unanswered:,} without a response: x)"
    # matplotlib omits labels with an underscore at the beginning.
    label = f" {label}" if label.startswith("_") else label
    moments = [datetime.fromtimestamp(one, UTC) for one in peer.times]
    axes.plot(moments, peer.latencies, ".", markersize=5, color=colour, alpha=0.7, label=label)
    if peer.unanswered:
        axes.plot(
            [datetime.fromtimestamp(one, UTC) for one in peer.unanswered],
            [_TOP] * len(peer.unanswered),
            "x",
            markersize=8,
            markeredgewidth=2,
            color=colour,
            transform=axes.get_xaxis_transform(),
        )


def _set_scale(axes: Any, latencies: list[float]) -> None:
    longest = max(latencies, default=1.0)
    shortest = min((one for one in latencies if one > 0), default=longest)
    # There is room above the longest latency for the marks of events without a response.
    if longest / shortest > _LOGARITHMIC:
        axes.set_yscale("log")
        axes.set_ylim(shortest / 2, longest * (longest / shortest) ** 0.15)
        axes.yaxis.set_major_formatter(lambda value, place: f"{value:,.6g}")
    else:
        axes.set_ylim(0, 1.15 * longest or 1)


def _style(axes: Any, *, named: bool) -> None:
    axes.tick_params(colors=_GREY, which="both")
    axes.xaxis.label.set_color(_GREY)
    axes.yaxis.label.set_color(_GREY)
    axes.xaxis.get_offset_text().set_color(_GREY)
    axes.grid(axis="y", color=_GREY, alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
    if named:
        legend = axes.figure.legend(
            loc="outside upper left", ncols=2, frameon=False, labelcolor=_GREY, markerscale=2
        )
        for text in legend.get_texts():
            # AE titles can contain dollar signs.
            text.set_parse_math(False)
