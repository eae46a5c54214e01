"""Builds HTML reports: single files that open offline."""

import html
from collections.abc import Sequence

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #2a7d46; --bad: #b3261e;
        --warn: #8a6100; --bar: #4a7ebb; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; font-size: 1.1rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
         white-space: nowrap; }
td.text { white-space: normal; }
td.number, th.number { text-align: right; }
svg { vertical-align: middle; }
"""


class Html(str):
    """Text that is already HTML, such as a bar in a cell of a table."""


Cell = str | int | float | Html | None


def page(title: str, *parts: str) -> str:
    """A page with the given parts, which the functions of this module return."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n'
        f'<body>\n<h1>{html.escape(title)}</h1>\n' + '\n'.join(parts) + '\n</body></html>\n'
    )


def heading(text: str) -> str:
    """A heading."""
    return f'<h2>{html.escape(text)}</h2>'


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f'<p>{html.escape(text)}</p>'


def verdict(passed: bool | None, text: str) -> str:
    """The result, at the top of the page; `passed` is None if nothing was checked."""
    kind = {True: 'good', False: 'bad', None: 'warn'}[passed]
    return f'<p class="verdict {kind}">{html.escape(text)}</p>'


def mark(passed: bool) -> Html:
    """A cell with the result of a check."""
    return Html('<span class="good">pass</span>' if passed else '<span class="bad">fail</span>')


def bullets(items: Sequence[str]) -> str:
    """A list of sentences."""
    return '<ul>' + ''.join(f'<li>{html.escape(item)}</li>' for item in items) + '</ul>'


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table; columns of numbers are aligned right, and None is shown as a dash."""
    numbers = [
        any(isinstance(row[i], (int, float)) for row in rows) for i in range(len(columns))
    ]
    head = ''.join(
        f'<th{_number(number)}>{html.escape(name)}</th>'
        for name, number in zip(columns, numbers, strict=True)
    )
    body = ''.join(
        '<tr>'
        + ''.join(
            f'<td{_number(number) if number else _text(cell)}>{_shown(cell)}</td>'
            for cell, number in zip(row, numbers, strict=True)
        )
        + '</tr>\n'
        for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def details(summary: str, content: str) -> str:
    """Content that is collapsed under its summary."""
    return f'<details><summary>{html.escape(summary)}</summary>\n{content}</details>'


def bar(share: float, text: str = '') -> Html:
    """A horizontal bar that is filled to `share`, which is clipped to [0, 1]."""
    width = 120 * min(max(share, 0.0), 1.0)
    label = f'<title>{html.escape(text)}</title>' if text else ''
    return Html(
        f'<svg width="120" height="10" role="img">{label}<rect width="120" height="10" '
        'fill="#8883"/>'
        f'<rect width="{width:.1f}" height="10" fill="var(--bar)"/></svg>'
    )


def whisker(low: float, value: float, high: float, left: float, right: float) -> Html:
    """A value with its interval on the scale from `left` to `right`."""
    span = (right - left) or 1.0
    at = [4 + 152 * min(max((x - left) / span, 0.0), 1.0) for x in (low, value, high)]
    return Html(
        '<svg width="160" height="12" role="img">'
        f'<title>{value:.4g} ({low:.4g} to {high:.4g})</title>'
        '<line x1="4" x2="156" y1="6" y2="6" stroke="#8884"/>'
        f'<line x1="{at[0]:.1f}" x2="{at[2]:.1f}" y1="6" y2="6" stroke="var(--bar)" '
        f'stroke-width="4"/><circle cx="{at[1]:.1f}" cy="6" r="4" fill="var(--bar)"/>'
        '</svg>'
    )


def _number(number: bool) -> str:
    return ' class="number"' if number else ''


def _text(cell: Cell) -> str:
    return (
        ' class="text"'
        if isinstance(cell, str) and len(cell) > 60 and not isinstance(cell, Html)
        else ''
    )


def _shown(cell: Cell) -> str:
    if cell is None:
        return '–'
    if isinstance(cell, Html):
        return cell
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f'{cell:,}'
    if isinstance(cell, float):
        return f'{cell:.4f}'
    return html.escape(str(cell))
