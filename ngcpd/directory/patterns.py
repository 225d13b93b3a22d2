"""Patterns that operators write, made safe to run on text that strangers send.

Regular expressions run in `re`, which knows no time limit: one that could backtrack without end would stop the whole daemon. So each is
measured when it is loaded: the number of ways in which it can be tried on the longest text it will meet. What is beyond the limit is not used.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_PATTERN = 255
"""Characters of a pattern after its variables were filled in."""
MAX_NUMBER = 64
"""Longest user part that rewrite rules are applied to."""
MAX_URI = 128
"""Longest URI that patterns are applied to."""
MAX_WAYS = 2_200_000
_CAP = MAX_WAYS + 1

# The parser behind `re.compile`; it has no public name.
_parser: Any = importlib.import_module("re._parser")


class Problem(NamedTuple):
    """A row that could not be used and is left out."""

    what: str
    id: int
    pattern: str
    why: str


class BadPattern(ValueError):
    """A pattern that is malformed or could run too long; the text says why."""


def compile_pattern(text: str, longest: int) -> re.Pattern[str]:
    """Compile a regular expression to be searched in texts of up to `longest` characters. Raises `BadPattern`."""
    if len(text) > MAX_PATTERN:
        raise BadPattern("longer than 255 characters")
    try:
        tree = _parser.parse(text, re.ASCII)
        pattern = re.compile(text, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(str(error)) from None
    anchored = len(tree) > 0 and str(tree[0][0]) == "AT" and str(tree[0][1]) in ("AT_BEGINNING", "AT_BEGINNING_STRING")
    ways = _ways(tree, longest)
    if (ways if anchored else ways * longest) > MAX_WAYS:
        raise BadPattern("it could backtrack too long")
    return pattern


def _ways(items: Any, longest: int) -> int:
    """Upper bound of the ways to match a sequence from one position."""
    total = 1
    for op, arg in items:
        total *= _ways_of(str(op), arg, longest)
        if total > _CAP:
            return _CAP
    return total


def _ways_of(op: str, arg: Any, longest: int) -> int:
    if op == "BRANCH":
        counts = [_ways(item, longest) for item in arg[1]]
        return max(counts) if _disjoint(arg[1]) else sum(counts)
    if op == "SUBPATTERN":
        return _ways(arg[3], longest)
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _ways_of_repeat(arg[0], arg[1], _ways(arg[2], longest), longest)
    if op in ("ASSERT", "ASSERT_NOT"):
        return _ways(arg[1], longest)
    if op == "ATOMIC_GROUP":
        return _ways(arg, longest)
    if op == "GROUPREF_EXISTS":
        return _ways(arg[1], longest) + (_ways(arg[2], longest) if arg[2] is not None else 1)
    return 1


def _ways_of_repeat(low: int, high: int, inner: int, longest: int) -> int:
    low, high = min(int(low), longest), min(int(high), longest)
    if inner == 1:
        return high - low + 1
    total = 0
    power = min(inner**low, _CAP) if low < 64 else _CAP
    for _ in range(low, high + 1):
        total += power
        if total > _CAP:
            return _CAP
        power *= inner
    return total


def _disjoint(branches: Sequence[Any]) -> bool:
    """True when the first character decides which alternative it is."""
    seen: list[tuple[int, int]] = []
    for branch in branches:
        ranges = _first(branch)
        if not ranges or any(a <= d and c <= b for a, b in ranges for c, d in seen):
            return False
        seen += ranges
    return True


def _first(branch: Any) -> list[tuple[int, int]]:
    """Ranges of the characters that a sequence can begin with; [] when that is not plain to see."""
    if len(branch) == 0:
        return []
    op, arg = str(branch[0][0]), branch[0][1]
    if op == "LITERAL":
        return [(arg, arg)]
    if op != "IN":
        return []
    out: list[tuple[int, int]] = []
    for kind, value in arg:
        if str(kind) == "LITERAL":
            out.append((value, value))
        elif str(kind) == "RANGE":
            out.append((value[0], value[1]))
        else:
            return []
    return out


# ------------------------------------------------------------------------------------------------------------ shell style
class ShellPattern:
    """`*` any text, `?` one character, `[x-y]` one character of a set (`[!...]` of none in it); everything else stands for itself. The whole
    text has to fit (call processing 3.3.3, 3.6.1). The work is bounded by the product of both lengths."""

    __slots__ = ("_atoms", "text")

    ANY = 0
    ONE = 1

    def __init__(self, text: str) -> None:
        self.text = text
        self._atoms: list[int | str | tuple[bool, str]] = _atoms(text)

    def matches(self, text: str) -> bool:
        """Greedy matching that only ever goes back to the last `*`."""
        atoms = self._atoms
        i = k = 0
        star = mark = -1
        while i < len(text):
            if k < len(atoms) and atoms[k] == ShellPattern.ANY:
                star, mark = k, i
                k += 1
            elif k < len(atoms) and _fits(atoms[k], text[i]):
                i += 1
                k += 1
            elif star >= 0:
                mark += 1
                i, k = mark, star + 1
            else:
                return False
        while k < len(atoms) and atoms[k] == ShellPattern.ANY:
            k += 1
        return k == len(atoms)


def _fits(atom: int | str | tuple[bool, str], char: str) -> bool:
    if isinstance(atom, str):
        return atom == char
    if isinstance(atom, tuple):
        return (char in atom[1]) is atom[0]
    return atom == ShellPattern.ONE


def _atoms(text: str) -> list[int | str | tuple[bool, str]]:
    out: list[int | str | tuple[bool, str]] = []
    i = 0
    while i < len(text):
        char = text[i]
        if char == "*":
            if not out or out[-1] != ShellPattern.ANY:
                out.append(ShellPattern.ANY)
        elif char == "?":
            out.append(ShellPattern.ONE)
        elif char == "[" and (end := text.find("]", i + 2)) > 0:
            out.append(_set(text[i + 1 : end]))
            i = end
        else:
            out.append(char)
        i += 1
    return out


def _set(body: str) -> tuple[bool, str]:
    """The inside of brackets: (whether it lists what fits, the characters)."""
    positive = True
    if body[0] in "!^" and len(body) > 1:
        positive, body = False, body[1:]
    chars: list[str] = []
    i = 0
    while i < len(body):
        if i + 2 < len(body) and body[i + 1] == "-":
            low, high = ord(body[i]), ord(body[i + 2])
            chars += [chr(c) for c in range(low, min(high, low + 255) + 1)]
            i += 3
        else:
            chars.append(body[i])
            i += 1
    return positive, "".join(chars)


_shell: dict[str, ShellPattern] = {}


def shell_match(pattern: str, text: str) -> bool:
    """`ShellPattern(pattern).matches(text)` with a bounded memory of patterns."""
    found = _shell.get(pattern)
    if found is None:
        if len(_shell) >= 4096:
            _shell.clear()
        found = _shell[pattern] = ShellPattern(pattern)
    return found.matches(text)
