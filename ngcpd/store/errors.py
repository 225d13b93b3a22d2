"""What the store raises."""

from __future__ import annotations


class StoreError(Exception):
    """The base of all below; its text is one line for an operator, without data of rows."""


class StoreUnavailable(StoreError):
    """The database cannot be reached, or does not answer in time. Nothing of the unit of work was kept, unless the connection broke during
    its commit; then it is unknown."""


class StoreLocked(StoreError):
    """Another daemon works on this SQLite store. `pid` is its process id, 0 if unknown."""

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(f"store {path} is in use by another daemon (pid {pid or 'unknown'})")
        self.path = path
        self.pid = pid


class StoreUnsupported(StoreError):
    """The database server is of a kind or version that ngcpd cannot work with."""


class StoreOutdated(StoreError):
    """The tables are older than this program: migrations have to be applied first. `current` is None for an empty database."""

    def __init__(self, current: str | None, head: str) -> None:
        at = f"is at revision {current}" if current else "has no tables yet"
        super().__init__(f"the database {at}, this program needs {head}; apply the migrations first")
        self.current = current
        self.head = head


class StoreTooNew(StoreError):
    """The tables were made by a newer program."""

    def __init__(self, current: str, head: str) -> None:
        super().__init__(f"the database is at revision {current}, which this program (at {head}) does not know; use the newer program or a backup")
        self.current = current
        self.head = head
