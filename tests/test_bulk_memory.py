"""Encoding in batches needs memory for one batch, whatever the length of the stream."""

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from fastdimse import decode_events

PROGRAM = Path(__file__).parent.parent / "benches" / "peak_memory.py"
EVENTS = 1_000_000
LIMIT = 200 * 2**20
"""Above the memory of the interpreter. The stream is larger."""


@pytest.mark.skipif(sys.platform == "win32", reason="nobody tells the most memory there")
def test_million_events_in_bounded_memory(tmp_path):
    path = tmp_path / "events.bin"
    command = [sys.executable, PROGRAM, str(EVENTS), path]
    done = subprocess.run(command, check=True, capture_output=True, timeout=300)
    found = json.loads(done.stdout)
    assert path.stat().st_size == found["written"] > LIMIT
    assert found["peak"] - found["interpreter"] < LIMIT
    with path.open("rb") as file:
        decoded = decode_events(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert (len(decoded), decoded[EVENTS - 1].MessageID) == (EVENTS, (EVENTS - 1) % 65535 + 1)
    path.unlink()
