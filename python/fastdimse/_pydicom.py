"""pydicom, imported when it is first needed: that takes longer than all imports of fastdimse."""


def load() -> None:
    """Import pydicom completely. Call this before a module of pydicom is imported in a function.

    Two threads that import different modules of pydicom first each wait for the other, and one of
    them then gets an incomplete module. If both import the package first, one waits.
    """
    import pydicom  # noqa: F401
