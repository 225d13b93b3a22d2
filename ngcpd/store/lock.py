"""The lock of a SQLite store: one daemon at a time. The kernel drops it when its holder dies, so it can never be stale."""

from __future__ import annotations

import fcntl
import os

from ngcpd.store.errors import StoreLocked, StoreUnavailable


class StoreLock:
    """`<store>.lock`, held by `flock`, with the holder's process id as text."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.path = store + ".lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """StoreLocked when another process has it, StoreUnavailable when the file cannot be made. Harmless when already held."""
        if self._fd is not None:
            return
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot make the lock file {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise StoreLocked(self.store, int(text) if text.isdigit() else 0) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def holder(self) -> int | None:
        """Process id of the daemon that seems to have the store; a hint, taken without touching the lock. None when there is none."""
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                text = file.read(32).strip()
            os.stat(f"/proc/{int(text)}")
        except (OSError, ValueError):
            return None
        return int(text)

    def release(self) -> None:
        """The file stays: removing it would let two holders lock two different files of that name."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None
