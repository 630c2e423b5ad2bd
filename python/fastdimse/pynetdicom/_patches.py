"""Replaced attributes and items, and how to restore them."""

from collections.abc import Callable
from typing import Any


class Patches:
    """Patches of modules, classes and dictionaries, which are reverted in reverse order."""

    def __init__(self) -> None:
        self._restore: list[Callable[[], None]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a module or class, and return the original."""
        before = owner.__dict__.get(name)
        if name in owner.__dict__:
            self._restore.append(lambda: setattr(owner, name, before))
        else:
            self._restore.append(lambda: delattr(owner, name))
        setattr(owner, name, value)
        return before

    def item(self, owner: dict[Any, Any], key: Any, value: Any) -> None:
        """Replace or add an item of a dictionary."""
        if key in owner:
            before = owner[key]
            self._restore.append(lambda: owner.__setitem__(key, before))
        else:
            self._restore.append(lambda: owner.pop(key, None))
        owner[key] = value

    def on_revert(self, restore: Callable[[], None]) -> None:
        """Call a function when the patches are reverted."""
        self._restore.append(restore)

    def revert(self) -> None:
        """Revert all patches."""
        while self._restore:
            self._restore.pop()()
