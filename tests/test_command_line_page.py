"""docs/command_line.md: it lists every option, and its commands run."""

import re
import shlex
import signal
from pathlib import Path

import pytest
import typer

from fastdimse import listen
from fastdimse.cli import app
from processes import Program
from scripted_peer import HOST
from test_command_line import run

PAGE = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text()
GROUP = typer.main.get_command(app)
BLOCKS = re.findall(r"(<!-- run -->\n)?```sh\n(.*?)```", PAGE, re.DOTALL)
NETWORK = [line for is_local, block in BLOCKS if not is_local for line in block.splitlines()]


def section(command: str) -> str:
    """Return the section of a command."""
    [text] = re.findall(rf"^### {command}\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE)
    return text


@pytest.mark.parametrize("command", GROUP.commands)
def test_every_option_is_listed(command):
    text = section(command)
    named = set(re.findall(r"`(--?[\w-]+)", text))
    for parameter in GROUP.commands[command].params:
        for name in parameter.opts:
            if name.startswith("-"):
                assert name in named, name
    known = {name for one in GROUP.commands[command].params for name in one.opts}
    assert named <= known | {"-"}


def test_commands_that_send(tmp_path):
    reports = re.search(r"<<'END'\n(.*?)END\n", PAGE, re.DOTALL)
    assert reports is not None
    (tmp_path / "reports.ndjson").write_text(reports[1])
    lines = [line for line in NETWORK if "receive" not in line]
    assert len(lines) == 3
    with listen(0, host=HOST) as pacs, listen(0, host=HOST) as ris:
        for line in lines:
            line = line.replace("pacs.example.org 104", f"{HOST} {pacs.port}")
            line = line.replace("ris.example.org:11112", f"{HOST}:{ris.port}")
            words = [
                tmp_path / word if word.startswith(("reports.", "events.")) else word
                for word in shlex.split(line)[1:]
            ]
            done = run(*words)
            assert done.returncode == 0, done.stderr


def test_commands_that_receive(tmp_path):
    lines = [line for line in NETWORK if "receive" in line]
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line.replace("11112", "0").replace("events", str(tmp_path)))
        program = Program(Path("-m"), *words)
        try:
            program.find("listening on")
            program.send_signal(signal.SIGINT)
            assert program.ended() == 0
        finally:
            program.close()
