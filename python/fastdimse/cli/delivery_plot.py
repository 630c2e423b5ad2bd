"""A plot of a delivery: a histogram of latencies, and the rate over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError

_FORMATS = {".svg": "svg", ".png": "png"}
_BARS = 60
# Readable on light and dark pages.
_GREY = "#808080"


def picture_format(path: Path) -> str:
    """Return the format that the suffix of `path` names, and check for matplotlib."""
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        raise InputError(f"{path}: the suffix of --picture must be {' or '.join(_FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise InputError("--picture needs matplotlib: pip install 'fastdimse[picture]'") from None
    return found


def draw(deliveries: Sequence[tuple[str, Mapping[str, Sequence[Any]]]], path: Path) -> None:
    """Plot the outcomes of events.

    Parameters
    ----------
    deliveries : sequence of tuple
        The name of each peer, and the outcomes of its events as columns.
    path : pathlib.Path
        The file, ``.svg`` or ``.png``.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, (histogram, rate) = pyplot.subplots(2, 1, figsize=(9, 7), layout="constrained")
    with_responses = [
        (name, columns)
        for name, columns in deliveries
        if any(t is not None for t in columns["Time"])
    ]
    for name, columns in with_responses:
        _draw_latencies(histogram, name, columns)
    begin = min((min(_known(columns["Time"])) for _, columns in with_responses), default=0)
    for name, columns in with_responses:
        _draw_rate(rate, name, columns, begin)
    histogram.set_xscale("log")
    histogram.set(xlabel="latency in ms", ylabel="events")
    rate.set(xlabel="time in s", ylabel="events/s")
    rate.set_ylim(bottom=0)
    for axes in (histogram, rate):
        _style(axes, named=bool(with_responses))
    figure.savefig(path, transparent=path.suffix.lower() == ".svg", dpi=120)
    pyplot.close(figure)


def _known(values: Sequence[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _draw_latencies(axes: Any, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    latencies = sorted(value / 1e6 for value in _known(columns["Latency"]))
    low, high = latencies[0], max(latencies[-1], 1.001 * latencies[0])
    edges = [low * (high / low) ** (place / _BARS) for place in range(_BARS + 1)]
    median, most = (latencies[int(part * len(latencies))] for part in (0.5, 0.99))
    label = f"{name}: median {median:.3g} ms, 99 % below {most:.3g} ms"
    axes.hist(latencies, edges, label=label, alpha=0.6)


def _draw_rate(axes: Any, name: str, columns: Mapping[str, Sequence[Any]], begin: int) -> None:
    times = [(value - begin) / 1e9 for value in _known(columns["Time"])]
    width = max(max(times) / _BARS, 1e-3)
    counts = [0] * (_BARS + 1)
    for moment in times:
        counts[min(int(moment / width), _BARS)] += 1
    starts = [place * width for place in range(_BARS + 2)]
    axes.stairs([count / width for count in counts], starts, label=name)


def _style(axes: Any, *, named: bool) -> None:
    axes.tick_params(colors=_GREY)
    axes.xaxis.label.set_color(_GREY)
    axes.yaxis.label.set_color(_GREY)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_GREY)
    if named:
        axes.legend(frameon=False, labelcolor=_GREY)
