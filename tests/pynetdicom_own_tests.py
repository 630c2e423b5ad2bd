"""pynetdicom's own tests of the DIMSE path, without and with `fastdimse.pynetdicom.install()`.

    python tests/pynetdicom_own_tests.py PYTHON...

Each PYTHON is the interpreter of an environment with one version of pynetdicom, fastdimse and
pytest. Every test must have the same result without and with fastdimse. The tests use fixed ports
and mostly sleep. Groups of tests therefore run at the same time, each in its own network namespace.
A group with a difference is run again without others at the same time.

As a plugin of pytest (``-p pynetdicom_own_tests``) this file installs fastdimse.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIDE_BY_SIDE = 8 * (os.cpu_count() or 1)
"""Number of groups that run at the same time; each uses about 5 % of a core."""

TIME_LIMIT = 240
"""Seconds after which a group is killed; the longest group takes a quarter of this."""

SHOWN = 8000
"""Characters of pytest's output that are shown if a group did not complete."""


# ------------------------------------------------------------------ the plugin


def pytest_addoption(parser: Any) -> None:
    """Add the options for fastdimse and for a share of the tests."""
    parser.addoption("--with-fastdimse", action="store_true")
    parser.addoption("--share", default="1/1")


def pytest_configure(config: Any) -> None:
    """Install fastdimse before pynetdicom's tests import anything."""
    if config.getoption("--with-fastdimse"):
        import fastdimse.pynetdicom

        with warnings.catch_warnings():
            # For an unknown version, only the class would be replaced.
            warnings.simplefilter("error")
            fastdimse.pynetdicom.install()


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the tests of the share: every n-th test."""
    start, step = map(int, config.getoption("--share").split("/"))
    items[:] = items[start - 1 :: step]


def pytest_sessionfinish(session: Any) -> None:
    """Check that fastdimse was installed until the end."""
    if session.config.getoption("--with-fastdimse"):
        import fastdimse.pynetdicom

        assert fastdimse.pynetdicom.is_installed()


# ------------------------------------------------------------------ the groups


@dataclass(frozen=True)
class Group:
    """Tests that one process runs."""

    files: tuple[str, ...]
    share: str = "1/1"

    def __str__(self) -> str:
        files = ", ".join(self.files)
        return files if self.share == "1/1" else f"{files} {self.share}"


# The longest first, to keep all workers busy until the end.
GROUPS = [
    *(Group(("test_service_n",), f"{part}/4") for part in range(1, 5)),
    Group(("test_assoc_n",)),
    Group(("test_dimse_provider",)),
    Group(("test_primitives", "test_dimse_n", "test_dimse_msg", "test_events")),
]


@dataclass(frozen=True)
class Environment:
    """An interpreter, and its versions of pynetdicom and pydicom."""

    python: Path
    pynetdicom: str
    pydicom: str
    tests: Path

    @classmethod
    def of(cls, python: str) -> "Environment":
        """Return the environment of an interpreter."""
        ask = (
            "import json, importlib.metadata, importlib.util\n"
            "versions = [importlib.metadata.version(name) for name in ('pynetdicom', 'pydicom')]\n"
            "print(json.dumps([*versions, importlib.util.find_spec('pynetdicom').origin]))"
        )
        done = subprocess.run([python, "-c", ask], stdout=subprocess.PIPE, text=True, check=True)
        pynetdicom, pydicom, origin = json.loads(done.stdout)
        # Not resolved: the link to the interpreter determines the environment.
        return cls(Path(python).absolute(), pynetdicom, pydicom, Path(origin).parent / "tests")


@dataclass(frozen=True)
class Run:
    """A group in an environment, without or with fastdimse."""

    environment: Environment
    group: Group
    with_fastdimse: bool

    def __str__(self) -> str:
        how = "with" if self.with_fastdimse else "without"
        return f"pynetdicom {self.environment.pynetdicom}, {self.group}, {how} fastdimse"


@dataclass
class Result:
    """The outcome of each test of a run; empty if the run did not complete."""

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    output: str = ""


def namespace() -> list[str]:
    """Return the prefix that runs a command in a network namespace with its own loopback."""
    # The first needs a kernel that lets users create namespaces, the second needs root.
    for options in (["--user", "--map-root-user", "--net"], ["--net"]):
        command = ["unshare", *options, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        try:
            subprocess.run([*command, "true"], capture_output=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            continue
        return command
    raise SystemExit(
        "pynetdicom's tests use fixed ports, so each group needs a network namespace. This needs "
        "unshare (util-linux), ip (iproute2), and either root or a kernel that lets users create "
        "namespaces (kernel.unprivileged_userns_clone=1 and, on Ubuntu, "
        "kernel.apparmor_restrict_unprivileged_userns=0)"
    )


def carry_out(run: Run, isolated: list[str]) -> Result:
    """Run a group of tests and return their outcomes."""
    tests = run.environment.tests
    with tempfile.TemporaryDirectory() as folder:
        junit, output = Path(folder, "junit.xml"), Path(folder, "output.txt")
        command = [*isolated, str(run.environment.python), "-m", "pytest", "--quiet"]
        command += ["-p", Path(__file__).stem, "--share", run.group.share]
        command += ["--with-fastdimse"] if run.with_fastdimse else []
        # No configuration of this project, no cache, and a traceback if a test hangs.
        command += ["-c", os.devnull, "--rootdir", str(tests), "-p", "no:cacheprovider"]
        command += ["--disable-warnings", "-o", "faulthandler_timeout=60"]
        command += ["--junitxml", str(junit)]
        command += [str(tests / f"{name}.py") for name in run.group.files]
        try:
            with output.open("wb") as written:
                status = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    check=False,
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
                    timeout=TIME_LIMIT,
                ).returncode
            end = f"pytest ended with status {status}"
        except subprocess.TimeoutExpired:
            status, end = None, f"not done after {TIME_LIMIT} s"
        shown = f"{end}\n{output.read_text(errors='replace')[-SHOWN:]}"
        # 1: tests failed. Other values: the tests did not run.
        if status not in (0, 1) or not junit.exists():
            return Result(output=shown)
        return _read(junit, shown)


def _read(junit: Path, output: str) -> Result:
    result = Result(output=output)
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = [part for part in case if part.tag in ("failure", "error", "skipped")]
        # A failed teardown is a second case with the same name.
        if name not in result.outcomes or bad:
            result.outcomes[name] = bad[0].tag if bad else "passed"
        for part in bad:
            result.details[name] = part.text or part.get("message") or ""
    return result


# -------------------------------------------------------------- the comparison

Results = dict[Run, Result]


def pairs(environment: Environment) -> Iterator[tuple[Run, Run]]:
    """Return the two runs of each group."""
    for group in GROUPS:
        yield Run(environment, group, False), Run(environment, group, True)


def differences(without: Result, with_it: Result) -> list[str]:
    """Return the tests whose outcomes differ."""
    names = without.outcomes.keys() | with_it.outcomes.keys()
    return sorted(
        name for name in names if without.outcomes.get(name) != with_it.outcomes.get(name)
    )


def run_all(runs: Iterable[Run], isolated: list[str]) -> Results:
    """Run several groups at the same time."""
    runs = list(runs)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(runs, pool.map(lambda run: carry_out(run, isolated), runs), strict=True))


def run_again(environments: list[Environment], results: Results, isolated: list[str]) -> None:
    """Run each pair that differs again, alone: a timeout may have expired because of the load."""
    for environment in environments:
        for both in pairs(environment):
            unfinished = [run for run in both if not results[run].outcomes]
            different = [] if unfinished else differences(*(results[run] for run in both))
            for run in unfinished:
                print(f"{run}: run again, because {results[run].output}")
            for name in different:
                ends = " and ".join(results[run].outcomes.get(name, "missing") for run in both)
                print(f"pynetdicom {environment.pynetdicom}, {name}: run again, because it {ends}")
            if unfinished or different:
                results.update((run, carry_out(run, isolated)) for run in both)


COLUMNS = ["pass without", "pass with", "different", "fail in both", "groups not run"]


def count_outcomes(environment: Environment, results: Results) -> Counter[str]:
    """Count the outcomes in an environment, and print all tests that did not pass."""
    counts: Counter[str] = Counter()
    for both in pairs(environment):
        unfinished = [run for run in both if not results[run].outcomes]
        for run in unfinished:
            print(f"{run}: did not complete: {results[run].output}")
            counts["groups not run"] += 1
        if unfinished:
            continue
        plain, fast = (results[run] for run in both)
        counts["pass without"] += list(plain.outcomes.values()).count("passed")
        counts["pass with"] += list(fast.outcomes.values()).count("passed")
        title = f"pynetdicom {environment.pynetdicom}"
        for name in differences(plain, fast):
            counts["different"] += 1
            for run in both:
                print(f"{run}: {name}: {results[run].outcomes.get(name, 'missing')}")
                print(results[run].details.get(name, ""))
        for name, outcome in plain.outcomes.items():
            if outcome == fast.outcomes.get(name) != "passed":
                counts["fail in both"] += 1
                print(f"{title}, {name}: {outcome} in both: {plain.details[name]}")
    return counts


def report(environments: list[Environment], results: Results) -> bool:
    """Print the counts; return whether no outcome differs."""
    found = [count_outcomes(environment, results) for environment in environments]
    heads = ["pynetdicom", "pydicom", *COLUMNS]
    print("\npynetdicom's own tests, without and with fastdimse\n")
    print("  ".join(heads))
    for environment, counts in zip(environments, found, strict=True):
        cells = [environment.pynetdicom, environment.pydicom, *(counts[name] for name in COLUMNS)]
        print("  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True)))
    total = sum(found, Counter())
    failed = total["different"] + total["groups not run"]
    print(f"\n{total['pass with']} passed, {failed} failed, {total['fail in both']} skipped")
    return failed == 0 and total["pass with"] > 0


def main(pythons: list[str]) -> int:
    """Run the tests in each environment, compare the outcomes, and print them."""
    environments = [Environment.of(python) for python in pythons]
    isolated = namespace()
    begun = time.monotonic()
    # By group, so that the longest groups of all environments come first.
    each = zip(*(pairs(environment) for environment in environments), strict=True)
    runs = [run for of_all in each for both in of_all for run in both]
    results = run_all(runs, isolated)
    run_again(environments, results, isolated)
    print(f"{len(runs)} groups of tests in {time.monotonic() - begun:.0f} s")
    return 0 if report(environments, results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
