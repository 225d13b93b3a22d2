"""The files of a configuration directory -> settings and node.

Order, lowest precedence first: config.yml, config.HOST.yml, config.local.yml, network.yml, config.d/*.yml, constants.yml.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ngcpd.config import checks, headers, types
from ngcpd.config.declare import Key
from ngcpd.config.headers import SYSTEM_DIRECTORY, HeaderLists
from ngcpd.config.network import read_hosts
from ngcpd.config.node import Node
from ngcpd.config.problems import ConfigError, Mark, Problem, Report
from ngcpd.config.schema import CONFIG_VERSION, CONSTANTS_VERSION, NETWORK_KEYS, OBSOLETE, SCHEMA, Branch, Schema
from ngcpd.config.schema_host import CLUSTER_SET
from ngcpd.config.settings import Settings, build
from ngcpd.config.tree import Map, Scalar, clip, find, merge
from ngcpd.config.tree import Node as Tree
from ngcpd.config.yamlfile import conflict_markers, parse, read_plain

CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NEEDED = ("config.yml", "network.yml", "constants.yml")


@dataclass(frozen=True)
class Loaded:
    """A configuration that passed all checks. `warnings` and `notices` are for the log of the start."""

    settings: Settings
    node: Node
    warnings: list[Problem]
    notices: list[Problem]
    directory: str
    files: tuple[str, ...]
    nodes: Mapping[str, Node]
    headers: HeaderLists


def find_directory(directory: str | None) -> str:
    """The directory asked for, else /etc/ngcp-config if present, else `etc` of the checkout. ConfigError when there is none."""
    if directory is None:
        directory = SYSTEM_DIRECTORY if os.path.isdir(SYSTEM_DIRECTORY) else os.path.join(CHECKOUT, "etc")
    if not os.path.isdir(directory):
        what = "is not a directory" if os.path.lexists(directory) else "does not exist"
        raise ConfigError([Problem(Mark(directory), f"the configuration directory {what}; name the right one with --config-dir")])
    return directory


def system_hostname() -> str:
    """Content of /etc/hostname, "" when there is none (configuration framework 1)."""
    try:
        with open("/etc/hostname", encoding="ascii", errors="replace") as file:
            return file.read(256).split("#", 1)[0].strip()
    except OSError:
        return ""


def load(directory: str | None = None, environ: Mapping[str, str] | None = None, hostname: str | None = None) -> Loaded:
    """Read and check everything. Raises ConfigError with all problems found.

    `environ`: NGCPD_NODE names the node, NGCPD_LISTEN replaces the address of SIP and media. `hostname` None = /etc/hostname.
    """
    environ = os.environ if environ is None else environ
    directory = find_directory(directory)
    host = environ.get("NGCPD_NODE") or (system_hostname() if hostname is None else hostname)
    report = Report()
    files = _files(directory, host, report)
    tree = _read(files, report)
    network = os.path.join(directory, "network.yml")
    base = os.path.dirname(os.path.abspath(directory))
    values, sources = _values(tree, base, report)
    nodes = read_hosts(tree, network, report) if os.path.lexists(network) else {}
    node = _find_node(nodes, host, environ, network, report) if nodes else None
    listen = environ.get("NGCPD_LISTEN", "")
    if listen and node is not None:
        node = _listen(node, listen, report)
    _versions(values, sources, report)
    lists = headers.read(directory, report)
    report.check()
    assert node is not None
    settings = build(values, tree, sources)
    checks.check(settings, node, nodes, report, tree, Mark(os.path.join(directory, "config.yml")))
    report.check()
    return Loaded(settings, node, sorted(set(report.warnings)), sorted(set(report.notices)), directory, tuple(files), nodes, lists)


# ------------------------------------------------------------------------------------------------------------------ files
def _files(directory: str, host: str, report: Report) -> list[str]:
    """Existing files in load order; a file that is reached twice counts once, at its first place."""
    wanted = [os.path.join(directory, "config.yml")]
    if host and os.sep not in host and not host.startswith("."):
        wanted.append(os.path.join(directory, f"config.{host}.yml"))
    wanted += [os.path.join(directory, "config.local.yml"), os.path.join(directory, "network.yml")]
    extra = os.path.join(directory, "config.d")
    try:
        names = sorted(n for n in os.listdir(extra) if n.endswith(".yml") and not n.startswith("."))
    except FileNotFoundError:
        names = []
    except OSError as error:
        report.error(Mark(extra), f"cannot be read: {error.strerror}")
        names = []
    wanted += [os.path.join(extra, name) for name in names]
    wanted.append(os.path.join(directory, "constants.yml"))
    files: list[str] = []
    seen: set[str] = set()
    for path in wanted:
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        if os.path.lexists(path):
            files.append(path)
        elif os.path.basename(path) in NEEDED:
            report.error(Mark(path), "this file is missing; take the one that comes with ngcpd (etc/) as a start")
    return files


def read_file(path: str, report: Report) -> bytes | None:
    """Content of a file (at most one byte more than is allowed), None after an error in the report."""
    try:
        return read_plain(path)
    except OSError as error:
        report.error(Mark(path), f"cannot be read: {error.strerror}")
        return None


def _read(files: list[str], report: Report) -> Map:
    """The merged tree of all files that can be read."""
    merged: Tree = Map({}, Mark(files[0] if files else "config.yml"))
    for path in files:
        data = read_file(path, report)
        tree = parse(data, path, report) if data is not None else None
        if tree is not None:
            merged = merge(merged, _canonical(tree, SCHEMA, report))
    assert isinstance(merged, Map)
    return merged


def scan_conflicts(directory: str) -> list[Problem]:
    """Conflict markers in any file of the configuration directory except .git and *.dpkg-* (configuration framework 3, check 5)."""
    report = Report()
    for above, folders, names in os.walk(directory):
        folders[:] = sorted(f for f in folders if f != ".git")
        for name in sorted(names):
            path = os.path.join(above, name)
            if ".dpkg-" in name or not os.path.isfile(path):
                continue
            data = read_file(path, report)
            if data is not None:
                conflict_markers(data, path, report)
    return report.errors


# ---------------------------------------------------------------------------------------------------------------- aliases
def _canonical(tree: Map, schema: Schema, report: Report) -> Map:
    """One file's tree with every setting under its declared name, so that later files override whatever spelling was used."""
    for alias, path in schema.aliases.items():
        found = find(tree, alias)
        if found is None:
            continue
        above = find(tree, alias[:-1])
        assert isinstance(above, Map)
        mark = above.keys.get(alias[-1], found.mark)
        tree = _without(tree, alias)
        target = find(tree, path)
        name = ".".join(path)
        if target is None:
            tree = _with(tree, path, found, mark)
            report.note(mark, f"{clip('.'.join(alias))} is another spelling of {name}")
        elif isinstance(target, Map) and isinstance(found, Map):
            tree = _with(tree, path, merge(found, target), mark)
        else:
            report.warn(mark, f"{clip('.'.join(alias))} is another spelling of {name}, which this file gives too and which counts")
    return tree


