"""pynetdicom's own tests of the DIMSE path, without fastdimse in its place and with it.

    python tests/pynetdicom_own_tests.py PYTHON...

Each PYTHON is of an environment with another pynetdicom, fastdimse and pytest. What passes without
has to pass with. The tests listen at fixed ports and mostly sleep: they run side by side, each
group in a network namespace of its own. A group with a difference is run again, alone.

As a plugin of pytest (``-p pynetdicom_own_tests``) this file puts fastdimse in place.
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
"""How many groups run at once; each takes about a twentieth of a core."""

TIME_LIMIT = 240
"""Seconds after which a group is ended; the longest takes a quarter of that."""

SHOWN = 8000
"""How many characters are shown of what pytest wrote, if a group was not run to its end."""


# ---------------------------------------------------------------- as a plugin


def pytest_addoption(parser: Any) -> None:
    """Let a run be with fastdimse, and of a share of the tests."""
    parser.addoption("--with-fastdimse", action="store_true")
    parser.addoption("--share", default="1/1")


def pytest_configure(config: Any) -> None:
    """Put fastdimse in place before pynetdicom's tests import anything."""
    if config.getoption("--with-fastdimse"):
        import fastdimse.pynetdicom

        with warnings.catch_warnings():
            # A version that is not known would get the class only.
            warnings.simplefilter("error")
            fastdimse.pynetdicom.install()


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep one test in so many, counted from the share's own."""
    start, step = map(int, config.getoption("--share").split("/"))
    items[:] = items[start - 1 :: step]


def pytest_sessionfinish(session: Any) -> None:
    """See that fastdimse was in place until the end."""
    if session.config.getoption("--with-fastdimse"):
        import fastdimse.pynetdicom

        assert fastdimse.pynetdicom.is_installed()


# ------------------------------------------------------------------ the groups


@dataclass(frozen=True)
class Group:
    """Tests that one process runs one after the other."""

    files: tuple[str, ...]
    share: str = "1/1"

    def __str__(self) -> str:
        files = ", ".join(self.files)
        return files if self.share == "1/1" else f"{files} {self.share}"


# The longest first, so that no long one is left for the end.
GROUPS = [
    *(Group(("test_service_n",), f"{part}/4") for part in range(1, 5)),
    Group(("test_assoc_n",)),
    Group(("test_dimse_provider",)),
    Group(("test_primitives", "test_dimse_n", "test_dimse_msg", "test_events")),
]


@dataclass(frozen=True)
class Environment:
    """A Python with a pynetdicom."""

    python: Path
    pynetdicom: str
    pydicom: str
    tests: Path

    @classmethod
    def of(cls, python: str) -> "Environment":
        """Ask an interpreter what it has."""
        ask = (
            "import json, importlib.metadata, importlib.util\n"
            "versions = [importlib.metadata.version(name) for name in ('pynetdicom', 'pydicom')]\n"
            "print(json.dumps([*versions, importlib.util.find_spec('pynetdicom').origin]))"
        )
        done = subprocess.run([python, "-c", ask], stdout=subprocess.PIPE, text=True, check=True)
        pynetdicom, pydicom, origin = json.loads(done.stdout)
        # Not resolved: a link to the interpreter is what makes it that of an environment.
        return cls(Path(python).absolute(), pynetdicom, pydicom, Path(origin).parent / "tests")


@dataclass(frozen=True)
class Run:
    """A group in an environment, without fastdimse or with it."""

    environment: Environment
    group: Group
    with_fastdimse: bool

    def __str__(self) -> str:
        how = "with" if self.with_fastdimse else "without"
        return f"pynetdicom {self.environment.pynetdicom}, {self.group}, {how} fastdimse"


@dataclass
class Result:
    """How each test of a run ended; none if it was not run to its end."""

    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    output: str = ""


