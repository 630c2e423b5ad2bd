"""The examples in the docstrings and in the documentation run."""

import doctest
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastdimse
import fastdimse.aio
import fastdimse.pynetdicom
import fastdimse.storage_commitment
import fastdimse.ups
from fastdimse import events

ROOT = Path(__file__).parent.parent
# tests/engines runs the examples of engines.md, which need the engines.
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "engines.md"),
]


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of each public object with an example."""
    names = [(name, getattr(fastdimse, name)) for name in fastdimse.__all__]
    modules = (
        *(events, fastdimse.aio, fastdimse.pynetdicom),
        *(fastdimse.storage_commitment, fastdimse.ups),
    )
    for module in modules:
        _, _, path = module.__name__.partition(".")
        names += [(f"{path}.{name}", getattr(module, name)) for name in module.__all__]
    for name, item in names:
        members = [(name, item)]
        if isinstance(item, type):
            members += [(f"{name}.{key}", getattr(item, key)) for key in dir(item)]
        for place, member in members:
            text = getattr(member, "__doc__", None) or ""
            if ">>>" in text and not isinstance(member, str | tuple):
                yield place, text


def run(name: str, text: str) -> int:
    """Run the examples in `text`; return their number."""
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert not result.failed, "".join(report)
    return result.attempted


@pytest.mark.parametrize(("name", "text"), list(docstrings()), ids=lambda value: value[:40])
def test_docstring(name, text):
    assert run(name, text) > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page(page):
    # The fences of Markdown are not output of the examples.
    text = page.read_text().replace("```", "\n")
    run(page.name, text)


def test_every_function_has_an_example():
    with_example = {name for name, _ in docstrings()}
    verbs = {"encode_events", "encode_batches", "decode_events", "N_EVENT_REPORT", "Rejections"}
    verbs |= {"encode_capture", "decode_capture", "decode_data_sets", "validate_events"}
    verbs |= {"aio.connect", "aio.listen", "pynetdicom.install"}
    verbs |= {"ups.Subscriptions", "ups.matches"}
    verbs |= {f"events.{name}" for name in events.__all__ if name.islower()}
    assert verbs <= with_example
