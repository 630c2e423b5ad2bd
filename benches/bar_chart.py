"""A bar chart of ratios as SVG: groups of bars on a logarithmic axis that starts at 1.

The chart has a background of its own, and other colours if the reader prefers dark pages. It is
therefore readable on every page, also on one that ignores this preference.
"""

import math
from html import escape

from figures import times

WIDTH, MARGIN = 780, 20
# From the left: the labels, the bars, and room for the value of the longest bar.
LABELS, VALUES = 330, 60
ROW, BAR, HEADING = 26, 16, 32
TOP, BOTTOM = 82, 34

STYLE = """
  text { font: 13px system-ui, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .page { fill: #ffffff; stroke: #d0d7de }
  .title { font-size: 17px; font-weight: 600 }
  .heading { font-weight: 600 }
  .title, .heading, .label, .value { fill: #1f2328 }
  .note { fill: #59636e }
  .grid { stroke: #d8dee4 }
  .axis { stroke: #818b98 }
  .bar { fill: #2f6fbf }
  .label { text-anchor: end }
  .value { stroke: #ffffff; stroke-width: 4px; paint-order: stroke }
  .tick { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .page { fill: #151b23; stroke: #3d444d }
    .title, .heading, .label, .value { fill: #f0f6fc }
    .note { fill: #9198a1 }
    .grid { stroke: #2f3742 }
    .axis { stroke: #656c76 }
    .bar { fill: #5a9be8 }
    .value { stroke: #151b23 }
  }
"""


def bar_chart(title: str, note: str, groups: dict[str, dict[str, float]]) -> str:
    """Return the SVG document; the bars of each group are in the order of their values."""
    left, right = MARGIN + LABELS, WIDTH - MARGIN - VALUES
    most = max(value for bars in groups.values() for value in bars.values())
    per_decade = (right - left) / math.log10(most)
    rows = sum(HEADING + ROW * len(bars) for bars in groups.values())
    end = TOP + rows + 6
    height = end + BOTTOM

    def position(value: float) -> str:
        return f"{left + per_decade * math.log10(value):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        f'<text class="title" x="{MARGIN}" y="34">{escape(title)}</text>',
        f'<text class="note" x="{MARGIN}" y="56">{escape(note)}</text>',
    ]
    for exponent in range(math.floor(math.log10(most)) + 1):
        x = position(10**exponent)
        kind = "grid" if exponent else "axis"
        parts.append(f'<path class="{kind}" d="M{x} {TOP}V{end}"/>')
        parts.append(f'<text class="note tick" x="{x}" y="{end + 18}">{10**exponent:,}</text>')
    y = TOP
    for heading, bars in groups.items():
        parts.append(f'<text class="heading" x="{MARGIN}" y="{y + 22}">{escape(heading)}</text>')
        y += HEADING
        for label, value in sorted(bars.items(), key=lambda bar: -bar[1]):
            length = float(position(value)) - left
            base = y + ROW / 2 + 4.5
            parts += [
                f'<text class="label" x="{left - 10}" y="{base}">{escape(label)}</text>',
                f'<rect class="bar" x="{left}" y="{y + (ROW - BAR) / 2}" '
                f'width="{length:.1f}" height="{BAR}"/>',
                f'<text class="value" x="{left + length + 6:.1f}" y="{base}">{times(value)}</text>',
            ]
            y += ROW
    return "\n".join([*parts, "</svg>\n"])
