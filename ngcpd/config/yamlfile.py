"""One YAML file -> one tree. No implicit typing: scalars are text, only `~` and an empty value are null.

Aliases and merge keys work; what they may expand to is bounded. All findings carry file, line and column.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from ngcpd.config.problems import Mark, Report
from ngcpd.config.tree import Map, Node, Scalar, Seq, clip

MAX_BYTES = 1 << 20
"""Size of one file."""
MAX_NODES = 50_000
"""Nodes of one file after the expansion of aliases."""
MAX_DEPTH = 32

_CONFLICT = re.compile(rb"^(?:<{7}|>{7}) \S.*$", re.MULTILINE)
_TAG = "tag:yaml.org,2002:"
_NULL = _TAG + "null"
_TAGS = {_TAG + "str", _TAG + "seq", _TAG + "map", _NULL}


class _TooDeep(Exception):
    def __init__(self, mark: yaml.Mark) -> None:
        super().__init__()
        self.mark = mark


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Composes nodes; an untagged scalar is text, or null when it is a plain `~` or nothing."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _TooDeep(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)  # type: ignore[arg-type]
        finally:
            self.depth -= 1

    def resolve(self, kind: type[yaml.Node], value: object, implicit: object) -> str:
        if kind is ScalarNode and isinstance(implicit, tuple) and implicit[0] and value in ("", "~"):
            return _NULL
        return str(BaseResolver.resolve(self, kind, value, implicit))  # type: ignore[no-untyped-call]


class _TooBig(Exception):
    pass


class _Converter:
    """Nodes of the YAML library -> our tree, with the checks the library does not make."""

    def __init__(self, file: str, report: Report) -> None:
        self.file = file
        self.report = report
        self.count = 0
        self.open: set[int] = set()

    def mark(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def convert(self, node: yaml.Node) -> Node:
        mark = self.mark(node)
        self.count += 1
        if self.count > MAX_NODES:
            self.report.error(mark, f"too many values: more than {MAX_NODES} after the expansion of aliases")
            raise _TooBig
        if id(node) in self.open:
            self.report.error(mark, "an alias refers to a value that contains it")
            return Scalar(None, mark)
        if node.tag not in _TAGS:
            self.report.error(mark, f"tag {clip(node.tag.removeprefix(_TAG))} is not allowed: write plain values")
        self.open.add(id(node))
        try:
            if isinstance(node, ScalarNode):
                return Scalar(None if node.tag == _NULL else node.value, mark)
            if isinstance(node, SequenceNode):
                return Seq(tuple(self.convert(item) for item in node.value), mark)
            assert isinstance(node, MappingNode)
            return self._map(node, mark)
        finally:
            self.open.discard(id(node))

    def _map(self, node: MappingNode, mark: Mark) -> Map:
        items: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        inherited: list[Map] = []
        for key_node, value_node in node.value:
            place = self.mark(key_node)
            if not isinstance(key_node, ScalarNode) or key_node.tag == _NULL:
                self.report.error(place, "a key must be text")
                continue
            key = key_node.value
            if key == "<<" and key_node.style is None:
                inherited += self._inherited(value_node)
                continue
            if key in keys:
                self.report.error(place, f"key {clip(key)} is given twice, first in line {keys[key].line}")
                continue
            keys[key] = place
            items[key] = self.convert(value_node)
        for base in inherited:
            for key, value in base.items.items():
                if key not in items:
                    items[key] = value
                    keys[key] = base.keys[key]
        return Map(items, mark, keys)

    def _inherited(self, node: yaml.Node) -> list[Map]:
        found = self.convert(node)
        maps = found.items if isinstance(found, Seq) else (found,)
        result = []
        for item in maps:
            if isinstance(item, Map):
                result.append(item)
            else:
                self.report.error(item.mark, "<< needs a map or a list of maps")
        return result


def read_plain(path: str, check: Callable[[os.stat_result], None] | None = None) -> bytes:
    """Content of a plain file, cut one byte after MAX_BYTES; never waits, as opening a pipe would. OSError when it cannot be read.

    `check` may look at what was opened and raise.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a plain file", path)
        if check is not None:
            check(found)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def conflict_markers(data: bytes, file: str, report: Report) -> bool:
    """Report what an unfinished git merge left behind. True when there was any."""
    hits = list(_CONFLICT.finditer(data))
    for hit in hits[:10]:
        line = data.count(b"\n", 0, hit.start()) + 1
        shown = clip(hit.group().decode("utf-8", "replace"), 30)
        report.error(Mark(file, line, 1), f"conflict marker of a git merge: {shown}; finish the merge by hand")
    return bool(hits)


def decode(data: bytes, file: str, report: Report) -> str | None:
    """ASCII or UTF-8 text, else an error naming the first wrong byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        name = Path(file).name
        report.error(
            Mark(file, line, column),
            f"byte 0x{data[error.start]:02x} is neither ASCII nor UTF-8; convert the file, e.g. iconv -f ISO-8859-1 -t UTF-8 {name} > {name}.new",
        )
        return None


def parse(data: bytes, file: str, report: Report) -> Map | None:
    """The tree of one file; None when it could not be read (then the report has an error). An empty file is an empty map."""
    whole = Mark(file)
    if len(data) > MAX_BYTES:
        report.error(whole, f"file is larger than {MAX_BYTES} bytes")
        return None
    text = decode(data, file, report)
    if text is None or conflict_markers(data, file, report):
        return None
    try:
        node = _Loader(text).get_single_node()
    except _TooDeep as error:
        report.error(Mark(file, error.mark.line + 1, error.mark.column + 1), f"values are nested deeper than {MAX_DEPTH} levels")
        return None
    except ReaderError as error:
        before = text[: error.position]
        place = Mark(file, before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        report.error(place, "invalid file syntax: a control character that YAML does not allow")
        return None
    except yaml.MarkedYAMLError as error:
        report.error(_place(error, file), f"invalid file syntax: {_reason(error)}")
        return None
    if node is None:
        return Map({}, Mark(file, 1, 1))
    errors = len(report.errors)
    converter = _Converter(file, report)
    try:
        tree = converter.convert(node)
    except _TooBig:
        return None
    if len(report.errors) > errors:
        return None
    if isinstance(tree, Scalar) and tree.value is None:
        return Map({}, tree.mark)
    if not isinstance(tree, Map):
        report.error(tree.mark, "the file must be a map of keys and values at its top")
        return None
    return tree


def _place(error: yaml.MarkedYAMLError, file: str) -> Mark:
    mark = error.problem_mark or error.context_mark
    return Mark(file) if mark is None else Mark(file, mark.line + 1, mark.column + 1)


def _reason(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem or "cannot be parsed"]
    if error.context:
        begun = error.context_mark
        where = f" (began in line {begun.line + 1})" if begun is not None and begun is not error.problem_mark else ""
        parts.insert(0, error.context + where)
    return ", ".join(parts)
