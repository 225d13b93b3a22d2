"""How a setting is declared: its key, type, default, meaning and what a change of it takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ngcpd.config.problems import Mark
from ngcpd.config.tree import Node, from_plain
from ngcpd.config.types import Type

RELOAD = {
    "L": "in force after a reload",
    "B": "listeners are bound anew after a reload, calls stay up",
    "R": "in force after a restart of the daemon",
    "H": "for files and jobs of the host, not read by the daemon",
    "I": "accepted, has no effect",
    "N": "belongs to a feature that this release does not have",
}
BUILTIN = Mark("(default)")


@dataclass(frozen=True)
class Key:
    """One setting. `default` is as it would be written in YAML (None = no value); `aliases` are other full paths it is found under."""

    path: str
    type: Type
    default: object
    reload: str
    meaning: str
    unit: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False

    @property
    def default_node(self) -> Node:
        return from_plain(self.default, BUILTIN)

    @property
    def python(self) -> str:
        """Annotation of the value."""
        typed = self.type.typed()
        optional = self.default is None and not typed.startswith(("tuple[", "Mapping["))
        return typed + (" | None" if optional else "")


@dataclass(frozen=True)
class Section:
    """A top-level map of the files."""

    name: str
    title: str
    keys: tuple[Key, ...]
    file: str = "config.yml"
    aliases: tuple[str, ...] = ()


@dataclass
class SectionBuilder:
    """Collects the keys of one section; paths are relative to it."""

    name: str
    title: str
    file: str = "config.yml"
    aliases: tuple[str, ...] = ()
    keys: list[Key] = field(default_factory=list)

    def __call__(
        self,
        path: str,
        type_: Type,
        default: object,
        reload: str,
        meaning: str,
        *,
        unit: str = "",
        aliases: Iterable[str] = (),
        secret: bool = False,
    ) -> None:
        """Declare one key. An alias that starts with a dot is relative to the section, others are full paths."""
        full = tuple(f"{self.name}{a}" if a.startswith(".") else a for a in aliases)
        self.keys.append(Key(f"{self.name}.{path}", type_, default, reload, meaning, unit, full, secret))

    def many(self, type_: Type, reload: str, rows: Mapping[str, tuple[object, str]], *, unit: str = "") -> None:
        """Declare several keys of one type: path -> (default, meaning)."""
        for path, (default, meaning) in rows.items():
            self(path, type_, default, reload, meaning, unit=unit)

    def done(self) -> Section:
        return Section(self.name, self.title, tuple(self.keys), self.file, self.aliases)
