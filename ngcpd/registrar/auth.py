"""Who sends this request: digest and source-address authentication (call processing 2.1, 2.4-2.7; RFC 7616, RFC 8760)."""

from __future__ import annotations

from ngcpd.registrar.results import Authenticated, AuthResult, Challenge, Refused

__all__ = ["Authenticated", "AuthResult", "Challenge", "Refused"]
