"""Who asks: an administrator with its role and rights, or the operator at the command line (REST API 1.3)."""

from __future__ import annotations

from dataclasses import dataclass

ADMIN, RESELLER = "admin", "reseller"
READING = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class Caller:
    """`role` admin sees everything, reseller only what belongs to `reseller_id`. `id` None is the command line."""

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

    @property
    def scope(self) -> int | None:
        """The reseller whose objects are visible, None = all."""
        return self.reseller_id if self.role == RESELLER else None

    def has(self, right: str) -> bool:
        """`right`: the role `admin`, or the name of a flag."""
        return self.role == ADMIN if right == ADMIN else bool(getattr(self, right))


OPERATOR = Caller("operator", ADMIN, is_master=True, call_data=True, billing_data=True, lawful_intercept=True)
"""Whoever may use the control socket. Passwords of subscribers are not printed to terminals."""
