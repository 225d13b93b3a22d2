"""All declared settings, and how a name finds its declaration."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cached_property

from ngcpd.config import schema_apps, schema_billing, schema_host, schema_ngcpd, schema_signalling, schema_web
from ngcpd.config.declare import Key, Section

CONSTANTS_VERSION = 1
CONFIG_VERSION = 1

OBSOLETE = {
    "networking": "addresses and interfaces belong into network.yml",
    "ha": "hosts, peers and shared addresses belong into network.yml",
}
"""Sections that are refused, with the reason."""

NETWORK_KEYS = ("hosts", "hosts_common")

Branch = dict[str, "Key | Branch"]


class Schema:
    """The declarations by full path and as a tree."""

    def __init__(self, sections: list[Section]) -> None:
        self.sections = sections
        self.keys: dict[str, Key] = {}
        self.tree: Branch = {}
        for section in sections:
            for key in section.keys:
                if key.path in self.keys:
                    raise ValueError(f"{key.path} is declared twice")
                self.keys[key.path] = key
                self._insert(key)

    def _insert(self, key: Key) -> None:
        *above, last = key.path.split(".")
        branch = self.tree
        for name in above:
            below = branch.setdefault(name, {})
            if not isinstance(below, dict):
                raise ValueError(f"{key.path} lies below another key")
            branch = below
        if last in branch:
            raise ValueError(f"{key.path} has keys below it")
        branch[last] = key

    @cached_property
    def aliases(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Other spelling -> path, whole branches first: configuration framework 13, features 3 no. 41 and 54."""
        result: dict[tuple[str, ...], tuple[str, ...]] = {}
        for section in self.sections:
            for alias in section.aliases:
                result[(alias,)] = (section.name,)
        result[("security", "ngcp-panel")] = ("security", "ngcp_panel")
        for key in self.keys.values():
            path = tuple(key.path.split("."))
            for alias in key.aliases:
                result[tuple(alias.split("."))] = path
            twin = {"enable": "enabled", "enabled": "enable"}.get(path[-1])
            other = (*path[:-1], twin or "")
            if twin and ".".join(other) not in self.keys:
                result[other] = path
        return result

    @cached_property
    def _names_by_last(self) -> dict[str, list[str]]:
        result: dict[str, list[str]] = {}
        for path in self.keys:
            result.setdefault(path.rsplit(".", 1)[-1], []).append(path)
        return result

    def nearest(self, path: tuple[str, ...], siblings: Iterator[str]) -> str:
        """A valid full name close to a wrong one, "" when there is none."""
        above = ".".join(path[:-1])
        close = difflib.get_close_matches(path[-1], list(siblings), n=1, cutoff=0.6)
        if close:
            return f"{above}.{close[0]}" if above else close[0]
        elsewhere = self._names_by_last.get(path[-1], [])
        if elsewhere:
            best = difflib.get_close_matches(".".join(path), elsewhere, n=1, cutoff=0.3)
            return best[0] if best else elsewhere[0]
        close = difflib.get_close_matches(".".join(path), self.keys, n=1, cutoff=0.75)
        return close[0] if close else ""


def _all() -> list[Section]:
    rooms = (schema_signalling, schema_apps, schema_billing, schema_host, schema_web, schema_ngcpd)
    config = sorted((s for room in rooms for s in room.sections()), key=lambda s: s.name)
    constants = sorted([*schema_billing.constants(), *schema_ngcpd.constants()], key=lambda s: s.name)
    return config + constants


SCHEMA = Schema(_all())
