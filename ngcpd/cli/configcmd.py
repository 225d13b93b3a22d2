"""`ngcpctl config ...`: check, show, reference, defaults. Works without a daemon."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from typing import Any

from ngcpd.cli import exit as exits
from ngcpd.cli.show import clean
from ngcpd.config import ConfigError, Loaded, load, scan_conflicts
from ngcpd.config.reference import defaults, markdown
from ngcpd.config.schema import SCHEMA
from ngcpd.config.tree import Map, Plain, find, plain

_PASSWORD = re.compile(r"(?i)(pass|passwd|password|pwd|pw|secret|token)$")
_UNDECLARED = re.compile(r"(?i)pass|pwd|secret|token|communit|(^|[._-])(pw|key|iv)$")


def check(args: argparse.Namespace) -> int:
    """All problems on stderr, exit 78; warnings and one good line, exit 0."""
    try:
        loaded = load(args.config_dir)
        conflicts = scan_conflicts(loaded.directory)
        if conflicts:
            raise ConfigError(conflicts)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return exits.CONFIG
    for warning in loaded.warnings:
        sys.stderr.write(f"{warning} (warning)\n")
    for notice in loaded.notices:
        print(f"{notice} (notice)")
    print(f"{loaded.directory}: the configuration is good; this is node {loaded.node.name} with {', '.join(sorted(loaded.node.roles))}")
    return exits.OK


def is_secret(path: str) -> bool:
    """True for settings that are never printed."""
    key = SCHEMA.keys.get(path)
    if key is not None:
        return key.secret or _PASSWORD.search(path) is not None
    if any(k.startswith(path + ".") for k in SCHEMA.keys):
        return False
    return _UNDECLARED.search(path.rsplit(".", 1)[-1]) is not None or any(is_secret(above) for above in _above(path))


def _above(path: str) -> list[str]:
    """The declared keys that a path lies below (tables and lists of maps)."""
    parts = path.split(".")
    return [name for name in (".".join(parts[:n]) for n in range(1, len(parts))) if name in SCHEMA.keys]


def lines(path: str, value: Plain) -> list[str]:
    """`key: value` for every value of a tree, secrets hidden."""
    if isinstance(value, dict) and value and not is_secret(path):
        return [line for k, v in value.items() for line in lines(f"{path}.{k}" if path else k, v)]
    return [f"{path}: {text(path, value)}"]


def text(path: str, value: Plain) -> str:
    """One value as it is written; lists joined by one blank."""
    if is_secret(path) and value not in (None, "", [], {}):
        return "***"
    if isinstance(value, list):
        return " ".join(clean(v) if not isinstance(v, dict) else str(v) for v in value)
    if isinstance(value, dict):
        return " ".join(f"{k}={text(f'{path}.{k}', v)}" for k, v in value.items())
    return "" if value is None else clean(value)


def shown(loaded: Loaded, key: str) -> list[str] | None:
    """The lines for one key or a whole branch, None for an unknown one. A key that no file has is shown with its default."""
    path = tuple(key.split("."))
    path = SCHEMA.aliases.get(path, path)
    name = ".".join(path)
    declared = SCHEMA.keys.get(name)
    found = find(loaded.settings.tree, path)
    if declared is not None:
        value = declared.default_node if found is None or plain(found) is None else found
        return [text(name, plain(value))]
    if found is not None and not isinstance(found, Map):
        return [text(name, plain(found))]
    below = [k for k in SCHEMA.keys if k.startswith(name + ".")]
    if found is None and not below:
        return None
    return _branch(loaded, found if isinstance(found, Map) else None, name, below)


def _branch(loaded: Loaded, found: Map | None, name: str, below: list[str]) -> list[str]:
    written = dict(_leaves(name, found)) if found is not None else {}
    result = {k: (text(k, plain(SCHEMA.keys[k].default_node))) for k in below}
    for path, value in written.items():
        known = next((k for k in below if path == k or path.startswith(k + ".")), None)
        if known is not None:
            node = find(loaded.settings.tree, tuple(known.split(".")))
            if node is not None and plain(node) is not None:
                result[known] = text(known, plain(node))
        else:
            result[path] = text(path, value)
    return [f"{k}: {v}" for k, v in sorted(result.items())]


def _leaves(path: str, node: Any) -> list[tuple[str, Plain]]:
    if isinstance(node, Map) and node.items:
        return [leaf for k, v in node.items.items() for leaf in _leaves(f"{path}.{k}" if path else k, v)]
    return [(path, plain(node))]


def show(args: argparse.Namespace) -> int:
    """Values in force; exit 1 for a key that does not exist, 78 for a wrong configuration."""
    try:
        loaded = load(args.config_dir)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return exits.CONFIG
    if args.key is None:
        result: list[str] | None = _branch(loaded, loaded.settings.tree, "", list(SCHEMA.keys))
    else:
        result = shown(loaded, args.key)
    if result is None:
        path = tuple(args.key.split("."))
        nearest = SCHEMA.nearest(path, iter(_siblings(path)))
        hint = f"; nearest valid name: {nearest}" if nearest else ""
        sys.stderr.write(f"ngcpctl: there is no key {clean(args.key)}{hint}\n")
        return exits.FAILED
    for line in result:
        print(line)
    return exits.OK


def _siblings(path: tuple[str, ...]) -> list[str]:
    branch: Any = SCHEMA.tree
    for name in path[:-1]:
        branch = branch.get(name) if isinstance(branch, Mapping) else None
    return list(branch) if isinstance(branch, Mapping) else []


def reference(args: argparse.Namespace) -> int:
    """The reference page in Markdown."""
    sys.stdout.write(markdown())
    return exits.OK


def shipped(args: argparse.Namespace) -> int:
    """A file with every setting and its default."""
    sys.stdout.write(defaults(args.file))
    return exits.OK
