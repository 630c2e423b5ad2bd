"""Hypothesis profiles, shared fixtures, and pynetdicom's configuration restored after each test."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from oracle import keep_configuration
from orthanc import Orthanc, program, running

# These tests need the engines: ./dev engines.
collect_ignore = ["engines"]

# CI draws the same examples in each run, so that a change is the only difference.
SAME_EXAMPLES = bool(os.environ.get("CI"))

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "default",
    max_examples=200,
    deadline=None,
    suppress_health_check=SLOW_TO_DRAW,
    derandomize=SAME_EXAMPLES,
)
settings.register_profile(
    "thorough",
    max_examples=10_000,
    deadline=None,
    suppress_health_check=SLOW_TO_DRAW,
    derandomize=SAME_EXAMPLES,
)
settings.load_profile("default")

# A process in the background of a shell ignores SIGINT, and processes of tests would inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _configuration() -> Iterator[None]:
    """Restore pynetdicom's ``_config``."""
    with keep_configuration():
        yield


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of small real inputs."""
    return Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="session")
def _running_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if program() is None:
        missing = "no Orthanc: ./dev peers installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with running(tmp_path_factory.mktemp("orthanc")) as orthanc:
        yield orthanc


@pytest.fixture
def orthanc(_running_orthanc: Orthanc) -> Iterator[Orthanc]:
    """A running Orthanc. Its log of the test is shown if the test fails."""
    start = _running_orthanc.log_size()
    yield _running_orthanc
    print(f"{_running_orthanc}:\n{_running_orthanc.log(start)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured logs, which pytest-xdist cannot transfer."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
