"""``--help`` of every command on narrow terminals."""

import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest
import typer

from fastdimse.cli import app

COMMANDS = ["", *typer.main.get_command(app).commands]
BOX = re.compile("[─│╭╮╰╯]+")


@cache  # each call starts a process
def help_lines(command: str, columns: int) -> list[str]:
    """Return the lines that a command prints on a terminal of that width."""
    words = [sys.executable, "-m", "fastdimse", *command.split(), "--help"]
    environment = os.environ | {"COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    for name in ("TERMINAL_WIDTH", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"):
        environment.pop(name, None)
    done = subprocess.run(words, capture_output=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def words(lines: list[str]) -> Counter[str]:
    """Return the words, without the lines around panels."""
    return Counter(word for line in lines for word in BOX.sub(" ", line).split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_narrow_terminals(command):
    wide = help_lines(command, 400)
    for columns in (80, 60):
        lines = help_lines(command, columns)
        assert max(map(len, lines)) <= columns
        # No word is broken or truncated.
        assert words(lines) == words(wide)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_on_a_terminal_of_40_columns(command):
    """Plain text, with every name in full."""
    lines = help_lines(command, 40)
    assert max(map(len, lines)) <= 40
    assert not BOX.search("\n".join(lines))
    narrow, wide = set(words(lines)), set(words(help_lines(command, 400)))
    names = {word for word in wide if re.fullmatch(r"--?[a-z][\w-]*", word)}
    assert {"--help", "-h"} < names
    # "-h, --help" is "--help -h" in panels.
    assert names <= {word.rstrip(",") for word in narrow}
    if not command:
        assert narrow >= set(COMMANDS[1:])


@pytest.mark.parametrize("command", COMMANDS)
def test_paragraphs_of_help_are_filled(command):
    """No line of a paragraph has room for the first word of the next line."""
    for columns in (80, 60):
        lines = help_lines(command, columns)
        panel = next(number for number, line in enumerate(lines) if line.startswith("╭"))
        description = [line.strip() for line in lines[:panel]]
        for line, following in pairwise(description):
            if line and following:
                assert len(line) + 1 + len(following.split()[0]) > columns - 2, line


def test_every_command_and_option_has_a_help_text():
    for command in COMMANDS[1:]:
        text = "\n".join(help_lines(command, 400))
        for line in text.splitlines():
            if found := re.match(r"│ [ *]* (--\S+)", line):
                assert re.search(r" [A-Z0-9][\w-]+ \w", line), found[1]
