"""What routing is asked and what it answers: `CallContext`, `Verdict`, `Branch` (call processing 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from ngcpd.directory.effective import DEFAULT_MEDIA, Effective
from ngcpd.directory.effective import MediaHints as MediaHints
from ngcpd.directory.model import NO_PREFS, Domain, Peer, Prefs, Subscriber
from ngcpd.registrar.model import Binding
from ngcpd.registrar.source import Source
from ngcpd.routing import legs
from ngcpd.routing.headers import DEFAULT_FILTER, HeaderFilter
from ngcpd.runtime.ports import Address
from ngcpd.sip.flow import Flow
from ngcpd.sip.uri import Uri

if TYPE_CHECKING:
    from ngcpd.sip.headers import NameAddr
    from ngcpd.sip.message import Request

Fields = tuple[tuple[str, str], ...]

LOCAL = "local"
PEER = "peer"
FOREIGN = "foreign"
OFFNET = "offnet"
UNKNOWN = "unknown"
NOTHING_SAID: Final = NO_PREFS.effective


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the caller `code reason` with these fields. `key` is the reject reason of call processing 3.16 (also the sound handle)."""

    code: int
    reason: str
    key: str
    fields: Fields = ()


@dataclass(slots=True)
class Branch:
    """One INVITE of leg B. `from_` and `to` are header values without tag; `path` are Route values in order; `fields` all other fields
    that routing decides on. `family` is that of the target, 4 or 6."""

    request_uri: str
    next_hop: Uri
    received: Address | None
    path: tuple[str, ...]
    flow: Flow | None
    socket: str | None
    transport: str
    from_: str
    to: str
    fields: list[tuple[str, str]]
    label: str
    prefs: Prefs
    binding: Binding | None
    media: MediaHints
    family: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send leg B to all these branches at once."""

    branches: list[Branch]


Verdict = Reject | Deliver


@dataclass(slots=True)
class Numbers:
    """The caller's identities (call processing 3.3.1), "" when there is none. `received_upn` is the UPN before rewriting and checking."""

    upn: str = ""
    npn: str = ""
    uprn: str = ""
    auth_user: str = ""
    rcv_display: str = ""
    np_display: str = ""
    received_upn: str = ""


NO_NUMBERS: Final = Numbers()
"""Before C6. Nobody writes into it."""


class AccFields(NamedTuple):
    """The plain columns of an accounting row (call processing 4.5)."""

    src_user: str
    src_domain: str
    dst_user: str
    dst_ouser: str
    dst_domain: str


Looked = tuple[object, ...]


