"""Settings of the registrar and of authentication (call processing 2.9). The composition fills them from the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How requests are challenged. The default is one MD5 challenge without qop; with `sha256` a SHA-256 challenge stands before it (RFC 8760)."""

    qop: bool = False
    sha256: bool = False
    ignore_auth_realm: bool = False


@dataclass(frozen=True, slots=True)
class RegistrarSettings:
    """Seconds unless said otherwise."""

    default_expires: int = 3600
    default_expires_range: int = 30
    """Per cent by which the default is spread up and down, so that clients do not return together."""
    min_expires: int = 60
    max_expires: int = 43200
    max_registrations: int = 5
    """Contacts per subscriber, permanent ones not counted; 0 = no limit."""
    drop_oldest: bool = False
    """At the limit: drop the contact that expires first instead of answering 503."""


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """OPTIONS to contacts behind NAT (call processing 1.6)."""

    interval: float = 30.0
    """Seconds between two OPTIONS to the same contact; 0 = none."""
    from_uri: str = "sip:pinger@sipwise.com"
