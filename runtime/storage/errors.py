"""What can go wrong in the store, by type, with what to do next in the message."""

from __future__ import annotations


class StoreError(Exception):
    """Base of all errors of the store. The text is for a person and says what to do next."""


class StoreUnavailable(StoreError):
    """The write did not happen and is rolled back: it may be repeated when the cause is gone."""


class DiskFull(StoreUnavailable):
    """No space left for the write."""


class StorageIOError(StoreUnavailable):
    """The disk refused a read or a write."""


class StoreClosed(StoreError):
    """The store was closed."""


class StoreCannotOpen(StoreError):
    """Base of the reasons why a data directory is not opened. Nothing in it was changed."""


class DataDirectoryError(StoreCannotOpen):
    """The data directory cannot be made, read or written."""


class InstanceLocked(StoreCannotOpen):
    """Another runtime works on this data directory (D3)."""


class NewerDatabase(StoreCannotOpen):
    """The database was written by a newer version of the runtime (D4)."""


class UnreadableDatabase(StoreCannotOpen):
    """The file is not a database that can be read (S23)."""


class StaleFence(StoreError):
    """The session was taken by a newer owner: this one has nothing more to say (D8)."""


class UnknownSession(StoreError):
    """There is no such session."""


class UnknownMessage(StoreError):
    """There is no such message."""


class NotPending(StoreError):
    """A message to be claimed is no longer waiting."""


class QueueFull(StoreError):
    """The session's queue is full; the message was not accepted (Q4)."""


class RowTooLarge(StoreError):
    """A value is over its byte budget (S22); the text names the field."""


class UnknownTurn(StoreError):
    """There is no such turn in this session."""


class TurnRunning(StoreError):
    """Another turn of this session has not ended (T1)."""
