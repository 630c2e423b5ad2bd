"""How figures are shown."""

MIB = 2**20


def seconds(value: float) -> str:
    """Return a time with a fitting unit."""
    for unit, scale in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        # Three figures: from here on it is shown as 1000.
        if value < 999.5 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} s"


def mebibytes(value: float) -> str:
    """Return bytes in MiB."""
    return f"{value / MIB:.0f} MiB"


def ratio(value: float) -> str:
    """Return a ratio of like things."""
    return f"{value:.2f}"


def fraction(value: float) -> str:
    """Return a small ratio as what it is the inverse of."""
    return f"1/{1 / value:,.0f}"


def times(value: float) -> str:
    """Return a large ratio in two or three figures."""
    return f"{value:.1f}" if value < 10 else f"{float(f'{value:.3g}'):,.0f}"