def namespace() -> list[str]:
    """Return the command that runs another in a network namespace with a loopback of its own."""
    # The first needs no rights where the kernel lets users have namespaces, the second needs root.
    for options in (["--user", "--map-root-user", "--net"], ["--net"]):
        command = ["unshare", *options, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
        try:
            subprocess.run([*command, "true"], capture_output=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError):
            continue
        return command
    raise SystemExit(
        "pynetdicom's tests listen at fixed ports, so each group needs a network namespace. That "
        "takes unshare (util-linux), ip (iproute2), and either root or a kernel that lets users "
        "have namespaces (kernel.unprivileged_userns_clone=1 and, on Ubuntu, "
        "kernel.apparmor_restrict_unprivileged_userns=0)"
    )


def carry_out(run: Run, isolated: list[str]) -> Result:
    """Run a group of tests and read how each ended."""
    tests = run.environment.tests
    with tempfile.TemporaryDirectory() as folder:
        junit, output = Path(folder, "junit.xml"), Path(folder, "output.txt")
        command = [*isolated, str(run.environment.python), "-m", "pytest", "--quiet"]
        command += ["-p", Path(__file__).stem, "--share", run.group.share]
        command += ["--with-fastdimse"] if run.with_fastdimse else []
        # No settings of ours, nothing left behind, and where it hangs if it does.
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
        # 1 is that tests failed; all else, that they were not run as they should be.
        if status not in (0, 1) or not junit.exists():
            return Result(output=shown)
        return _read(junit, shown)


def _read(junit: Path, output: str) -> Result:
    result = Result(output=output)
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = [part for part in case if part.tag in ("failure", "error", "skipped")]
        # What fails in the end of a test is a second case.
        if name not in result.outcomes or bad:
            result.outcomes[name] = bad[0].tag if bad else "passed"
        for part in bad:
            result.details[name] = part.text or part.get("message") or ""
    return result


# --------------------------------------------------------------- the judgement

Results = dict[Run, Result]


def pairs(environment: Environment) -> Iterator[tuple[Run, Run]]:
    """Return the two runs of each group."""
    for group in GROUPS:
        yield Run(environment, group, False), Run(environment, group, True)


def differences(without: Result, with_it: Result) -> list[str]:
    """Return the tests that end otherwise with fastdimse in place."""
    names = without.outcomes.keys() | with_it.outcomes.keys()
    return sorted(
        name for name in names if without.outcomes.get(name) != with_it.outcomes.get(name)
    )


def run_all(runs: Iterable[Run], isolated: list[str]) -> Results:
    """Run groups side by side."""
    runs = list(runs)
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        return dict(zip(runs, pool.map(lambda run: carry_out(run, isolated), runs), strict=True))


def run_again(environments: list[Environment], results: Results, isolated: list[str]) -> None:
    """Run each pair that differs again, alone: the load may have been too much for a time limit."""
    for environment in environments:
        for both in pairs(environment):
            unfinished = [run for run in both if not results[run].outcomes]
            different = [] if unfinished else differences(*(results[run] for run in both))
            for run in unfinished:
                print(f"{run}: run again, for {results[run].output}")
            for name in different:
                ends = " and ".join(results[run].outcomes.get(name, "missing") for run in both)
                print(f"pynetdicom {environment.pynetdicom}, {name}: run again, for it {ends}")
            if unfinished or different:
                results.update((run, carry_out(run, isolated)) for run in both)


COLUMNS = ["pass without", "pass with", "different", "fail in both", "groups not run"]


def judge(environment: Environment, results: Results) -> Counter[str]:
    """Count what ended how in an environment, and print all that did not pass."""
    counts: Counter[str] = Counter()
    for both in pairs(environment):
        unfinished = [run for run in both if not results[run].outcomes]
        for run in unfinished:
            print(f"{run}: not run to its end: {results[run].output}")
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
    """Print what was found; return whether all that passes without passes with."""
    found = [judge(environment, results) for environment in environments]
    heads = ["pynetdicom", "pydicom", *COLUMNS]
    print("\npynetdicom's own tests, without fastdimse in its place and with it\n")
    print("  ".join(heads))
    for environment, counts in zip(environments, found, strict=True):
        cells = [environment.pynetdicom, environment.pydicom, *(counts[name] for name in COLUMNS)]
        print("  ".join(f"{cell:>{len(head)}}" for cell, head in zip(cells, heads, strict=True)))
    total = sum(found, Counter())
    failed = total["different"] + total["groups not run"]
    print(f"\n{total['pass with']} passed, {failed} failed, {total['fail in both']} skipped")
    return failed == 0 and total["pass with"] > 0


def main(pythons: list[str]) -> int:
    """Run their tests in each environment, compare, and tell."""
    environments = [Environment.of(python) for python in pythons]
    isolated = namespace()
    begun = time.monotonic()
    # Group by group, so that the longest of all environments come first.
    each = zip(*(pairs(environment) for environment in environments), strict=True)
    runs = [run for of_all in each for both in of_all for run in both]
    results = run_all(runs, isolated)
    run_again(environments, results, isolated)
    print(f"{len(runs)} groups of tests in {time.monotonic() - begun:.0f} s")
    return 0 if report(environments, results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
