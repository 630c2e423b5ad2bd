"""What people see: encodings, widths, and the command line in a terminal."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fastdimse.cli.output_encoding import configure_output
from fastdimse.cli.terminal import LiveTable, console, print_table, progress, width
from test_command_line import CAPTURE, ROW

FASTDIMSE = [sys.executable, "-m", "fastdimse"]

# ------------------------------------------------------------------- encodings


def output(encoding: str, *arguments: object, **variables: str) -> tuple[int, str, str]:
    """Return the exit code and both outputs of the program in an encoding."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONUTF8", "PYTHONIOENCODING", "COLUMNS") and name[:3] != "LC_"
    }
    words = [*FASTDIMSE, *map(os.fsencode, map(str, arguments))]
    done = subprocess.run(
        words, capture_output=True, timeout=60, check=False, env=environment | variables
    )
    return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)


ENCODINGS = [
    ("ascii", {"PYTHONIOENCODING": "ascii"}),
    ("ascii", {"LC_ALL": "C"}),
    ("ascii", {"LC_ALL": "POSIX"}),
    ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
    ("cp1252", {"PYTHONIOENCODING": "cp1252"}),
]


@pytest.mark.parametrize(("encoding", "variables"), ENCODINGS)
def test_output_in_an_encoding_without_arrows(encoding, variables):
    code, shown, error = output(encoding, "decode", CAPTURE, "--full", **variables)
    assert code == 0, error
    assert " -> " in shown
    assert not set(shown + error) - set(map(chr, range(256))) - set("…")
    code, helped, error = output(encoding, "encode", "--help", **variables)
    assert (code, error) == (0, "")
    assert "+- Options ---" in helped
    assert helped.isascii()


