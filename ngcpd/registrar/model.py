"""What the registrar keeps: one `Binding` per registered contact (RFC 3261 10, call processing 2.2).

A binding is never changed in place: a refresh makes a new one with the same `ruid`. It is the record that is stored, so nothing is converted:

- `contact`: URI as sent, without display name and header parameters; the Request-URI of calls.
- `received`: source address of the REGISTER, set when the contact is behind NAT or bound to a connection: the next hop.
- `path`: Path values in the order received (RFC 3327): the route set toward the contact.
- `expires_at`: seconds since the epoch; `NEVER` for a permanent registration.
- `q`: 0..1, or -1 when the device sent none.
- `instance`, `reg_id`: RFC 5626; "" and 0 when absent.
- `socket`, `transport`: by which it came in, e.g. `udp:127.0.0.1:5060` and `udp`; "" for a permanent one.
- `flow_id`: id of the connection it is bound to; 0 when it is bound to none.
- `node`: the node that accepted it.
"""

from __future__ import annotations

from ngcpd.store.bindings import BindingRecord as Binding

__all__ = ["NEVER", "Binding", "connection_bound"]

NEVER = 4294967295.0
"""`expires_at` of a permanent registration (call processing 2.3)."""


def connection_bound(binding: Binding) -> bool:
    """Can it be reached over the connection of its REGISTER only (call processing 1.6)? Not behind a proxy that is on the Path."""
    return binding.transport != "udp" and not binding.path and not binding.permanent
