"""The catalogue of the 163 preferences: packaged facts, typed (data model 6, `data/preferences.csv`, `data/preference_enums.csv`)."""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources

LEVELS = ("usr", "prof", "dom", "peer", "contract", "contract_location")
REFERENCES = frozenset(("rewrite_rule_set", "ncos", "adm_ncos", "adm_cf_ncos", "sound_set", "contract_sound_set"))
"""Attributes written by the name of another object and stored, under their own name, as its id."""
ADDRESS_LISTS: Mapping[str, str] = {"allowed_ips": "allowed", "man_allowed_ips": "manual"}
"""Attributes kept in table `allowed_ip`, and the list they are there."""
COMPUTED = frozenset(
    ("ncos_id", "adm_ncos_id", "adm_cf_ncos_id", "allowed_ips_grp", "man_allowed_ips_grp", "cfu", "cfb", "cfna", "cft", "cloud_pbx_hunt_group")
    + tuple(f"rewrite_{who}_{way}_dpid" for who in ("caller", "callee") for way in ("in", "out", "lnp"))
)
"""Attributes that follow from other tables and are never stored as values."""

SECRETS = frozenset(("peer_auth_pass", "conference_pin", "block_out_override_pin", "adm_block_out_override_pin"))
"""Attributes that are passwords or PINs: not in journals and logs, and shown only to those who may see passwords."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of an enum. `value` None stores nothing."""

    label: str
    value: str | None
    levels: frozenset[str]
    defaults: frozenset[str]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One preference. `type`: boolean, int, string or enum; `max_occur` 1 = single value, 0 = list; `levels`: where it may be stored;
    `internal`: 0 shown, 1 hidden, -1 shown and kept elsewhere; `expose`: customers may see and change it."""

    name: str
    group: str
    label: str
    type: str
    max_occur: int
    levels: frozenset[str]
    internal: int
    expose: bool
    read_only: bool
    meaning: str
    choices: tuple[Choice, ...] = ()

    @property
    def is_list(self) -> bool:
        return self.max_occur == 0

    def values(self, level: str) -> tuple[str | None, ...]:
        """The choices of an enum at a level; None among them when nothing stored is one of them."""
        return tuple(c.value for c in self.choices if level in c.levels)

    def default(self, level: str) -> str | None:
        """What is stored when an object of that level is made."""
        return next((c.value for c in self.choices if level in c.defaults), None)


class Catalogue(Mapping[str, Attribute]):
    """All preferences by name, in the order of the groups."""

    def __init__(self, attributes: Iterable[Attribute]) -> None:
        self._all = {a.name: a for a in attributes}

    def __getitem__(self, name: str) -> Attribute:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def defaults(self, level: str) -> tuple[tuple[str, str], ...]:
        """(attribute, value) of all that is stored when an object of `level` is made (data model 15.4)."""
        found = ((a.name, a.default(level)) for a in self._all.values())
        return tuple((name, value) for name, value in found if value is not None)

    def with_values(self, name: str, values: Iterable[str]) -> Catalogue:
        """A catalogue in which the enum `name` offers `values` too, at all its levels: for those that the configuration of a site makes
        (`lbrtp_set`, `rtp_interface`, `outbound_socket`). KeyError for an unknown name."""
        old = self._all[name]
        known = {c.value for c in old.choices}
        new = tuple(Choice(v, v, old.levels, frozenset()) for v in dict.fromkeys(values) if v not in known)
        return Catalogue(replace(a, choices=a.choices + new) if a.name == name else a for a in self._all.values())


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files("ngcpd.store").joinpath("data", name).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))


def _set(text: str) -> frozenset[str]:
    return frozenset(filter(None, text.split("|")))


@functools.cache
def load() -> Catalogue:
    """The packaged catalogue."""
    choices: dict[str, list[Choice]] = {}
    for row in _rows("preference_enums.csv"):
        choices.setdefault(row["attribute"], []).append(Choice(row["label"], row["value"] or None, _set(row["levels"]), _set(row["defaults"])))
    return Catalogue(
        Attribute(
            name=row["attribute"],
            group=row["group"],
            label=row["label"],
            type=row["type"],
            max_occur=int(row["max_occur"]),
            levels=_set(row["levels"]),
            internal=int(row["internal"]),
            expose=row["expose"] == "1",
            read_only=row["read_only"] == "1",
            meaning=row["meaning"],
            choices=tuple(choices.get(row["attribute"], ())),
        )
        for row in _rows("preferences.csv")
    )
