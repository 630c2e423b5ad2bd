"""The examples in the docstrings of the modules of engines, and on their page, run."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "engines.md"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
MODULES = ("datafusion", "duckdb", "polars")
# The examples before the first section are the setup of each section.
SETUP, *SECTIONS = PAGE.read_text().replace("```", "\n").split("\n## ")


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = import_module(f"fastdimse.{name}")
    result = doctest.testmod(module, optionflags=FLAGS)
    assert not result.failed
    assert result.attempted


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0])
def test_section(section):
    test = doctest.DocTestParser().get_doctest(SETUP + section, {}, PAGE.name, str(PAGE), 0)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not result.failed, "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_every_name_is_in_the_reference(name):
    reference = (DOCS / "reference" / "engines.md").read_text()
    section = reference.partition(f"## fastdimse.{name}\n")[2].partition("\n## ")[0]
    for public in import_module(f"fastdimse.{name}").__all__:
        assert f"\n   {public}\n" in section