class CallContext:
    """One initial INVITE on its way through the stages. `time` is its arrival, seconds since the epoch.

    `trace` is a list of (stage, what it looked at as name, value, name, value ..., verdict); see `routing.trace`.
    """

    __slots__ = (
        "_legs",
        "assume_caller",
        "attributes",
        "bindings",
        "call_type",
        "callee",
        "callee_contract_prefs",
        "callee_prefs",
        "callee_says",
        "caller",
        "caller_class",
        "caller_contract_prefs",
        "caller_media",
        "caller_prefs",
        "caller_says",
        "candidate",
        "clir",
        "clir_forced",
        "dialed_by",
        "dialed_domain",
        "dialed_user",
        "domain",
        "emergency",
        "from_",
        "looked",
        "numbers",
        "own_host",
        "peer",
        "request",
        "routed_domain",
        "routed_user",
        "ruri",
        "source",
        "src_domain",
        "src_user",
        "target",
        "time",
        "trace",
        "trusted",
        "trusted_id",
    )

    def __init__(self, request: Request, source: Source, time: float) -> None:
        self.request = request
        self.source = source
        self.time = time
        self.from_: NameAddr | None = None
        self.ruri: Uri | None = None
        self.caller_class = ""
        """"" until identified, then `local`, `peer` or `foreign`."""
        self.caller: Subscriber | None = None
        self.caller_prefs: Prefs = NO_PREFS
        self.caller_says: Effective = NOTHING_SAID
        """What `caller_prefs` says, read again where the stages may have waited."""
        self.caller_contract_prefs: Prefs = NO_PREFS
        self.caller_media = DEFAULT_MEDIA
        self.trusted = False
        self.trusted_id: int | None = None
        """Of the subscriber whom the source address stands for, found by what C4 needs."""
        self.peer: Peer | None = None
        self.src_user = ""
        self.src_domain = ""
        self.domain: Domain | None = None
        """The local domain of the R-URI, None when its host is none."""
        self.own_host = False
        """The R-URI host is an address or name of the platform itself."""
        self.dialed_user = ""
        self.dialed_domain = ""
        self.routed_user = ""
        self.routed_domain = ""
        self.emergency = False
        self.target = ""
        """"" until decided, then `local` (the callee is a subscriber), `foreign`, `offnet` or `unknown`."""
        self.candidate: tuple[int, str] | None = None
        """The subscriber who seems to be called, found by what C16 needs, and how."""
        self.callee: Subscriber | None = None
        self.callee_prefs: Prefs = NO_PREFS
        self.callee_says: Effective = NOTHING_SAID
        self.callee_contract_prefs: Prefs = NO_PREFS
        self.dialed_by = ""
        """`primary`, `alias` or `username`."""
        self.bindings: list[Binding] = []
        self.numbers = NO_NUMBERS
        """Made by C6."""
        self.clir = False
        self.clir_forced = False
        self.call_type = "call"
        self.attributes: dict[str, str] = {}
        self.trace: list[tuple[str, Looked, object]] = []
        self.assume_caller = 0
        """A dry run: the id of the subscriber taken as authenticated."""
        self.looked: Looked = ()
        """What the running stage looked at: name, value, name, value ... Nothing is formatted here; the runner moves it to the trace."""
        self._legs: tuple[str, str] | None = None

    # ----------------------------------------------------------------------------------------------------------- trace
    def see(self, *looked: object) -> None:
        """Add to what the running stage `looked` at. A stage that looks once sets that itself."""
        self.looked += looked

    def note(self, stage: str, verdict: object, *looked: object) -> None:
        """Append one line to the trace."""
        self.trace.append((stage, looked, verdict))

    # ------------------------------------------------------------------------------------------------------ accounting
    def fix_legs(self) -> None:
        """C24: from now on the leg strings stay as they are."""
        self._legs = (legs.source_leg(self), legs.destination_leg(self))

    def leg_texts(self) -> tuple[str, str]:
        """Source and destination leg string (billing 1.2)."""
        return self._legs if self._legs is not None else (legs.source_leg(self), legs.destination_leg(self))

    def src_leg(self) -> str:
        """Source leg string (billing 1.2)."""
        return self.leg_texts()[0]

    def dst_leg(self) -> str:
        """Destination leg string (billing 1.2)."""
        return self.leg_texts()[1]

    def acc_fields(self) -> AccFields:
        """The plain accounting columns; usable at any moment, also before anything is known."""
        callee = self.callee
        if callee is None:
            return AccFields(self.src_user, self.src_domain, self.routed_user, self.dialed_user, self.routed_domain)
        return AccFields(self.src_user, self.src_domain, callee.username, self.dialed_user, callee.domain)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Loop detection of call processing 3.15. `expire` in seconds."""

    enable: bool = False
    expire: float = 1.0
    max: int = 5


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Settings of routing; the composition fills them from the configuration.

    `own_addresses` are the addresses SIP listens on (and advertised ones), `own_names` further names of the platform, `own_sockets` the
    names of the listening sockets (`udp:127.0.0.1:5060`), empty = not checked. `early_rejects`: key -> (code, reason) in place of the
    built-in ones. `internal_paths`: Path values that stand for the platform itself. `headers`: what crosses between the legs.
    """

    own_addresses: frozenset[Address] = frozenset()
    own_names: frozenset[str] = frozenset()
    own_sockets: frozenset[str] = frozenset()
    early_rejects: dict[str, tuple[int, str]] = field(default_factory=dict)
    internal_paths: frozenset[str] = frozenset({"<sip:127.0.0.1:5060;lr>"})
    headers: HeaderFilter = DEFAULT_FILTER
    keep_original_to: bool = False
    allow_refer_method: bool = False
    loop: LoopSettings = LoopSettings()
    max_passes: int = 10
    """How often a call may come back to the platform as its own leg B."""
    retry_after: int = 5
