"""Count the core's instructions, and compare with what they were.

    python benches/instructions.py             compare with instructions.json
    python benches/instructions.py --update    write instructions.json anew

A time moves with the machine's load, a number of instructions does not. So what an event costs is
held in a file, which a change that makes it cheaper or dearer must update on purpose. valgrind's
callgrind counts, in the program `rust/core/benches/instructions.rs` with the release profile.

It counts AVX2 and not AVX-512, which valgrind does not know. A CPU without AVX2 goes another way,
and another compiler writes other code: neither is compared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEPT = Path(__file__).with_suffix(".json")
OPERATIONS = ["encode a table", "encode batches of 4096", "decode", "validate"]
OPERATIONS += ["encode data sets, 2 references", "encode data sets, 10 references"]
OPERATIONS += ["encode whole events, 2 references", "decode data sets, 10 references"]
OTHER_CODE = ("CARGO_PROFILE_", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS")
"""Variables, or how they begin, that make cargo build other code than the release profile's."""
COUNTED = "*instructions::counted*"
"""The function of the program inside which instructions count."""
TOLERANCE = 0.02
HOW_TO_UPDATE = (
    "if this is meant: ./dev instructions --update, and commit benches/instructions.json"
)


def build() -> Path:
    """Build the program and return where it is."""
    command = ["cargo", "bench", "--locked", "--package", "fastdimse-core", "--no-run"]
    command += ["--bench", "instructions", "--message-format", "json-render-diagnostics"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(OTHER_CODE)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    [program] = [found for message in messages if (found := message.get("executable"))]
    return Path(program)


def callgrind(command: list[str | Path], toggle: str | None = None) -> tuple[int, str]:
    """Return how many instructions `command` took, inside `toggle` only, and what it printed."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        valgrind += [f"--toggle-collect={toggle}"] if toggle else []
        done = subprocess.run([*valgrind, *command], check=True, stdout=subprocess.PIPE, text=True)
        [total] = [line for line in out.read_text().splitlines() if line.startswith("totals:")]
    return int(total.removeprefix("totals:")), done.stdout


def compiler() -> str:
    """Return the compiler's version."""
    done = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[1]


def count() -> dict[str, Any]:
    """Return what each operation takes for an event."""
    program = build()
    found: dict[str, Any] = {"rustc": compiler()}
    per_event = {}
    for operation in OPERATIONS:
        total, printed = callgrind([program, operation], COUNTED)
        events, registers, _ = printed.split("\t")
        if not total:
            sys.exit(f"nothing was counted in {COUNTED}: has the function another name?")
        found |= {"registers": registers, "events": int(events)}
        per_event[operation] = round(total / int(events), 2)
    return {**found, "instructions_per_event": per_event}


def other_way(found: dict[str, Any], kept: dict[str, Any]) -> str | None:
    """Return why the two can't be compared, if they can't."""
    for name in ("registers", "rustc", "events"):
        if found[name] != kept[name]:
            return f"{name}: {found[name]} here, {kept[name]} in {KEPT.name}"
    return None


def compare(found: dict[str, Any], kept: dict[str, Any]) -> int:
    """Print what an event takes and took; return how many operations moved too far."""
    moved = 0
    before = kept["instructions_per_event"]
    for operation, now in found["instructions_per_event"].items():
        change = now / before[operation] - 1 if operation in before else float("inf")
        too_far = abs(change) > TOLERANCE
        moved += too_far
        mark = "moved" if too_far else "as before"
        print(f"{mark}: {operation}: {now:g} instructions an event, {change:+.1%}")
    return moved


def main() -> int:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="write the file anew")
    update = parser.parse_args().update
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed; ./dev peers installs it")
        return 1 if update else 0
    found = count()
    kept = json.loads(KEPT.read_text())
    why = other_way(found, kept)
    moved = compare(found, kept)
    if update:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    if why:
        print(f"skipped, the above says nothing: {why}")
        return 0
    if moved:
        print(f"more than {TOLERANCE:.0%} off; {HOW_TO_UPDATE}")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
