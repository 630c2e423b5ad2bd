"""Import time: a new interpreter that imports a package, and one that imports nothing."""

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
