"""Start-up: a fresh interpreter that imports, over one that does not."""

import subprocess
import sys

import pytest

STATEMENTS = {
    "bare interpreter": "pass",
    "pynetdicom": "import pynetdicom.dimse_primitives",
    "fastdimse": "import fastdimse",
}


@pytest.mark.parametrize("rival", STATEMENTS)
def test_import(measure, rival):
    command = [sys.executable, "-c", STATEMENTS[rival]]
    measure("import", rival, lambda: subprocess.run(command, check=True), 1)
