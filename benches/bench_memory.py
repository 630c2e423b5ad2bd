"""Peak memory of encoding to a file, which does not depend on the number of events."""

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("peak_memory.py")
EVENTS = 10_000_000
MIB = 2**20
LIMIT = 200 * MIB
"""Above the memory of the interpreter."""


def test_encode_batches_to_a_file(benchmark, tmp_path):
    file = tmp_path / "events.bin"
    command = [sys.executable, PROGRAM, str(EVENTS), file]

    def encode():
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    benchmark.group = "memory"
    found = benchmark.pedantic(encode, rounds=1)
    file.unlink()
    benchmark.extra_info.update(rival="fastdimse", events=EVENTS, **found)
    above = found["peak"] - found["interpreter"]
    print(f"\n{EVENTS:,} events, {found['written'] / 1e9:.2f} GB: {above / MIB:.0f} MiB above the")
    print(f"interpreter's {found['interpreter'] / MIB:.0f} MiB, of them")
    print(f"{(found['imported'] - found['interpreter']) / MIB:.0f} MiB for importing pyarrow")
    assert found["written"] > LIMIT
    assert above < LIMIT
