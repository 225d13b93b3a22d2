"""Bindings in a cluster: each node tells the others of its changes on channel `binding` and takes over theirs.

A notice carries the changed bindings whole. Notices of one run of a node are numbered; when one is missing, the bindings of the other nodes are
read again from their home. After an outage of the key-value store each node reads them, stores again what the home has lost of its own, and leaves
out a number, so that the others read once more.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.registrar.location import Durable, Location
from ngcpd.registrar.model import Binding
from ngcpd.runtime.log import logger
from ngcpd.store.kv import KeyValue, KeyValueUnavailable, Subscription

log = logger("registrar")
CHANNEL = "binding"
PATIENCE = 30.0
"""Seconds that the home may take to get what an outage held up."""


class Notice(msgspec.Struct, frozen=True):
    """`put` replaces by ruid, `gone` are ruids. `run` tells the runs of a node apart, `seq` counts from 1 in each."""

    node: str
    run: str
    seq: int
    subscriber_id: int
    put: tuple[Binding, ...] = ()
    gone: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(Notice).decode
_encode = msgspec.json.Encoder().encode


class Sharing:
    """The registrar's tie to the other nodes. `run` is any text that is new at each start."""

    def __init__(self, location: Location, kv: KeyValue, durable: Durable, run: str) -> None:
        self._location = location
        self._kv = kv
        self._durable = durable
        self._run = run
        self._seq = 0
        self._heard: dict[str, tuple[str, int]] = {}
        self._subscription: Subscription | None = None
        self._reading = False
        self._again = False

    def start(self) -> None:
        self._subscription = self._kv.subscribe(CHANNEL, self._notice, self._back)
        self._location.audience = self

    def stop(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
        self._location.audience = None

    def changed(self, subscriber_id: int, new: Sequence[Binding], gone: Sequence[Binding]) -> None:
        self._seq += 1
        notice = Notice(self._location.node, self._run, self._seq, subscriber_id, tuple(new), tuple(b.ruid for b in gone))
        self._kv.publish(CHANNEL, _encode(notice).decode()).addErrback(self._unsent)

    def _back(self) -> None:
        """The key-value store is there again."""
        Deferred.fromCoroutine(self._after_outage()).addErrback(self._unread)

    async def _after_outage(self) -> None:
        await self._durable.check()
        await self._durable.drain(PATIENCE)
        lost = await self._location.store_again(await self._durable.load_all())
        if lost:
            log.warning("the home has lost registrations of this node, they are stored again", bindings=lost)
        else:
            self.read_again()
        await self._durable.drain(PATIENCE)
        self._seq += 1
        self.changed(0, (), ())

    def _unsent(self, failure: Failure) -> None:
        if isinstance(failure.value, KeyValueUnavailable):
            return  # logged by the key-value store itself
        log.limited("unsent", 60.0, "other nodes could not be told of a registration, they will read it later", why=failure.getErrorMessage())

    def _notice(self, text: str) -> None:
        try:
            notice = _decode(text)
        except (msgspec.MsgspecError, ValueError) as error:
            log.limited("notice", 60.0, "unreadable notice about registrations ignored", why=str(error))
            return
        if notice.node == self._location.node:
            return
        run, seq = self._heard.get(notice.node, ("", -1))
        self._heard[notice.node] = (notice.run, notice.seq)
        self._location.other_node(notice.subscriber_id, notice.put, notice.gone)
        if seq >= 0 and notice.seq != (seq + 1 if run == notice.run else 1):
            self.read_again()

    def read_again(self) -> None:
        """Read what the other nodes have from the home; once more afterwards when asked for meanwhile."""
        if self._reading:
            self._again = True
            return
        self._reading = True
        self._durable.load_all().addCallbacks(self._location.other_nodes, self._unread).addBoth(self._done)

    def _unread(self, failure: Failure) -> None:
        if isinstance(failure.value, KeyValueUnavailable):
            return  # logged by the key-value store itself; it will be read again when that is back
        log.limited("unread", 60.0, "the other nodes' registrations could not be read", why=failure.getErrorMessage())

    def _done(self, result: object) -> None:
        self._reading = False
        if isinstance(result, Failure):
            log.error("taking over the other nodes' registrations failed", why=result.getErrorMessage())
        if self._again:
            self._again = False
            self.read_again()
