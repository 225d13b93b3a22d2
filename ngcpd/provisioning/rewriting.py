"""Numbers in the notation of one subscriber: its rewrite rules as a call would use them (call processing 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from ngcpd.directory.loader import read_rule_sets
from ngcpd.directory.rewrite import RuleSet
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.preferences import preference_value


class OwnRules:
    """The rule set that is in force for a subscriber: its own, else its profile's, else its domain's. Nothing is rewritten without one."""

    def __init__(self, conn: sa.Connection, subscriber_id: int) -> None:
        self._found: dict[str, dict[str, list[str]]] = {}
        self._rules: RuleSet | None = None
        who = conn.execute(
            sa.select(subscriber.c.profile_id, subscriber.c.domain_id, subscriber.c.contract_id).where(subscriber.c.id == subscriber_id)
        ).one_or_none()
        if who is None:
            return
        owners = {"usr": subscriber_id, "prof": who.profile_id, "dom": who.domain_id, "contract": who.contract_id}
        value = preference_value.c
        for level, owner in owners.items():
            rows: dict[str, list[str]] = {}
            if owner is not None:
                here = (value.level == level, value.owner_id == owner, value.location_id == 0)
                for row in conn.execute(sa.select(value.attribute, value.value).where(*here).order_by(value.position)):
                    rows.setdefault(row.attribute, []).append(row.value)
            self._found[level] = rows
        named = self._value("rewrite_rule_set", "usr", "prof", "dom")
        if named and named[0].isdigit():
            self._rules = read_rule_sets(conn, [int(named[0])]).get(int(named[0]))

    def rewrite(self, direction: str, field: str, number: str) -> str:
        """`direction` in or out, `field` caller or callee."""
        return number if self._rules is None else self._rules.rewrite(direction, field, number, self._lookup)

    def _lookup(self, name: str) -> Sequence[str]:
        """`caller_NAME` and `callee_NAME` are both the subscriber's."""
        side, _, attribute = name.partition("_")
        return self._value(attribute, "usr", "prof", "dom", "contract") if side in ("caller", "callee") else ()

    def _value(self, name: str, *levels: str) -> Sequence[str]:
        for level in levels:
            if name in self._found.get(level, {}):
                return self._found[level][name]
        return ()
