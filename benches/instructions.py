"""Count the instructions of core and delivery for an event, and compare them with the last counts.

    python benches/instructions.py             compare with instructions.json
    python benches/instructions.py --update    write instructions.json

The number of instructions does not depend on the load of the machine, as a time does. The counts
are in a file, and a change of them needs an update of the file. callgrind, a tool of valgrind,
counts in the programs `rust/core/benches/instructions.rs` and
`rust/delivery/benches/instructions.rs` with the release profile.

valgrind does not support AVX-512, so the code for AVX2 is counted. On a CPU without AVX2 other code
runs, and another compiler generates other code: nothing is compared then.
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
CORE = ["encode a table", "encode batches of 4096", "decode", "decode to views", "validate"]
CORE += ["encode messages", "decode messages"]
CORE += ["encode data sets, 2 references", "encode data sets, 10 references"]
CORE += ["encode whole events, 2 references", "decode data sets, 10 references"]
CORE += ["encode one message", "decode one command set"]
OPERATIONS = {
    "fastdimse-core": CORE,
    "fastdimse-delivery": ["send", "receive", "columns of received events"],
}
"""The operations by the package of their program."""
OTHER_CODE = ("CARGO_PROFILE_", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS")
"""Prefixes of variables that change the code that cargo generates for the release profile."""
COUNTED = "*instructions::counted*"
"""The function of the program whose instructions are counted."""
TOLERANCE = 0.02
HOW_TO_UPDATE = (
    "if this is intended: ./dev instructions --update, and commit benches/instructions.json"
)


def build(package: str) -> Path:
    """Build the program of a package, and return its path."""
    command = ["cargo", "bench", "--locked", "--package", package, "--no-run"]
    command += ["--bench", "instructions", "--message-format", "json-render-diagnostics"]
    env = {name: value for name, value in os.environ.items() if not name.startswith(OTHER_CODE)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    [program] = [found for message in messages if (found := message.get("executable"))]
    return Path(program)


def callgrind(command: list[str | Path], toggle: str | None = None) -> tuple[int, str]:
    """Return the instructions of `command`, only those in `toggle`, and its output."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        valgrind += [f"--toggle-collect={toggle}"] if toggle else []
        done = subprocess.run([*valgrind, *command], check=True, stdout=subprocess.PIPE, text=True)
        [total] = [line for line in out.read_text().splitlines() if line.startswith("totals:")]
    return int(total.removeprefix("totals:")), done.stdout


def compiler() -> str:
    """Return the version of the compiler."""
    done = subprocess.run(["rustc", "--version"], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.split()[1]


def count() -> dict[str, Any]:
    """Return the instructions of each operation for an event."""
    found: dict[str, Any] = {"rustc": compiler()}
    per_event = {}
    for package, operations in OPERATIONS.items():
        program = build(package)
        for operation in operations:
            total, printed = callgrind([program, operation], COUNTED)
            events, registers, _ = printed.split("\t")
            if not total:
                sys.exit(f"nothing was counted in {COUNTED}: check the name of the function")
            found |= {"registers": registers, "events": int(events)}
            per_event[operation] = round(total / int(events), 2)
    return {**found, "instructions_per_event": per_event}


def reason_not_to_compare(found: dict[str, Any], kept: dict[str, Any]) -> str | None:
    """Return the reason why the counts cannot be compared, or None."""
    for name in ("registers", "rustc", "events"):
        if found[name] != kept[name]:
            return f"{name}: {found[name]} here, {kept[name]} in {KEPT.name}"
    return None


def compare(found: dict[str, Any], kept: dict[str, Any]) -> int:
    """Print the counts and their changes; return the number of changes above the tolerance."""
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
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="write the file")
    update = parser.parse_args().update
    if shutil.which("valgrind") is None:
        print("skipped: valgrind is not installed; ./dev peers installs it")
        return 1 if update else 0
    found = count()
    kept = json.loads(KEPT.read_text())
    why = reason_not_to_compare(found, kept)
    moved = compare(found, kept)
    if update:
        KEPT.write_text(json.dumps(found, indent=1) + "\n")
        return 0
    if why:
        print(f"skipped, the counts cannot be compared: {why}")
        return 0
    if moved:
        print(f"changed by more than {TOLERANCE:.0%}; {HOW_TO_UPDATE}")
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main())