def _without(tree: Map, path: tuple[str, ...]) -> Map:
    items, keys = dict(tree.items), dict(tree.keys)
    if len(path) == 1:
        del items[path[0]]
    else:
        below = items[path[0]]
        assert isinstance(below, Map)
        rest = _without(below, path[1:])
        if rest.items:
            items[path[0]] = rest
            return Map(items, tree.mark, keys)
        del items[path[0]]
    keys.pop(path[0], None)
    return Map(items, tree.mark, keys)


def _with(tree: Map, path: tuple[str, ...], node: Tree, mark: Mark) -> Map:
    items, keys = dict(tree.items), dict(tree.keys)
    name = path[0]
    keys.setdefault(name, mark)
    if len(path) == 1:
        items[name] = node
    else:
        below = items.get(name)
        items[name] = _with(below if isinstance(below, Map) else Map({}, mark), path[1:], node, mark)
    return Map(items, tree.mark, keys)


# ----------------------------------------------------------------------------------------------------------------- values
class _Reader:
    """Walks the merged tree along the declarations."""

    def __init__(self, schema: Schema, base: str, report: Report) -> None:
        self.schema = schema
        self.base = base
        self.report = report
        self.values: dict[str, Any] = {}
        self.sources: dict[str, Mark] = {}
        for key in schema.keys.values():
            self.values[key.path] = self._default(key)

    def _default(self, key: Key) -> Any:
        node = key.default_node
        if isinstance(node, Scalar) and node.value is None:
            return None if key.python.endswith("| None") else key.type.empty

        def bad(mark: Mark, text: str) -> None:
            raise ValueError(f"default of {key.path}: {text}")

        return self._placed(key, key.type.read(node, bad))

    def _placed(self, key: Key, value: Any) -> Any:
        if isinstance(key.type, types.Path) and isinstance(value, str) and value:
            return os.path.normpath(os.path.join(self.base, value))
        return value

    def walk(self, tree: Map, branch: Branch, path: tuple[str, ...]) -> None:
        for name, node in tree.items.items():
            here = (*path, name)
            mark = tree.keys.get(name, node.mark)
            declared = branch.get(name)
            if isinstance(declared, Key):
                self._read(declared, node, mark)
            elif declared is not None:
                self._section(node, declared, here, mark)
            elif not self._special(here, node, mark):
                nearest = self.schema.nearest(here, iter(branch))
                hint = f"; nearest valid name: {nearest}" if nearest else ""
                self.report.warn(mark, f"unknown key {clip('.'.join(here), 120)}{hint}")

    def _section(self, node: Tree, branch: Branch, here: tuple[str, ...], mark: Mark) -> None:
        if isinstance(node, Map):
            self.walk(node, branch, here)
        elif not (isinstance(node, Scalar) and node.value in (None, "")):
            self.report.error(node.mark, f"{'.'.join(here)} must be a map with keys such as {', '.join(list(branch)[:4])}")

    def _special(self, here: tuple[str, ...], node: Tree, mark: Mark) -> bool:
        if len(here) == 1 and here[0] in NETWORK_KEYS:
            return True
        if len(here) == 1 and here[0] in OBSOLETE:
            self.report.error(mark, f"section {here[0]} is obsolete: {OBSOLETE[here[0]]}")
            return True
        if here[0] == "www_csc" and len(here) > 1:
            return True
        if here[0] == "cluster_sets" and len(here) == 2:
            CLUSTER_SET.read(node, lambda m, text: self.report.error(m, f"{'.'.join(here)}: {text} (allowed: {CLUSTER_SET.allowed()})"))
            return True
        return False

    def _read(self, key: Key, node: Tree, mark: Mark) -> None:
        if isinstance(node, Scalar) and node.value is None:
            return
        if isinstance(node, Scalar) and node.value == "" and key.python.endswith("| None"):
            return

        def bad(place: Mark, text: str) -> None:
            if key.secret:
                text = "the value (not shown) is not valid"
            hint = "; write ~ for no value" if isinstance(node, Scalar) and node.value in ("null", "Null", "NULL") else ""
            self.report.error(place, f"{key.path}: {text}{hint} (allowed: {key.type.allowed()})")

        default = self.values[key.path]
        value = self._placed(key, key.type.read(node, bad))
        self.values[key.path] = value
        self.sources[key.path] = node.mark
        if key.reload == "I" and value != default and os.path.basename(mark.file) != "constants.yml":
            self.report.note(mark, f"{key.path} is accepted and has no effect")
        elif key.reload == "N" and value != default and value:
            self.report.warn(mark, f"{key.path} is accepted and has no effect: this release does not have the feature")


