"""Checks of a wheel before its release: platform, stable ABI, contents and size.

    python tests/wheel_checks.py WHEEL

Prints the facts that were checked, and exits with 1 if one of them is wrong. The interpreter needs
the packages of requirements/wheel.txt. No network is used.
"""

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_SIZE = 5_100_000
"""Maximum size of the file in bytes."""

OLDEST_GLIBC = (2, 17)
"""Wheels for manylinux must load with this version of glibc."""


def run_tool(name: str, *arguments: str | Path) -> str:
    """Run a tool of the interpreter's environment and return its output, whatever its exit code."""
    program = Path(sys.executable).parent / name
    done = subprocess.run([program, *arguments], capture_output=True, encoding="utf-8", check=False)
    if not done.stdout:
        sys.exit(f"{name} failed: {done.stderr}")
    return done.stdout


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a version such as ``GLIBC_2.17`` or ``manylinux_2_17_x86_64``."""
    found = re.search(r"_(\d+)[._](\d+)", text)
    assert found is not None, text
    return tuple(map(int, found.groups()))


def check_size(wheel: Path) -> Iterator[str]:
    """Compare the size with its limit."""
    size = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    print(f"size: {size:,} bytes, {unpacked:,} unpacked")
    if size > MAX_SIZE:
        yield f"the wheel has {size:,} bytes, more than {MAX_SIZE:,}"


def check_contents(wheel: Path) -> Iterator[str]:
    """Look for one extension module, types, license and bill of materials, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    extensions = [name for name in names if name.endswith((".so", ".pyd", ".dylib", ".dll"))]
    if len(extensions) != 1 or not extensions[0].startswith("fastdimse/_core"):
        yield f"the wheel must contain the extension fastdimse/_core and no other: {extensions}"
    required = {
        "types": r"fastdimse/py\.typed",
        "license": r"fastdimse-[^/]+\.dist-info/licenses/LICENSE",
        "bill of materials": r"fastdimse-[^/]+\.dist-info/sboms/.*\.cyclonedx\.json",
    }
    for what, pattern in required.items():
        found = [name for name in names if re.fullmatch(pattern, name)]
        print(f"{what}: {', '.join(found)}")
        if not found:
            yield f"the wheel has no {what}"
    for name in names:
        if not re.match(r"fastdimse(-[^/]+\.dist-info)?/", name):
            yield f"the wheel would install {name} outside its package"


def check_glibc(wheel: Path) -> Iterator[str]:
    """Compare the required version of glibc with the oldest supported one, by auditwheel."""
    audit: dict[str, Any] = json.loads(run_tool("auditwheel", "show", "--json", wheel))
    symbols = [symbol for library in audit["versioned_symbols"].values() for symbol in library]
    newest = max((symbol for symbol in symbols if symbol.startswith("GLIBC_")), key=version)
    print(f"platform: {audit['overall_tag']}, newest symbol version {newest}")
    if not audit["overall_tag"].startswith("manylinux_"):
        yield f"the wheel is for {audit['overall_tag']} only"
    elif version(audit["overall_tag"]) > OLDEST_GLIBC:
        yield f"the wheel needs glibc {version(audit['overall_tag'])}, not {OLDEST_GLIBC}"
    if audit["external_libs"]:
        yield f"the wheel needs libraries of the system: {', '.join(audit['external_libs'])}"


def check_stable_abi(wheel: Path) -> Iterator[str]:
    """Compare the symbols of the extension with the stable ABI, by abi3audit."""
    report = json.loads(run_tool("abi3audit", "--strict", "--report", wheel))
    audits = [audit for spec in report["specs"].values() for audit in spec["wheel"]]
    for audit in audits:
        result = audit["result"]
        print(f"stable ABI: {audit['name']} needs {result['computed']} of {result['baseline']}")
        if not result["is_abi3"] or not result["is_abi3_baseline_compatible"]:
            yield (
                f"{audit['name']} does not have the stable ABI of Python {result['baseline']}: "
                f"{result['non_abi3_symbols']} {result['future_abi3_objects']}"
            )
    if not audits:
        yield "abi3audit found no extension"


def main(path: str) -> int:
    """Run all checks of a wheel."""
    wheel = Path(path)
    print(wheel)
    errors = [*check_size(wheel), *check_contents(wheel)]
    if "-abi3-" in wheel.name:
        errors += check_stable_abi(wheel)
    if "manylinux" in wheel.name:
        errors += check_glibc(wheel)
    elif "-linux_" in wheel.name:
        errors.append("the wheel has no manylinux tag: it loads only on systems like this one")
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
