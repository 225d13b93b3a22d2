"""Who asks: an administrator with its role and rights, a subscriber, or the operator at the command line (REST API 1.3, web interface 2.4)."""

from __future__ import annotations

from dataclasses import dataclass

ADMIN, RESELLER = "admin", "reseller"
SUBSCRIBER, SUBSCRIBERADMIN = "subscriber", "subscriberadmin"
PEOPLE = (SUBSCRIBERADMIN, SUBSCRIBER)
"""Roles of logins that are subscribers: the administrator of a customer (sees the whole customer), and everybody else (only itself)."""
READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Caller:
    """`role` admin sees everything, reseller only what belongs to `reseller_id`. The roles of PEOPLE see only what a resource opens to them
    (`Resource.own`): `subscriber_id` and `customer_id` say who they are. `id` None is the command line or a subscriber."""

    login: str
    role: str
    id: int | None = None
    reseller_id: int | None = None
    is_master: bool = False
    read_only: bool = False
    show_passwords: bool = False
    call_data: bool = False
    billing_data: bool = False
    lawful_intercept: bool = False
    subscriber_id: int | None = None
    customer_id: int | None = None

    @property
    def scope(self) -> int | None:
        """The reseller whose objects are visible, None = all. A caller without a reseller that is no admin sees none."""
        return None if self.role == ADMIN else self.reseller_id or 0

    @property
    def is_person(self) -> bool:
        """A subscriber, not somebody who administers the platform."""
        return self.role in PEOPLE

    def has(self, right: str) -> bool:
        """`right`: the role `admin`, or the name of a flag."""
        return self.role == ADMIN if right == ADMIN else bool(getattr(self, right))


OPERATOR = Caller("operator", ADMIN, is_master=True, call_data=True, billing_data=True, lawful_intercept=True)
"""Whoever may use the control socket. Passwords of subscribers are not printed to terminals."""
