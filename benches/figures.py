"""The formats of figures."""

MIB = 2**20


def seconds(value: float) -> str:
    """Return a time in the unit that fits."""
    for unit, scale in (("ns", 1e-9), ("µs", 1e-6), ("ms", 1e-3)):
        # With three digits, larger values would be shown as 1000.
        if value < 999.5 * scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} s"


def mebibytes(value: float) -> str:
    """Return bytes in MiB."""
    return f"{value / MIB:.0f} MiB"


def ratio(value: float) -> str:
    """Return a ratio with two decimals."""
    return f"{value:.2f}"


def fraction(value: float) -> str:
    """Return a small ratio as a fraction of 1."""
    return f"1/{1 / value:,.0f}"


def times(value: float) -> str:
    """Return a large ratio with two or three digits."""
    return f"{value:.1f}" if value < 10 else f"{float(f'{value:.3g}'):,.0f}"
