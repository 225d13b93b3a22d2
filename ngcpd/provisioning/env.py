"""What provisioning functions are given besides the connection."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from ngcpd.runtime.ports import Clock, Rng
from ngcpd.store.catalogue import Catalogue, load
from ngcpd.store.credentials import Argon, Vault

FEE_COLUMNS = (
    "source", "destination", "direction", "zone", "zone_detail", "onpeak_init_rate", "onpeak_init_interval", "onpeak_follow_rate",
    "onpeak_follow_interval", "offpeak_init_rate", "offpeak_init_interval", "offpeak_follow_rate", "offpeak_follow_interval", "use_free_time",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings of the operator (`www_admin.security.*`, `ossbss.provisioning.*`); the defaults are those of the spec.

    `profile_sets_reseller_edit`: resellers may change subscriber profiles. `legacy_show_passwords`: show passwords without the right, as older
    products did. `single_as_object`: a collection of one shows an object and not an array. `max_rows`: the longest page, 0 = any. `journal`:
    which operations on a resource are kept in the journal, where it is not all of them; `journal_deflate`: its documents are kept
    compressed. `fee_columns`: what the columns of files of fees are. `adminmail`: sender of the platform's own mails.
    `faxserver`: faxes can be sent.
    """

    password_min_length: int = 6
    password_max_length: int = 40
    password_musthave_lowercase: bool = True
    password_musthave_uppercase: bool = False
    password_musthave_digit: bool = False
    password_musthave_specialchar: bool = False
    password_sip_autogenerate: bool = False
    password_web_autogenerate: bool = False
    auto_allow_cli: bool = True
    auto_sync_cli: bool = True
    profile_sets_reseller_edit: bool = True
    legacy_show_passwords: bool = False
    faxserver: bool = True
    single_as_object: bool = True
    max_rows: int = 0
    journal: Mapping[str, frozenset[str]] = field(default_factory=dict)
    journal_deflate: bool = False
    fee_columns: tuple[str, ...] = FEE_COLUMNS
    adminmail: str = "adjust@example.org"


@dataclass(slots=True)
class Env:
    """The environment of a unit of work; one for all, of which only `rules` may be replaced (reload). `vault` holds the key of the SIP passwords,
    `argon` hashes login passwords, `zone` is the server's time zone (balance intervals are local)."""

    clock: Clock
    rng: Rng
    vault: Vault
    argon: Argon
    rules: Rules = field(default_factory=Rules)
    zone: datetime.tzinfo = datetime.UTC
    catalogue: Catalogue = field(default_factory=load)
