"""Digest authentication (RFC 2617, 7616, 8760) for both sides: MD5 and SHA-256, qop absent or "auth".

Texts read from messages are their latin-1 image (see `grammar`); names and passwords given by the platform are ordinary text and used as UTF-8.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import re
from collections.abc import Callable, Iterable
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Protocol

from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import is_token, quote, unescape


def _own_md5() -> Callable[[bytes], Any]:
    """CPython's own MD5 where it was built in, see NonceMaker."""
    try:
        found: Callable[[bytes], Any] = importlib.import_module("_md5").md5
    except ImportError:
        return hashlib.md5
    return found


_md5: Final = _own_md5()
MD5: Final = "MD5"
SHA256: Final = "SHA-256"
ALGORITHMS: Final = (SHA256, MD5)
"""What is understood, the strongest first."""
_REASON = "Bad Auth Header"
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_MAX_PARAMS = 32
_AUTH_PARAM = re.compile(
    r"[ \t]*+([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+=[ \t]*+"  # possessive: see grammar._PARAM
    r'(?:"([^"\\]*(?:\\[\x00-\xff][^"\\]*)*)"|([^ \t",]*+))[ \t]*+(,|\Z)'
)


class Clock(Protocol):
    def time(self) -> float: ...


class Freshness(Enum):
    """What a nonce is worth."""

    FRESH = "fresh"
    STALE = "stale"
    BAD = "bad"


FRESH: Final = Freshness.FRESH
STALE: Final = Freshness.STALE
BAD: Final = Freshness.BAD


class NonceMaker:
    """Nonces that need no memory: time in milliseconds and a running number, sealed with keyed BLAKE2b (RFC 7693) over them and the realm.

    BLAKE2b and the MD5 below are CPython's own: through OpenSSL each call costs 30 to 70 us when its code is not in the caches.

    Whoever has the same `key` accepts them, so they survive a restart and are shared by nodes. `lifetime` in seconds.
    """

    def __init__(self, key: bytes, clock: Clock, lifetime: float = 300.0) -> None:
        self._key = key[: hashlib.blake2b.MAX_KEY_SIZE]
        self._clock = clock
        self.lifetime = lifetime
        self._count = 0

    def make(self, realm: str) -> str:
        """A new nonce: 48 lower-case hex digits, sorting by time of issue."""
        self._count = (self._count + 1) & 0xFFFF
        stamp = f"{int(self._clock.time() * 1000) & 0xFFFFFFFFFFFF:012x}{self._count:04x}"
        return stamp + self._seal(stamp, realm)

    def check(self, nonce: str, realm: str) -> Freshness:
        """FRESH, STALE (ours, but too old or from a future that the clock has left) or BAD (not ours, or for another realm)."""
        if len(nonce) != 48 or not nonce.isascii() or not hmac.compare_digest(self._seal(nonce[:16], realm), nonce[16:]):
            return BAD
        age = self._clock.time() - int(nonce[:12], 16) / 1000
        return FRESH if -self.lifetime < age <= self.lifetime else STALE

    def _seal(self, stamp: str, realm: str) -> str:
        return hashlib.blake2b(f"{stamp} {realm}".encode("utf-8", "replace"), digest_size=16, key=self._key, person=b"sip nonce").hexdigest()


