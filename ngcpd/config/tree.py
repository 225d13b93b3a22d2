"""The tree of a configuration: every scalar is text as written, every node knows its place. Merging by configuration framework 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ngcpd.config.problems import Mark

Plain: TypeAlias = "str | list[Plain] | dict[str, Plain] | None"


@dataclass(frozen=True, slots=True)
class Scalar:
    """Text exactly as written; None for `~` and for nothing at all."""

    value: str | None
    mark: Mark


@dataclass(frozen=True, slots=True)
class Seq:
    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Map:
    """`keys` has the place of each key, `items` its value."""

    items: dict[str, Node]
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict)


Node = Scalar | Seq | Map


def kind(node: Node) -> str:
    """What a node is, in words for a message."""
    if isinstance(node, Map):
        return "a map"
    if isinstance(node, Seq):
        return "a list"
    return "nothing" if node.value is None else f'"{clip(node.value)}"'


def clip(text: str, limit: int = 60) -> str:
    """Text of a bounded length without line breaks or control characters, for messages."""
    shown = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "..."


def plain(node: Node) -> Plain:
    """The tree as strings, None, lists and dictionaries."""
    if isinstance(node, Map):
        return {key: plain(value) for key, value in node.items.items()}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    return node.value


def from_plain(value: object, mark: Mark) -> Node:
    """The reverse of `plain`; all nodes get the same place."""
    if isinstance(value, dict):
        return Map({str(k): from_plain(v, mark) for k, v in value.items()}, mark, {str(k): mark for k in value})
    if isinstance(value, list | tuple):
        return Seq(tuple(from_plain(v, mark) for v in value), mark)
    return Scalar(None if value is None else str(value), mark)


def merge(left: Node, right: Node) -> Node:
    """`right` from a file of higher precedence over `left`.

    Maps merge recursively; a list joins what was there before; anything else replaces it (configuration framework 2).
    """
    if isinstance(right, Map):
        return _merge_maps(left, right) if isinstance(left, Map) else right
    if isinstance(right, Scalar):
        return right
    if isinstance(left, Seq):
        return Seq(left.items + right.items, right.mark if right.items else left.mark)
    if isinstance(left, Map):
        return Seq((*left.items.values(), *right.items), right.mark)
    return Seq((left, *right.items), right.mark)


def _merge_maps(left: Map, right: Map) -> Map:
    items = dict(left.items)
    keys = dict(left.keys)
    for name, value in right.items.items():
        items[name] = merge(items[name], value) if name in items else value
        keys[name] = right.keys.get(name, right.mark)
    return Map(items, right.mark, keys)


def find(node: Node, path: tuple[str, ...]) -> Node | None:
    """The node at a path of map keys, None when there is none."""
    for name in path:
        if not isinstance(node, Map) or name not in node.items:
            return None
        node = node.items[name]
    return node
