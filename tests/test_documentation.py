"""The documentation's shell commands succeed, and its tables have every code.

A page marks commands to run with `<!-- run -->`; they are run in page order.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"^<!-- output -->\n```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CODES = re.compile(r"fn code\(&self\) -> &'static str \{\n(.*?)^    \}$", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(?!>>>)(.*?)^```$", re.DOTALL | re.MULTILINE)
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands(page, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = "\n".join(BLOCK.findall(page.read_text()))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu"],
        input=script,
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PROSE for block in OUTPUT.findall(page.read_text())],
    ids=lambda one: str(one.relative_to(ROOT)) if isinstance(one, Path) else "",
)
def test_outputs(page, block):
    """A block with commands and their outputs has what they print in a pipe."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    environment.pop("COLUMNS", None)
    commands = re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    assert commands
    printed = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"{command} 2>&1"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        printed += f"$ {command}\n{done.stdout}"
    assert printed.rstrip("\n") == block.rstrip("\n")


def test_pages_with_commands():
    names = {page.name for page in PAGES}
    assert names >= {"get_started.md", "analyse_a_capture.md"}


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_without_prompts_compiles(page):
    # Peers and databases in these blocks do not exist; blocks with prompts are run.
    for block in PYTHON.findall(page.read_text()):
        compile(block, page.name, "exec")


def test_every_code_has_a_row():
    table = (ROOT / "docs" / "reference" / "codes.md").read_text()
    documented = {
        code for row in re.findall(r"^\| (`.*?) \|", table, re.M) for code in row.split(", ")
    }
    sources = [path.read_text() for path in (ROOT / "rust").glob("*/src/**/*.rs")]
    bodies = [body for source in sources for body in CODES.findall(source)]
    codes = {f"`{code}`" for body in bodies for code in re.findall(r'"([a-z-]+)"', body)}
    assert len(codes) > 60
    assert codes <= documented
