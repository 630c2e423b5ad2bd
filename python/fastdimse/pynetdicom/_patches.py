"""What was replaced in pynetdicom."""

from collections.abc import Callable
from typing import Any


class Patches:
    """What was replaced, to be put back in reverse."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a module or class; return what it was."""
        before = owner.__dict__.get(name)
        if name in owner.__dict__:
            self._undo.append(lambda: setattr(owner, name, before))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, value)
        return before

    def item(self, owner: dict[Any, Any], key: Any, value: Any) -> None:
        """Replace or add an item of a dictionary."""
        if key in owner:
            before = owner[key]
            self._undo.append(lambda: owner.__setitem__(key, before))
        else:
            self._undo.append(lambda: owner.pop(key, None))
        owner[key] = value

    def call(self, undo: Callable[[], None]) -> None:
        """Call this when it is undone."""
        self._undo.append(undo)

    def undo(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()
