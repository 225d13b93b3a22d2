"""What one REGISTER changes (call processing 2.2): pure functions from the present bindings and the wishes to the bindings after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ngcpd.registrar.contacts import Wish, same_contact
from ngcpd.registrar.model import Binding
from ngcpd.sip.errors import ParseError

Make = Callable[[Wish, str], Binding]
"""Makes the binding of a wish; the text is the ruid to keep, "" for a new one."""


class TooManyContacts(Exception):
    """The subscriber would have more contacts than allowed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What all contacts of one REGISTER share and what tells them from those of another device."""

    call_id: str
    cseq: int
    path: tuple[str, ...]
    received_ip: str
    """Source address when the request is marked NAT or came by a connection, else ""."""


def out_of_order() -> ParseError:
    return ParseError("CSeq Out Of Order", 400)


def remove_all(current: Sequence[Binding], origin: Origin) -> list[Binding]:
    """`Contact: *`: only permanent registrations stay. Raises ParseError when the request is older than what is stored (RFC 3261 10.3 step 6)."""
    for binding in current:
        if binding.call_id == origin.call_id and origin.cseq <= binding.cseq and not binding.permanent:
            raise out_of_order()
    return [b for b in current if b.permanent]


def carry_out(current: Sequence[Binding], wished: Sequence[Wish], origin: Origin, make: Make) -> list[Binding]:
    """The bindings after all wishes, in order. A repeated wish (same Call-ID and CSeq) changes nothing; an older one: ParseError, and none counts."""
    after = list(current)
    fresh: set[str] = set()
    for wish in wished:
        found = [b for b in after if not b.permanent and _is(b, wish, origin)]
        stored = [b for b in found if b.call_id == origin.call_id and b.ruid not in fresh]
        if any(origin.cseq < b.cseq for b in stored):
            raise out_of_order()
        if any(origin.cseq == b.cseq for b in stored):
            continue
        at = after.index(found[0]) if found else len(after)
        after = [b for b in after if b not in found]
        if wish.expires:
            binding = make(wish, found[0].ruid if found else "")
            fresh.add(binding.ruid)
            after.insert(min(at, len(after)), binding)
    return after


def limit(current: Sequence[Binding], after: list[Binding], most: int, drop_oldest: bool) -> list[Binding]:
    """Hold the number of contacts. A request that does not add to a number already beyond the limit passes."""
    counted = [b for b in after if not b.permanent]
    excess = len(counted) - most
    if most <= 0 or excess <= 0 or len(counted) <= sum(not b.permanent for b in current):
        return after
    old = [b for b in counted if b in current]
    if not drop_oldest or len(old) < excess:
        raise TooManyContacts
    dropped = sorted(old, key=lambda b: b.expires_at)[:excess]
    return [b for b in after if b not in dropped]


def _is(binding: Binding, wish: Wish, origin: Origin) -> bool:
    """Does the wish mean this binding? With +sip.instance and reg-id these decide (RFC 5626 6). Otherwise the URI, and what keeps apart two
    devices that use the same private address in different places: a common Call-ID, or the same path and the same source."""
    if wish.instance and wish.reg_id and binding.reg_id:
        return binding.instance == wish.instance and binding.reg_id == wish.reg_id
    if not same_contact(binding, wish):
        return False
    if binding.call_id == origin.call_id:
        return True
    if binding.path != origin.path:
        return False
    return binding.received is None or not origin.received_ip or binding.received[0] == origin.received_ip
