"""The instructions of the core for an event are counted and compared."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent.parent / "benches"
KEPT = {
    "rustc": "1.95.0",
    "registers": "AVX2",
    "events": 100,
    "instructions_per_event": {"encode": 200.0, "decode": 1000.0},
}


@pytest.fixture
def instructions(monkeypatch):
    monkeypatch.syspath_prepend(BENCHES)
    import instructions

    return instructions


@pytest.mark.parametrize(
    ("encode", "decode", "moved"),
    [
        (200.0, 1000.0, 0),
        (203.9, 980.1, 0),
        (204.1, 1000.0, 1),
        # Fewer instructions also need an update.
        (195.9, 1000.0, 1),
        (100.0, 2000.0, 2),
    ],
)
def test_more_and_fewer_instructions(instructions, capsys, encode, decode, moved):
    found = {**KEPT, "instructions_per_event": {"encode": encode, "decode": decode}}
    assert instructions.compare(found, KEPT) == moved
    assert capsys.readouterr().out.count("moved: ") == moved


def test_operation_without_an_earlier_count(instructions):
    per_event = {**KEPT["instructions_per_event"], "validate": 1.0}
    assert instructions.compare({**KEPT, "instructions_per_event": per_event}, KEPT) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("registers", "aarch64"), ("rustc", "1.88.0"), ("events", 10)]
)
def test_different_conditions_are_not_compared(instructions, name, value):
    assert instructions.reason_not_to_compare(KEPT, KEPT) is None
    why = instructions.reason_not_to_compare({**KEPT, name: value}, KEPT)
    assert why.startswith(name)
    assert str(value) in why


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_total_of_valgrind(instructions, tmp_path):
    program = shutil.which("true")
    total, printed = instructions.callgrind([program])
    assert printed == ""
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={tmp_path / 'out'}", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    [collected] = re.findall(r"Collected : (\d+)", output)
    # The address of the stack changes the number of instructions at the start of a process.
    assert total == pytest.approx(int(collected), rel=0.01)
    assert instructions.callgrind([program], "no such function")[0] == 0


def test_every_operation_has_a_count(instructions):
    kept = json.loads(instructions.KEPT.read_text())["instructions_per_event"]
    assert list(kept) == [name for names in instructions.OPERATIONS.values() for name in names]
    for package, names in instructions.OPERATIONS.items():
        crate = BENCHES.parent / "rust" / package.removeprefix("fastdimse-")
        program = (crate / "benches" / "instructions.rs").read_text()
        assert all(f'("{name}", ' in program for name in names)
