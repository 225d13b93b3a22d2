"""Everything that is passed in, in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from ngcpd.media import Engine, Interface
from ngcpd.media import Settings as MediaSettings
from ngcpd.runtime.ports import Clock, Disk, Executor, Net, Rng
from ngcpd.store.kv import KeyValue

Stop = Callable[[], Deferred[object]]


@dataclass(frozen=True)
class World:
    """The outside of a daemon. `executor` runs database work, `disk_executor` the journal's flushes; `media` makes the media engine for the
    addresses given; `key_value` makes the shared store for a Redis URL, or for None the one in the process."""

    clock: Clock
    rng: Rng
    net: Net
    disk: Disk
    executor: Executor
    disk_executor: Executor
    media: Callable[[list[Interface], MediaSettings], Engine]
    key_value: Callable[[str | None], KeyValue]
