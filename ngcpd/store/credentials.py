"""How passwords are kept: hashes for digest authentication, Argon2id for logins, and the SIP password itself encrypted (it is needed to show it,
to provision devices and to register elsewhere) with a key that is not in the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ngcpd.runtime.ports import Rng

KEY_BYTES = 32
NONCE_BYTES = 12
_MARK = "1:"
_LOWER = "abcdefghijkmnopqrstuvwxyz"
_ALL = _LOWER + "ABCDEFGHJKLMNPQRSTUVWXYZ" + "23456789"


class VaultError(Exception):
    """A sealed text cannot be opened: damaged, of another row, or sealed with another key."""


@dataclass(frozen=True, slots=True)
class Hashes:
    """What digest authentication checks against (RFC 2617, RFC 7616): H(user:realm:password), `ha1b` with user@domain as the user."""

    ha1: str
    ha1b: str
    ha1_sha256: str


def digest_hashes(username: str, domain: str, password: str) -> Hashes:
    """The hashes of one subscriber."""
    plain = f"{username}:{domain}:{password}".encode()
    return Hashes(
        ha1=hashlib.md5(plain, usedforsecurity=False).hexdigest(),
        ha1b=hashlib.md5(f"{username}@{domain}:{domain}:{password}".encode(), usedforsecurity=False).hexdigest(),
        ha1_sha256=hashlib.sha256(plain).hexdigest(),
    )


class Vault:
    """Seals short texts with AES-256-GCM. `about` (the subscriber's uuid) is bound in: a sealed text is worthless in another row."""

    def __init__(self, key: bytes, rng: Rng) -> None:
        """ValueError unless the key has 32 bytes."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key for SIP passwords must have {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)
        self._rng = rng
        self._marks = hmac.digest(key, b"ngcpd: marks of sealed texts", "sha256")

    def mark(self, text: str, about: str) -> str:
        """A keyed hash (64 hexadecimal digits) by which a sealed text is found again; `about` says what kind of text it is."""
        return hmac.digest(self._marks, f"{about}\0{text}".encode(), "sha256").hex()

    def seal(self, text: str, about: str) -> str:
        nonce = self._rng.bytes(NONCE_BYTES)
        return _MARK + base64.b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), about.encode())).decode("ascii")

    def open(self, sealed: str, about: str) -> str:
        """VaultError when it cannot be done."""
        if not sealed.startswith(_MARK):
            raise VaultError("unknown form of a sealed text")
        try:
            data = base64.b64decode(sealed[len(_MARK) :], validate=True)
            return self._cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about.encode()).decode()
        except (InvalidTag, ValueError):
            raise VaultError("a sealed text does not open with this key") from None


class Argon:
    """Argon2id for web, panel and API logins. The defaults cost about 0.2 s of CPU and 64 MiB: use it on pool threads only."""

    def __init__(self, rng: Rng, time_cost: int = 3, memory_cost: int = 65536, parallelism: int = 4) -> None:
        self._rng = rng
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_cost, parallelism=parallelism)

    def hash(self, password: str) -> str:
        return self._hasher.hash(password, salt=self._rng.bytes(16))

    def verify(self, stored: str, password: str) -> bool:
        """Also False for a stored text that is no Argon2 hash."""
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, stored: str) -> bool:
        """True when the hash was made with other costs and should be made anew at the next login."""
        return self._hasher.check_needs_rehash(stored)


def random_password(rng: Rng, length: int = 16) -> str:
    """Letters and digits that are not mistaken for each other, at least one of them a lower-case letter, one upper, one digit (`length` >= 3)."""
    while True:
        text = "".join(_ALL[rng.below(len(_ALL))] for _ in range(length))
        if any(c.islower() for c in text) and any(c.isupper() for c in text) and any(c.isdigit() for c in text):
            return text
