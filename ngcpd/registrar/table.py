"""The bindings in memory: by subscriber, in shards that a sweep and the keepalive walk one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from ngcpd.registrar.model import Binding

SHARDS = 300


class BindingTable:
    """All bindings of this process. A subscriber's bindings are a tuple, replaced as a whole, so that a change is all or nothing.

    A subscriber's shard follows from its id: walking one shard per tick visits everybody once per round, evenly, without a timer per binding.
    """

    def __init__(self) -> None:
        self._shards: list[dict[int, tuple[Binding, ...]]] = [{} for _ in range(SHARDS)]
        self._by_flow: dict[int, set[int]] = {}
        self.count = 0
        self.nat_count = 0

    def get(self, subscriber_id: int) -> tuple[Binding, ...]:
        return self._shards[subscriber_id % SHARDS].get(subscriber_id, ())

    def replace(self, subscriber_id: int, bindings: tuple[Binding, ...]) -> None:
        """Set what the subscriber has; () forgets it."""
        shard = self._shards[subscriber_id % SHARDS]
        old = shard.get(subscriber_id, ())
        if bindings:
            shard[subscriber_id] = bindings
        else:
            shard.pop(subscriber_id, None)
        self.count += len(bindings) - len(old)
        self.nat_count += sum(b.nat for b in bindings) - sum(b.nat for b in old)
        self._index_flows(subscriber_id, {b.flow_id for b in old}, {b.flow_id for b in bindings})

    def _index_flows(self, subscriber_id: int, before: set[int], after: set[int]) -> None:
        for flow_id in before - after:
            users = self._by_flow.get(flow_id)
            if users is not None:
                users.discard(subscriber_id)
                if not users:
                    del self._by_flow[flow_id]
        for flow_id in after - before:
            if flow_id:
                self._by_flow.setdefault(flow_id, set()).add(subscriber_id)

    def on_flow(self, flow_id: int) -> list[int]:
        """Subscribers with a binding on this connection."""
        return list(self._by_flow.get(flow_id, ()))

    def flow_used(self, flow_id: int) -> bool:
        return flow_id in self._by_flow

    def shard(self, index: int) -> list[tuple[int, tuple[Binding, ...]]]:
        """A copy of one shard, safe to change the table under."""
        return list(self._shards[index % SHARDS].items())

    def subscribers(self) -> int:
        return sum(len(shard) for shard in self._shards)

    def __iter__(self) -> Iterator[Binding]:
        for shard in self._shards:
            for bindings in list(shard.values()):
                yield from bindings
