"""Text in the encoding of an output: characters that it lacks become ASCII, or escapes."""

import codecs
import io
import os
import sys
import unicodedata
from typing import IO

_ERRORS = "fastdimse-plain"
# Variables that name the locale of characters (POSIX, XBD 8.2): the first that is set has effect.
_LOCALE_VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")
# Variables that choose an encoding in Python, whatever the locale.
_PYTHON_VARIABLES = ("PYTHONIOENCODING", "PYTHONUTF8")


def _line(character: str) -> str:
    """Return ASCII for a line or a corner of a box."""
    name = unicodedata.name(character)
    if " AND " in name:
        return "+"
    return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"


_PLAIN = {
    **{"→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "…": "...", "·": "-", "•": "*"},
    **{"≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+/-", "µ": "u", "μ": "u", "\u00d7": "x"},
    **{chr(code): _line(chr(code)) for code in range(0x2500, 0x2580)},
    # Hyphens, dashes and the minus sign; quotation marks; spaces.
    **dict.fromkeys(map(chr, (*range(0x2010, 0x2016), 0x2212)), "-"),
    **dict.fromkeys(map(chr, range(0x2018, 0x201C)), "'"),
    **dict.fromkeys(map(chr, range(0x201C, 0x2020)), '"'),
    **dict.fromkeys("\u00a0\u2007\u2009\u202f", " "),
    **dict.fromkeys("▁▂", "_"),
    **dict.fromkeys("▃▄", "-"),
    **dict.fromkeys("▅▆", "="),
    **dict.fromkeys("▇█", "#"),
}
"""ASCII for characters that are part of tables and texts."""


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks, as an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing)
    return "".join(plain), error.end


codecs.register_error(_ERRORS, _replace)


def plain(text: str, file: IO[str]) -> str:
    """Return `text` with the characters that the encoding of `file` lacks replaced."""
    if text.isascii():
        return text
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, _ERRORS).decode(encoding)


def configure_output() -> None:
    """Let standard output and standard error accept every character.

    Python encodes UTF-8 in the locale C. With ``LC_ALL=C`` the output is ASCII: the terminal may
    not be able to display more.
    """
    encoding = "ascii" if _is_ascii_locale() else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=_ERRORS)


def _is_ascii_locale() -> bool:
    """Return whether the environment asks for the locale C.

    Where ``LC_ALL`` is not set, Python replaces the locale C by C.UTF-8 (PEP 538).
    """
    if any(os.environ.get(name) for name in _PYTHON_VARIABLES):
        return False
    names = (os.environ.get(name) for name in _LOCALE_VARIABLES)
    return next(filter(None, names), "") in ("C", "POSIX")