@pytest.mark.parametrize(
    "variables", [{"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}, {"LANG": ""}]
)
def test_output_in_utf8(variables):
    code, shown, error = output("utf-8", "decode", CAPTURE, "--full", **variables)
    assert (code, "→" in shown) == (0, True), error


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
@pytest.mark.parametrize(("encoding", "variables"), [*ENCODINGS, ("utf-8", {"LC_ALL": "C.UTF-8"})])
def test_names_of_files_that_cannot_be_encoded(tmp_path, encoding, variables):
    name = os.fsdecode(b"\xff\xe4\xb8\xad.ndjson")
    code, shown, error = output(encoding, "validate", tmp_path / name, **variables)
    assert (code, shown) == (2, "")
    assert error.startswith("fastdimse: error: [Errno 2] No such file or directory")
    assert len(error.splitlines()) == 1
    assert "\\udcff" in error
    assert ("中" in error) == (encoding == "utf-8")
    # In a table on standard output.
    (tmp_path / name).write_text(ROW.replace("1.2.3", "wrong") + "\n")
    (tmp_path / "b.ndjson").write_text(ROW.replace("1.2.3", "wrong") + "\n")
    code, shown, error = output(encoding, "validate", tmp_path, **variables)
    assert code == 1, error
    if encoding != "utf-8":
        assert len({len(line) for line in shown.splitlines()}) == 1


def encoded_file(encoding: str) -> io.TextIOWrapper:
    """Return a file like standard output in an encoding."""
    return io.TextIOWrapper(io.BytesIO(), encoding, errors="strict", write_through=True)


def content(file: io.TextIOWrapper) -> str:
    """Return what was written."""
    file.flush()
    assert isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(file.encoding)


def table() -> Table:
    """Return a table with every kind of cell."""
    made = Table("from → to", "state", title="events …")
    made.add_row("[bold]a → b", Text("failed → retried", "red"))
    made.add_row(Text.assemble(("x → ", "bold"), ("y", "red")), "中 :smile:")
    return made


def test_layout_of_replaced_characters(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    file = encoded_file("ascii")
    print_table(table(), file)
    title, *lines = content(file).splitlines()
    assert title.strip() == "events ..."
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for line in lines for cell in line.split("|")]
    for cell in ("from -> to", "[bold]a -> b", "failed -> retried", "x -> y", "\\u4e2d :smile:"):
        assert cell in cells
    file = encoded_file("utf-8")
    print_table(table(), file)
    assert "[bold]a → b" in content(file)
    file = encoded_file("latin-1")
    console(file).print(Group(Padding("· → ·", (0, 1)), Text("é…")))
    assert content(file).split() == ["·", "->", "·", "é..."]


def test_styles_of_replaced_characters(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = encoded_file("ascii")
    console(file).print(Text.assemble(("x →", "bold"), " ", ("y", "red")))
    assert "\x1b[1m->\x1b[0m" in content(file)
    assert "\x1b[31my\x1b[0m" in content(file)


class _Terminal(io.TextIOWrapper):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_progress(monkeypatch, term, encoding):
    monkeypatch.setenv("TERM", term)
    file = _Terminal(io.BytesIO(), encoding, errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stderr", file)
    with progress("encoding [b] →", 10) as advanced:
        advanced(5)
    with LiveTable() as live:
        live.show(1, lambda rate: table())
    assert ("encoding [b] " in content(file)) == (term == "xterm")
    assert (content(file) == "") == (term == "dumb")


@pytest.mark.parametrize(
    ("variables", "is_coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_of_a_terminal(monkeypatch, variables, is_coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm"} | variables).items():
        monkeypatch.setenv(name, value)
    file = _Terminal(io.BytesIO(), "utf-8", errors="strict", write_through=True)
    print_table(Text("failed", "red"), file)
    assert ("\x1b[31m" in content(file)) == is_coloured
    assert ("\x1b" in content(file)) == is_coloured


def test_width(monkeypatch):
    file = encoded_file("utf-8")
    monkeypatch.delenv("COLUMNS", raising=False)
    assert width(file) == 100
    for columns, expected in (("60", 60), ("1", 20), ("wide", 100), ("0", 100)):
        monkeypatch.setenv("COLUMNS", columns)
        assert width(file) == expected


def test_a_table_fits_a_pipe(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    made = Table("column")
    made.add_row("word " * 100)
    file = encoded_file("utf-8")
    print_table(made, file)
    assert max(map(len, content(file).splitlines())) == 100
    file = encoded_file("utf-8")
    print_table(made, file, narrow=Text("narrow"))
    assert content(file) == "narrow\n"


def test_configured_streams_accept_every_character(monkeypatch):
    file = encoded_file("cp1252")
    monkeypatch.setattr(sys, "stdout", file)
    configure_output()
    print("→ … 中 \udcff")
    assert content(file) == "-> … \\u4e2d \\udcff\n"


# -------------------------------------------------------------------- terminal

WIDTHS = (40, 80, 200)
LOCALES = ("C", "C.UTF-8", "en_US.ISO-8859-1")
SECONDS = 180.0
"""Seconds that a slow machine may need for all commands."""

Screens = dict[tuple[str, int], list[list[str]]]
"""The lines of each command, by locale and width. Lines that the terminal wrapped are joined."""


def latin1(folder: Path) -> dict[str, str]:
    """Return the environment of a Latin-1 locale, which is compiled for this."""
    compiled = folder / "en_US.ISO-8859-1"
    words = ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(compiled)]
    try:
        subprocess.run(words, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        if os.environ.get("CI"):
            raise
        return {"PYTHONIOENCODING": "latin-1"}
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


@pytest.fixture(scope="module")
def screens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screens]:
    """The screens after some commands, in terminals of tmux."""
    if shutil.which("tmux") is None:
        missing = "no tmux: ./dev peers installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "wrong.ndjson").write_text(ROW.replace("1.2.3", "wrong → é") + "\n")
    commands = (
        "--help",
        "send --help",
        f"decode {CAPTURE} --head 5",
        "decode nowhere.bin",
        "validate wrong.ndjson",
    )
    script = folder / "commands.sh"
    program = f"{sys.executable} -m fastdimse"
    lines = [f"{program} {one}; echo ==== $?" for one in commands]
    script.write_text("\n".join([*lines, "echo ==== end", "exec sleep 600", ""]))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONUTF8", "PYTHONIOENCODING", "COLUMNS", "TMUX", "NO_COLOR")
        and name[:3] != "LC_"
    } | {"LC_ALL": "C.UTF-8"}
    (folder / "tmux.conf").write_text("set -g history-limit 10000\n")
    tmux = ["tmux", "-u", "-L", f"fastdimse-{os.getpid()}", "-f", str(folder / "tmux.conf")]

    def call(*words: str) -> str:
        done = subprocess.run(
            [*tmux, *words], capture_output=True, check=True, env=environment, cwd=folder
        )
        return done.stdout.decode()

    sessions = {}
    try:
        for number, locale in enumerate(LOCALES):
            variables = {"LC_ALL": locale} if "ISO" not in locale else latin1(folder)
            setting = [f"{name}={value}" for name, value in variables.items()]
            for columns in WIDTHS:
                name = f"{number}-{columns}"
                sessions[locale, columns] = name
                size = ["-x", str(columns), "-y", "50"]
                command = ["env", "-u", "LC_ALL", *setting, "sh", str(script)]
                call("new-session", "-d", "-s", name, *size, *command)
        shown = {}
        end = time.monotonic() + SECONDS
        for key, name in sessions.items():
            text = ""
            while not text.rstrip().endswith("==== end"):
                assert time.monotonic() < end, text
                time.sleep(0.2)
                text = call("capture-pane", "-p", "-J", "-S", "-", "-t", f"{name}:")
            # Each part is the output of a command, and its exit code.
            parts = re.split(r"==== (\d+)\n", text)
            assert parts[1::2] == ["0", "0", "0", "2", "1"], text
            shown[key] = [[line.rstrip() for line in part.splitlines()] for part in parts[:-1:2]]
        yield shown
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, env=environment)


def cells(lines: list[str]) -> list[str]:
    """Return the text of each column of a table, without spaces."""
    rows = [re.split("[│┃]", line)[1:-1] for line in lines if line[:1] in ("│", "┃")]
    return ["".join("".join(column).split()) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("locale", LOCALES)
def test_screens(screens, locale, columns):
    overview, helped, decoded, failed, rejected = screens[locale, columns]
    shown = [line for part in screens[locale, columns] for line in part]
    # No sequence of a terminal, no byte that is not in its encoding, no traceback.
    text = "\n".join(shown)
    assert all(c.isprintable() or c == "\n" for c in text), text
    assert "\ufffd" not in text
    assert "[0m" not in text
    assert "Traceback" not in text
    assert text.isascii() or locale == "C.UTF-8"
    # No line is longer than the terminal.
    for part in (overview, helped, decoded, rejected):
        assert max(map(len, part)) <= columns, part
    # No text is truncated.
    for name in ("provide-commitment", "validate", "--version", "--show-completion"):
        assert name in " ".join(overview)
    for name in ("--no-hostname-check", "--response-timeout", "FASTDIMSE_PASSCODE"):
        assert name in " ".join(helped)
    assert "24 events" in " ".join(decoded)
    arrow = "→" if locale == "C.UTF-8" else "->"
    assert any(f" {arrow} " in line for line in decoded)
    assert failed == ["fastdimse: error: [Errno 2] No such file or directory: 'nowhere.bin'"]
    assert rejected[-1] == "1 row, 1 rejected"
    if locale == "C.UTF-8":
        assert cells(rejected) == cells(screens[locale, 200][-1])
        assert len(cells(rejected)) == 5


# ------------------------------------------------------------------ completion


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fastdimse", "wat"], {"watch"}),
        (["fastdimse", "encode", "--max-p"], {"--max-pdu-length"}),
        (["fastdimse", "receive", "1", "--format", ""], {"parquet", "arrow", "ndjson"}),
    ],
)
def test_completion_in_bash(tmp_path, words, expected):
    # The script runs the program by its name.
    program = tmp_path / "fastdimse"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fastdimse "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$(fastdimse --show-completion bash)"
        complete -p fastdimse >&2
        COMP_WORDS=({" ".join(word or "''" for word in words)})
        COMP_CWORD={len(words) - 1}
        _fastdimse_completion fastdimse
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        timeout=60,
        check=False,
        text=True,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert set(done.stdout.split()) == expected, done.stderr
    assert "_fastdimse_completion fastdimse" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completion_scripts(shell):
    code, shown, error = output("utf-8", "--show-completion", shell)
    assert (code, error) == (0, "")
    assert f"complete_{shell}" in shown
    code, shown, error = output("utf-8", "--show-completion", "csh")
    assert (code, shown) == (2, "")
    assert "'csh'" in error
