"""``--help`` on a narrow terminal: plain text, with each help text below its option."""

import textwrap
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

_INDENTATION = 6


class _Formatter(typer.Context.formatter_class):  # type: ignore[misc, valid-type]
    def write_dl(self, rows: Any, col_max: int = 0, col_spacing: int = 2) -> None:
        """Write names and texts in two columns; a longer name has a line of its own."""
        super().write_dl(rows, _INDENTATION, col_spacing)


class _Context(typer.Context):
    formatter_class = _Formatter


class _Command(TyperCommand):
    context_class = _Context


class _Group(TyperGroup):
    context_class = _Context


def use(app: typer.Typer, columns: int) -> None:
    """Let an application print its help in this width. Panels would truncate names."""
    app.rich_markup_mode = None
    app.info.cls = _Group
    app.info.context_settings = {**(app.info.context_settings or {}), "terminal_width": columns - 1}
    app.info.epilog = _wrapped(app.info.epilog or "", columns - 4)
    for command in app.registered_commands:
        command.cls = _Command
        command.epilog = _wrapped(command.epilog or "", columns - 4)
        # Otherwise the list of commands has the first words only.
        command.short_help = (command.help or "").partition("\n\n")[0]


def _wrapped(text: str, columns: int) -> str:
    """Return lines of a limited width. "\\b" keeps the line breaks between them."""
    lines = [textwrap.fill(line, columns, subsequent_indent="    ") for line in text.splitlines()]
    return "\n".join(["\b", *lines])