def _values(tree: Map, base: str, report: Report) -> tuple[dict[str, Any], dict[str, Mark]]:
    reader = _Reader(SCHEMA, base, report)
    reader.walk(tree, SCHEMA.tree, ())
    return reader.values, reader.sources


def _versions(values: Mapping[str, Any], sources: Mapping[str, Mark], report: Report) -> None:
    for name, known in (("constants_version", CONSTANTS_VERSION), ("config_version", CONFIG_VERSION)):
        key = f"configuration_framework.{name}"
        if isinstance(values[key], int) and values[key] > known:
            report.error(sources[key], f"{key}: {values[key]} is newer than this ngcpd knows ({known}); upgrade ngcpd")


# ------------------------------------------------------------------------------------------------------------------- node
def _find_node(nodes: dict[str, Node], host: str, environ: Mapping[str, str], network: str, report: Report) -> Node | None:
    if host in nodes:
        return nodes[host]
    named = environ.get("NGCPD_NODE")
    if not named and list(nodes) == ["self"]:
        return nodes["self"]
    who = f"NGCPD_NODE is {clip(named)}" if named else f"/etc/hostname says {clip(host) if host else 'nothing'}"
    report.error(Mark(network), f"this node is not among the hosts: {who}, known are {clip(', '.join(nodes), 200)}; add it or set NGCPD_NODE")
    return None


def _listen(node: Node, listen: str, report: Report) -> Node:
    place = Mark("NGCPD_LISTEN")
    wrong = types.IP.problem(listen)
    if wrong:
        report.error(place, f"{wrong}; give one address of this machine")
    elif ipaddress.ip_address(listen).is_unspecified or ipaddress.ip_address(listen).is_multicast:
        report.error(place, f"{listen} is no address that phones could send to; give one address of this machine")
    else:
        return node.listening_on(listen)
    return node
