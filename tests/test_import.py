"""The modules that ``import fastdimse`` imports, each time in a new interpreter."""

import pickle
import pydoc
import re
import subprocess
import sys

import pytest

import fastdimse
from fastdimse import N_EVENT_REPORT, Delivery, DeliveryError, OutboxError, Progress

HEAVY = ["pydicom", "pynetdicom", "pyarrow", "numpy", "polars", "typer", "rich"]


def run(program: str) -> str:
    """Run a program in a new interpreter and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", HEAVY)
def test_imported_modules(name: str) -> None:
    assert run(f"import fastdimse, sys; print({name!r} in sys.modules)") == "False"
    program = (
        "import sys; from fastdimse import events\n"
        "events.storage_commitment('1.2', [('1.2', '1.3')])\n"
        f"print({name!r} in sys.modules)"
    )
    assert run(program) == "False"
    program = (
        "import sys; from fastdimse import ups\n"
        "ups.Subscriptions().add_instance('1.2', {'ProcedureStepState': 'SCHEDULED',"
        " 'InputReadinessState': 'READY'})\n"
        f"print({name!r} in sys.modules)"
    )
    assert run(program) == "False"


def test_table_of_the_standard_is_loaded_on_demand() -> None:
    program = (
        "import fastdimse, sys; before = 'fastdimse.events' in sys.modules\n"
        "print(before, fastdimse.events.status(0), 'fastdimse.events' in sys.modules)"
    )
    assert run(program) == "False 0x0000 Success True"


def test_lazily_imported_names_are_listed() -> None:
    program = (
        "import fastdimse, sys; listed = dir(fastdimse)\n"
        "print(set(fastdimse.__all__) - set(listed), 'fastdimse.events' in sys.modules,"
        " 'fastdimse._delivery' in sys.modules, 'TYPE_CHECKING' in listed)"
    )
    assert run(program) == "set() False False False"


def test_help_describes_every_public_name() -> None:
    described = pydoc.render_doc(fastdimse, renderer=pydoc.plaintext)
    for name in set(fastdimse.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", described), name
    assert "class Delivery(builtins.object)" in described


@pytest.mark.parametrize("public", [N_EVENT_REPORT, Delivery, DeliveryError, OutboxError, Progress])
def test_public_classes_have_the_public_path(public: type) -> None:
    assert repr(public) == f"<class 'fastdimse.{public.__name__}'>"
    assert pickle.loads(pickle.dumps(public)) is public


def test_delivery_has_only_documented_names() -> None:
    shown = {name for name in dir(Delivery) if not name.startswith("_")}
    methods = {"put", "wait", "progress", "outcomes", "count_outcomes", "due_to_other_peers"}
    methods |= {"add_peer", "remove_peer", "find_peer", "take_outcomes"}
    assert shown == {"peers", "close", *methods}


PREPARED = """
import io, sys
from fastdimse import N_EVENT_REPORT, decode_events, encode_events
event = N_EVENT_REPORT()
event.MessageID = 7
event.AffectedSOPClassUID = "1.2.840.10008.1.20.1"
event.AffectedSOPInstanceUID = b"1.2.840.10008.1.20.1.1"
event.EventTypeID = 1
event.EventInformation = io.BytesIO(b"data set")
"""


def test_pydicom_is_imported_when_a_uid_is_read() -> None:
    program = PREPARED + (
        "encoded = event.encode_p_data()\n"
        "assert event.is_valid_request\n"
        "N_EVENT_REPORT.decode_command_set(event.encode_command_set(), b'data set')\n"
        "decoded = decode_events(encode_events([event]))\n"
        "assert decoded[0].MessageID == 7\n"
        "before = 'pydicom' in sys.modules\n"
        "uid = event.AffectedSOPClassUID\n"
        "print(before, 'pydicom' in sys.modules, type(uid).__name__, 'pynetdicom' in sys.modules)"
    )
    assert run(program) == "False True UID False"


WITHOUT_PYNETDICOM = """
import sys
sys.modules["pynetdicom"] = None
"""


def test_works_without_pynetdicom() -> None:
    program = (
        WITHOUT_PYNETDICOM
        + PREPARED
        + (
            "encoded = bytes(encode_events([event]))\n"
            "assert encoded == event.encode_p_data()\n"
            "[decoded] = decode_events(encoded)\n"
            "print(decoded.AffectedSOPClassUID.name, decoded.EventInformation.getvalue())"
        )
    )
    assert run(program) == "Storage Commitment Push Model SOP Class b'data set'"


def test_install_without_pynetdicom() -> None:
    program = WITHOUT_PYNETDICOM + (
        "from fastdimse.pynetdicom import install, is_installed\n"
        "try: install()\n"
        "except ImportError as error: print(error, error.name, is_installed())"
    )
    expected = "fastdimse.pynetdicom needs pynetdicom: pip install pynetdicom"
    assert run(program) == f"{expected} pynetdicom False"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1.2." + "3" * 61, "must not exceed 64 characters"),
        (b"1.2.\xe9", "Unable to decode"),
        (7, "must be str, bytes, UID or None, not 'int'"),
    ],
)
def test_same_errors_without_pynetdicom(value: str | bytes | int, text: str) -> None:
    attempt = (
        f"try: event.AffectedSOPClassUID = {value!r}\n"
        "except (TypeError, ValueError) as error: print(type(error).__name__, error)"
    )
    without = run(WITHOUT_PYNETDICOM + PREPARED + attempt)
    # pynetdicom adds handlers to its logger, so only the output is compared.
    assert text in without
    assert without == run("import pynetdicom" + PREPARED + attempt)


def test_configuration_of_pynetdicom_after_its_import() -> None:
    program = PREPARED + (
        "event.AffectedSOPClassUID = '1.02'\n"
        "import pynetdicom._config\n"
        "pynetdicom._config.ENFORCE_UID_CONFORMANCE = True\n"
        "try: event.AffectedSOPClassUID = '1.02'\n"
        "except ValueError as error: print(error)"
    )
    expected = "Invalid 'Affected SOP Class UID' value '1.02' - UID is non-conformant"
    assert run(program) == expected


def test_import_after_pynetdicom() -> None:
    program = "import pynetdicom.dimse_primitives\n" + PREPARED + "print(event.msg_type)"
    assert run(program) == "N-EVENT-REPORT"
