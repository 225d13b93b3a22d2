"""Rewrite rule sets: ordered lists of regular expressions that turn numbers of one notation into another (call processing 3.4).

The first matching rule of a list is applied, its replacement stands for the whole user part, no match leaves the text as it is.
Variables `${caller_cc}` or `${callee_...}` (also in their stored form `$avp(s:caller_cc)`) are preferences of the caller or callee; `@{...}`
(`$(avp(s:...)[+])`) in a match pattern is a list: the rule matches when it does with any of its values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ngcpd.directory.patterns import MAX_NUMBER, BadPattern, Problem, compile_pattern
from ngcpd.runtime.log import logger

log = logger("directory")

Lookup = Callable[[str], Sequence[str]]
"""Values of a variable by its name (`caller_cc`), () when unset."""

IN, OUT, LNP = "in", "out", "lnp"
CALLER, CALLEE = "caller", "callee"

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$avp\(s:(\w+)\)|@\{(\w+)\}|\$\(avp\(s:(\w+)\)\[\+\]\)")
_MEMORY = 256


class RuleRow(NamedTuple):
    """A rule as provisioned."""

    id: int
    set_id: int
    direction: str
    field: str
    priority: int
    match_pattern: str
    replace_pattern: str


class _Var(NamedTuple):
    name: str
    many: bool


def _parts(text: str) -> list[str | _Var]:
    """A pattern cut at its variables."""
    out: list[str | _Var] = []
    at = 0
    for m in _VARIABLE.finditer(text):
        if m.start() > at:
            out.append(text[at : m.start()])
        out.append(_Var(m[1] or m[2] or m[3] or m[4], bool(m[3] or m[4])))
        at = m.end()
    if at < len(text):
        out.append(text[at:])
    return out


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""


class Rule:
    """One compiled rule. Raises `BadPattern` when it cannot be used."""

    __slots__ = ("_match", "_memory", "_plain", "_replace")

    def __init__(self, match_pattern: str, replace_pattern: str) -> None:
        self._match = _parts(match_pattern)
        has_variables = any(isinstance(p, _Var) for p in self._match)
        # Variables become literal text, so one that is filled in tells how long the pattern can run and how many groups it has.
        trial = compile_pattern(self._fill(lambda name: ("0",), ""), MAX_NUMBER)
        self._plain = None if has_variables else trial
        self._memory: dict[str, re.Pattern[str] | None] = {}
        self._replace = _replacement(replace_pattern, trial.groups)

    def _fill(self, lookup: Lookup, member: str) -> str:
        """The match pattern with its variables as literal text; a list variable stands for `member`."""
        return "".join(p if isinstance(p, str) else f"(?:{re.escape(member if p.many else _first(lookup(p.name)))})" for p in self._match)

    def _patterns(self, lookup: Lookup) -> Iterable[re.Pattern[str]]:
        if self._plain is not None:
            yield self._plain
            return
        lists = [p.name for p in self._match if isinstance(p, _Var) and p.many]
        for member in lookup(lists[0]) if lists else ("",):
            text = self._fill(lookup, member)
            if text not in self._memory:
                if len(self._memory) >= _MEMORY:
                    self._memory.clear()
                try:
                    self._memory[text] = compile_pattern(text, MAX_NUMBER)
                except BadPattern as error:
                    log.limited(text, 3600.0, "rewrite rule not usable with these values", pattern=text, why=str(error))
                    self._memory[text] = None
            pattern = self._memory[text]
            if pattern is not None:
                yield pattern

    def apply(self, subject: str, lookup: Lookup) -> str | None:
        """The rewritten text, None when the rule does not match."""
        for pattern in self._patterns(lookup):
            found = pattern.search(subject)
            if found is not None:
                return "".join(
                    p if isinstance(p, str) else (found[p] or "") if isinstance(p, int) else _first(lookup(p.name)) for p in self._replace
                )
        return None


def _replacement(text: str, groups: int) -> list[str | int | _Var]:
    """A replacement as literal text, group numbers and variables. A backslash before anything but a digit stands for that character."""
    out: list[str | int | _Var] = []
    for part in _parts(text):
        if isinstance(part, _Var):
            if part.many:
                raise BadPattern("a list variable in the replacement")
            out.append(part)
            continue
        at = 0
        while (slash := part.find("\\", at)) >= 0 and slash + 1 < len(part):
            out.append(part[at:slash])
            char = part[slash + 1]
            if char.isascii() and char.isdigit():
                if int(char) > groups:
                    raise BadPattern(f"there is no group {char}")
                out.append(int(char))
            else:
                out.append(char)
            at = slash + 2
        out.append(part[at:])
    return [p for p in out if p != ""]


class RuleSet:
    """The rule lists of one set by (direction, field)."""

    __slots__ = ("_lists", "id", "name", "problems")

    def __init__(self, set_id: int, name: str, rows: Iterable[RuleRow]) -> None:
        """`rows` are enabled rules of this set in any order. A rule that cannot be used is left out and named in `problems`."""
        self.id = set_id
        self.name = name
        lists: dict[tuple[str, str], list[Rule]] = {}
        problems: list[Problem] = []
        for row in sorted(rows, key=lambda r: (r.priority, r.id)):
            try:
                rule = Rule(row.match_pattern, row.replace_pattern)
            except BadPattern as error:
                problems.append(Problem("rewrite rule skipped", row.id, row.match_pattern, str(error)))
                continue
            lists.setdefault((row.direction, row.field), []).append(rule)
        self.problems = tuple(problems)
        self._lists = {where: tuple(rules) for where, rules in lists.items()}

    def rewrite(self, direction: str, field: str, subject: str, lookup: Lookup) -> str:
        """Apply a list. Texts of no or more than 64 characters are no numbers and stay as they are."""
        if not 0 < len(subject) <= MAX_NUMBER:
            return subject
        for rule in self._lists.get((direction, field), ()):
            result = rule.apply(subject, lookup)
            if result is not None:
                return result
        return subject
