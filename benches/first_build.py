"""Measure `./dev example` as on a new machine: from a clone to the output of the example.

    python benches/first_build.py

The commit is cloned into an empty folder. Cargo's cache and pip's cache are empty too, so all
packages are downloaded. The processor time depends less on the load of the machine than the time
does.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).parent.parent
TARGET = 160
"""Seconds on two processors."""


def duration(seconds: float) -> str:
    """Return minutes and seconds."""
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of a machine on which nothing was built."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CARGO_")}
    return {**kept, "CARGO_HOME": str(folder / "cargo"), "PIP_NO_CACHE_DIR": "1"}


def main() -> None:
    """Build once, and print the times beside the target."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone = folder / "fastdimse"
        subprocess.run(["git", "clone", "--quiet", SOURCE, clone], check=True)
        load = os.getloadavg()[0]
        begin = time.perf_counter()
        subprocess.run(
            ["./dev", "example"],
            check=True,
            cwd=clone,
            env=environment(folder),
            stdout=subprocess.DEVNULL,
        )
        took = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = len(os.sched_getaffinity(0))
    print(f"./dev example: {duration(took)} on {processors} processors")
    print(f"processor time: {duration(used.ru_utime + used.ru_stime)}; load before: {load:.1f}")
    is_reached = took <= TARGET
    print(f"{'reached' if is_reached else 'missed'}: {duration(TARGET)} on two processors")
    sys.exit(not is_reached)


if __name__ == "__main__":
    main()
