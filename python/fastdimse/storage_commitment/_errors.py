"""The error of storage commitment."""


class StorageCommitmentError(OSError):
    """A database of storage commitment cannot be opened, read or written, or is damaged.

    Examples
    --------
    >>> from fastdimse.storage_commitment import CommitmentRequests, StorageCommitmentError
    >>> try:
    ...     CommitmentRequests("missing-folder/requests.sqlite")
    ... except StorageCommitmentError as error:
    ...     print(error)
    missing-folder/requests.sqlite: cannot open the database: unable to open database file
    """
