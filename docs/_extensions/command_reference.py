"""The `command-reference` directive: every command, argument and option of the command line.

The text comes from the Typer application, so it is the text that `--help` shows.
"""

from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from fastdimse.cli import app


def paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of a help text as Markdown, examples as code."""
    for paragraph in text.strip().split("\n\n"):
        joined = " ".join(paragraph.split())
        before, example, command = joined.partition("Example: ")
        yield from [before] * bool(before)
        if example:
            yield from ["", "```sh", command, "```"]
        yield ""


def parameter(record: tuple[str, str] | None, name: str) -> Iterator[str]:
    """Yield the description of an argument or option."""
    if record is None:
        return
    _, text = record
    yield f"::::{{option}} {name}"
    yield from ["", text.replace("<", r"\<").replace("*", r"\*"), "::::", ""]


def command(name: str, found: Any, parent: typer.Context) -> Iterator[str]:
    """Yield the section of a command in Markdown."""
    context = typer.Context(found, info_name=name, parent=parent)
    yield f"## fastdimse {name}"
    yield ""
    usage = " ".join(found.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    yield from ["```text", f"fastdimse {name} {usage}", "```", ""]
    yield from paragraphs(found.help or "")
    yield from [f":::{{program}} fastdimse {name}", ":::", ""]
    for one in found.get_params(context):
        record = one.get_help_record(context)
        if record is None:
            continue
        is_option = one.opts[0].startswith("-")
        yield from parameter(record, record[0] if is_option else one.metavar or one.name)
    heading, *codes = found.epilog.splitlines()
    yield from [heading, ""]
    for code, text in (line.split(maxsplit=1) for line in codes):
        yield f"- {code}: {text}"
    yield ""


class CommandReference(SphinxDirective):
    """Replaced by a section for each command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        group = typer.main.get_command(app)
        parent = typer.Context(group, info_name="fastdimse", **group.context_settings)
        lines: list[str] = []
        for name, found in group.commands.items():
            lines += command(name, found, parent)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(application: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    application.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True}