class NonceCounter:
    """Which nonce counts were used, against replay of qop=auth (RFC 7616 3.3). At most `limit` nonces are held.

    Counts may come out of order within the last 64. When the table is full the nonces seen first go; what was not issued later than
    those (nonces sort by time of issue) is refused from then on, so forgetting never opens a way to replay.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._limit = limit
        self._seen: dict[str, tuple[int, int]] = {}  # nonce -> highest count, bit map of it and the 63 before
        self._floor = ""

    def __len__(self) -> int:
        return len(self._seen)

    def use(self, nonce: str, count: int) -> bool:
        """Take a count of verified credentials. False: used before or too old, so the client needs a new nonce (stale)."""
        entry = self._seen.get(nonce)
        if entry is None:
            if nonce <= self._floor:
                return False
            if len(self._seen) >= self._limit:
                self._forget()
            self._seen[nonce] = (count, 1)
            return True
        highest, bits = entry
        if count > highest:
            shift = count - highest
            self._seen[nonce] = (count, ((bits << shift) if shift < 64 else 0) & 0xFFFFFFFFFFFFFFFF | 1)
            return True
        back = highest - count
        if back >= 64 or bits >> back & 1:
            return False
        self._seen[nonce] = (highest, bits | 1 << back)
        return True

    def _forget(self) -> None:
        gone = list(islice(self._seen, max(1, self._limit // 64)))
        for nonce in gone:
            del self._seen[nonce]
        self._floor = max(self._floor, *gone)


def _read_params(text: str) -> dict[str, str]:
    """`a="b", c=d` as a dictionary with lower-case names. Quoted and unquoted values mean the same here: senders mix them up."""
    out: dict[str, str] = {}
    pos = 0
    for _ in range(_MAX_PARAMS):
        found = _AUTH_PARAM.match(text, pos)
        if found is None:
            break
        name, quoted, plain, end = found.groups()
        name = name.lower()
        if name in out:
            break
        out[name] = plain if quoted is None else unescape(quoted)
        if not end:
            return out
        pos = found.end()
    raise ParseError(_REASON)


def _read(value: str) -> dict[str, str] | None:
    """The parameters of a Digest header value; None for another scheme. ParseError."""
    scheme, _, rest = value.strip(" \t").partition(" ")
    if scheme.lower() != "digest":
        if not is_token(scheme):
            raise ParseError(_REASON)
        return None
    return _read_params(rest)


def _algorithm(text: str | None) -> str:
    """ParseError when it is no token: it is written without quotes."""
    if text and not is_token(text):
        raise ParseError(_REASON)
    return MD5 if not text else text.upper()


class Challenge:
    """A value of WWW-Authenticate or Proxy-Authenticate. `algorithm` in upper case; `qop` the offered ones in lower case, () for none."""

    __slots__ = ("algorithm", "nonce", "opaque", "qop", "realm", "stale")

    def __init__(
        self, realm: str, nonce: str, algorithm: str = MD5, qop: tuple[str, ...] = (), stale: bool = False, opaque: str | None = None
    ) -> None:
        self.realm = realm
        self.nonce = nonce
        self.algorithm = algorithm
        self.qop = qop
        self.stale = stale
        self.opaque = opaque

    @classmethod
    def parse(cls, value: str) -> Challenge | None:
        """Read one value; None when it is no Digest challenge. ParseError."""
        params = _read(value)
        if params is None:
            return None
        if "realm" not in params or "nonce" not in params:
            raise ParseError(_REASON)
        qop = tuple(q for q in (part.strip(" \t").lower() for part in params.get("qop", "").split(",")) if q)
        if not all(is_token(q) for q in qop):
            raise ParseError(_REASON)
        stale = params.get("stale", "").lower() == "true"
        return cls(params["realm"], params["nonce"], _algorithm(params.get("algorithm")), qop, stale, params.get("opaque"))

    def __str__(self) -> str:
        """The header value; the shortest form is `Digest realm="...", nonce="..."`."""
        out = f"Digest realm={quote(self.realm)}, nonce={quote(self.nonce)}"
        if self.algorithm != MD5:
            out += f", algorithm={self.algorithm}"
        if self.qop:
            out += f', qop="{",".join(self.qop)}"'
        if self.opaque is not None:
            out += f", opaque={quote(self.opaque)}"
        if self.stale:
            out += ", stale=true"
        return out


def challenges(realm: str, nonce: str, *, qop: bool = False, sha256: bool = False, stale: bool = False) -> list[str]:
    """The header values of a 401 or 407, the strongest algorithm first. By default one MD5 challenge without qop (call processing 2.1)."""
    qops = ("auth",) if qop else ()
    names = ALGORITHMS if sha256 else (MD5,)
    return [str(Challenge(realm, nonce, name, qops, stale)) for name in names]


class Credentials:
    """A value of Authorization or Proxy-Authorization. Texts are unquoted; `nc` is a number, 0 without qop; `qop` and `algorithm` normalised."""

    __slots__ = ("algorithm", "cnonce", "nc", "nc_text", "nonce", "opaque", "qop", "realm", "response", "uri", "username")

    def __init__(
        self,
        username: str,
        realm: str,
        nonce: str,
        uri: str,
        response: str,
        *,
        algorithm: str = MD5,
        qop: str = "",
        nc_text: str = "",
        cnonce: str = "",
        opaque: str | None = None,
    ) -> None:
        self.username = username
        self.realm = realm
        self.nonce = nonce
        self.uri = uri
        self.response = response
        self.algorithm = algorithm
        self.qop = qop
        self.nc_text = nc_text
        self.nc = int(nc_text, 16) if qop else 0
        self.cnonce = cnonce
        self.opaque = opaque

    @classmethod
    def parse(cls, value: str) -> Credentials | None:
        """Read one value; None for a scheme other than Digest. ParseError("Bad Auth Header") when something needed is missing or malformed."""
        return _parse(value)

    @classmethod
    def _parse(cls, value: str) -> Credentials | None:
        params = _read(value)
        if params is None:
            return None
        try:
            username, realm, nonce, uri, answer = (params[name] for name in ("username", "realm", "nonce", "uri", "response"))
        except KeyError:
            raise ParseError(_REASON) from None
        qop = params.get("qop", "").lower()
        nc, cnonce = params.get("nc", ""), params.get("cnonce", "")
        if qop and (len(nc) != 8 or not _is_hex(nc) or not cnonce or not is_token(qop)):
            raise ParseError(_REASON)
        if not username or not _is_hex(answer):
            raise ParseError(_REASON)
        algorithm = _algorithm(params.get("algorithm"))
        return cls(username, realm, nonce, uri, answer, algorithm=algorithm, qop=qop, nc_text=nc, cnonce=cnonce, opaque=params.get("opaque"))

    def __str__(self) -> str:
        out = f"Digest username={quote(self.username)}, realm={quote(self.realm)}, nonce={quote(self.nonce)}, uri={quote(self.uri)}"
        out += f', response="{self.response}", algorithm={self.algorithm}'
        if self.qop:
            out += f", cnonce={quote(self.cnonce)}, qop={self.qop}, nc={self.nc_text}"
        if self.opaque is not None:
            out += f", opaque={quote(self.opaque)}"
        return out

    def __repr__(self) -> str:
        return f"<Credentials {self.algorithm} realm={self.realm!r}>"  # nothing that helps to guess a password


@lru_cache(maxsize=64)
def _parse(value: str) -> Credentials | None:
    """The edge looks whether credentials can be read, the authentication reads them: once is enough. They are not changed after construction."""
    return Credentials._parse(value)


def _is_hex(text: str) -> bool:
    return text != "" and _HEX.issuperset(text)


def _hash(algorithm: str, data: bytes) -> str:
    """ValueError for an algorithm that is not understood."""
    if algorithm == MD5:
        return str(_md5(data).hexdigest())
    if algorithm == SHA256:
        return hashlib.sha256(data).hexdigest()
    raise ValueError(f"digest algorithm not supported: {algorithm}")


def ha1(user: str, realm: str, password: str, algorithm: str = MD5) -> str:
    """H(user:realm:password), what a store keeps instead of the password. ValueError for another algorithm."""
    return _hash(algorithm, f"{user}:{realm}:{password}".encode("utf-8", "replace"))


def response(ha1: str, nonce: str, method: str, uri: str, *, algorithm: str = MD5, qop: str = "", nc: str = "", cnonce: str = "") -> str:
    """The request-digest (RFC 7616 3.4.1; without qop RFC 2069). `nc` as eight hex digits. ValueError for another algorithm or qop."""
    ha2 = _hash(algorithm, f"{method}:{uri}".encode("latin-1", "replace"))
    if not qop:
        text = f"{ha1}:{nonce}:{ha2}"
    elif qop == "auth":
        text = f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{ha2}"
    else:
        raise ValueError(f"quality of protection not supported: {qop}")
    return _hash(algorithm, text.encode("latin-1", "replace"))


def verify(credentials: Credentials, method: str, ha1: str) -> bool:
    """Was this answer made with the password behind `ha1`? `ha1` is the one for `credentials.algorithm`. Unknown algorithms and qops never match.

    Says nothing about the nonce: check that apart. The comparison takes the same time for any wrong answer.
    """
    try:
        wanted = response(
            ha1,
            credentials.nonce,
            method,
            credentials.uri,
            algorithm=credentials.algorithm,
            qop=credentials.qop,
            nc=credentials.nc_text,
            cnonce=credentials.cnonce,
        )
    except ValueError:
        return False
    return hmac.compare_digest(wanted.encode(), credentials.response.lower().encode("latin-1", "replace"))


def strongest(values: Iterable[str]) -> Challenge | None:
    """Of the challenges of a 401 or 407 the first with the strongest algorithm and a qop that is understood; None when there is none."""
    best: Challenge | None = None
    for value in values:
        try:
            challenge = Challenge.parse(value)
        except ParseError:
            continue  # one unreadable challenge does not spoil the others
        if challenge is None or challenge.algorithm not in ALGORITHMS or (challenge.qop and "auth" not in challenge.qop):
            continue
        if best is None or ALGORITHMS.index(challenge.algorithm) < ALGORITHMS.index(best.algorithm):
            best = challenge
    return best


def answer(challenge: Challenge, user: str, password: str, method: str, uri: str, nc: int = 1, cnonce: str = "") -> str:
    """The Authorization value for a challenge chosen by `strongest`. qop=auth is used when offered and then needs a `cnonce`. ValueError."""
    qop = "auth" if "auth" in challenge.qop else ""
    if qop and not cnonce:
        raise ValueError("qop=auth needs a cnonce")
    realm = challenge.realm.encode("latin-1", "replace")
    secret = _hash(challenge.algorithm, user.encode() + b":" + realm + b":" + password.encode())
    count = f"{nc:08x}"
    digest = response(secret, challenge.nonce, method, uri, algorithm=challenge.algorithm, qop=qop, nc=count, cnonce=cnonce)
    wire_user = user.encode().decode("latin-1")
    return str(
        Credentials(
            wire_user,
            challenge.realm,
            challenge.nonce,
            uri,
            digest,
            algorithm=challenge.algorithm,
            qop=qop,
            nc_text=count if qop else "",
            cnonce=cnonce if qop else "",
            opaque=challenge.opaque,
        )
    )
