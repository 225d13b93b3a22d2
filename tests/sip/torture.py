"""The 49 messages of RFC 4475, by name, byte for byte as the RFC gives them.

`VECTORS[name]` has name, section, kind (VALID, INVALID, TRANSACTION, APPLICATION, COMPATIBILITY), the code that reading and the sanity check together
give (0: accepted) and the bytes. What concerns transactions and applications only is accepted here.
"""

from tests.sip import torture_invalid, torture_other, torture_valid
from tests.sip.torture_base import APPLICATION, COMPATIBILITY, INVALID, TRANSACTION, VALID, VECTORS, Vector, crlf, sdp

__all__ = ["APPLICATION", "COMPATIBILITY", "INVALID", "TRANSACTION", "VALID", "VECTORS", "Vector", "crlf", "sdp"]

assert len(VECTORS) == 49, (torture_valid, torture_invalid, torture_other)
