"""Hypothesis profiles, and pynetdicom's configuration put back after each test."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from oracle import keep_configuration
from orthanc import Orthanc, program, running

# A change is judged by the same examples each time; at a developer's they are always new.
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

# A shell lets what it runs in the background ignore it, and then what tests interrupt does so too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _configuration() -> Iterator[None]:
    """Leave pynetdicom's ``_config`` as it was."""
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
    """A running Orthanc; what it logs during a test is shown if that fails."""
    start = _running_orthanc.log_size()
    yield _running_orthanc
    print(f"{_running_orthanc}:\n{_running_orthanc.log(start)}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured logs, which pytest-xdist can't send to its reporter."""
    report = yield
    report.sections = [
        (title, text.encode("utf-8", "backslashreplace").decode())
        for title, text in report.sections
    ]
    return report
