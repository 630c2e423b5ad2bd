"""Errors in the input of the user: one line on standard error and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Invalid options or an unreadable file. The text is one line for the user."""


@contextmanager
def invalid_options() -> Iterator[None]:
    """Raise a `ValueError` about an option as `InputError`."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
