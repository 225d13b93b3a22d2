"""Patterns and rewrite rules: vectors of call processing 3.4, properties, and that no pattern can stop the daemon."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.directory.patterns import MAX_NUMBER, BadPattern, ShellPattern, compile_pattern, shell_match
from ngcpd.directory.rewrite import Rule, RuleRow, RuleSet


def nothing(name: str) -> tuple[str, ...]:
    return ()


def variables(**values: str | tuple[str, ...]):  # type: ignore[no-untyped-def]
    def lookup(name: str) -> tuple[str, ...]:
        found = values.get(name, ())
        return (found,) if isinstance(found, str) else found

    return lookup


VIENNA = variables(caller_cc="43", caller_ac="1", callee_cc="49", callee_emergency_cli="+4.", caller_list=("431", "432"))

PRODUCTION_IN = [(r"^(00|\+)([1-9][0-9]+)$", r"\2"), (r"^0([1-9][0-9]+)$", r"${caller_cc}\1"), (r"^([1-9][0-9]+)$", r"${caller_cc}${caller_ac}\1")]


def rule_set(rules: list[tuple[str, str]]) -> RuleSet:
    return RuleSet(1, "t", [RuleRow(n, 1, "in", "callee", n, m, r) for n, (m, r) in enumerate(rules)])


@pytest.mark.parametrize(
    ("rules", "subject", "result"),
    [
        (PRODUCTION_IN, "004321001", "4321001"),
        (PRODUCTION_IN, "+4321001", "4321001"),
        (PRODUCTION_IN, "0664123", "43664123"),
        (PRODUCTION_IN, "1002", "4311002"),
        (PRODUCTION_IN, "testuser1003", "testuser1003"),
        (PRODUCTION_IN, "0", "0"),
        (PRODUCTION_IN, "*55*1420", "*55*1420"),
        ([(r"^${caller_cc}${caller_ac}([1-9][0-9]+)$", r"\1")], "4311002", "1002"),
        ([(r"^$avp(s:caller_cc)$avp(s:caller_ac)([1-9][0-9]+)$", r"\1")], "4311002", "1002"),
        ([(r"^${caller_cc}${caller_ac}([1-9][0-9]+)$", r"\1")], "4321002", "4321002"),
        ([(r"^(112|133|144)$", r"emergency_\1")], "133", "emergency_133"),
        ([(r"^(\*123)$", "malicious_call")], "*123", "malicious_call"),
        ([(r"^([1-9][0-9]+)$", r"00\1")], "4311002", "004311002"),
        ([(r"^([1-9][0-9]+)$", r"+\1")], "4311002", "+4311002"),
        ([("1002", "9")], "4311002", "9"),  # the replacement stands for the whole text
        ([(r"^(.*)$", r"\0-\1")], "12", "12-12"),
        ([(r"^a(x)?b$", r"[\1]")], "ab", "[]"),
        ([(r"^x$", r"${caller_nothing}1${callee_cc}")], "x", "149"),
        ([(r"^${caller_nothing}5$", "ok")], "5", "ok"),
        ([(r"^${callee_emergency_cli}$", "literal")], "+4.", "literal"),
        ([(r"^${callee_emergency_cli}$", "literal")], "+45", "+45"),
        ([(r"^@{caller_list}(.+)$", r"ext\1")], "43299", "ext99"),
        ([(r"^$(avp(s:caller_list)[+])(.+)$", r"ext\1")], "43199", "ext99"),
        ([(r"^@{caller_list}(.+)$", r"ext\1")], "43399", "43399"),
        ([(r"^@{caller_none}(.*)$", r"ext\1")], "43399", "43399"),
        ([(r"^1$", "a"), (r"^1$", "b")], "1", "a"),  # only the first that matches
        ([(r"^2$", "a"), (r"^1$", "2")], "1", "2"),  # and it is not rewritten again
        ([(r"^(emergency_.+)$", r"\1"), (r"^(.+)$", r"x\1")], "emergency_112", "emergency_112"),
        ([(r"^1$", r"a\+b\\")], "1", "a+b\\"),
        ([(r"^1$", "")], "1", ""),
    ],
)
def test_rewrite_vectors(rules: list[tuple[str, str]], subject: str, result: str) -> None:
    assert rule_set(rules).rewrite("in", "callee", subject, VIENNA) == result


def test_lists_are_separate_and_ordered_by_priority_then_id() -> None:
    rows = [
        RuleRow(9, 1, "in", "callee", 10, "^1$", "late"),
        RuleRow(3, 1, "in", "callee", 5, "^1$", "id3"),
        RuleRow(2, 1, "in", "callee", 5, "^1$", "id2"),
        RuleRow(1, 1, "out", "callee", 1, "^1$", "out"),
        RuleRow(4, 1, "in", "caller", 1, "^1$", "caller"),
    ]
    rules = RuleSet(1, "t", rows)
    assert rules.rewrite("in", "callee", "1", nothing) == "id2"
    assert rules.rewrite("out", "callee", "1", nothing) == "out"
    assert rules.rewrite("in", "caller", "1", nothing) == "caller"
    assert rules.rewrite("out", "caller", "1", nothing) == "1"


@pytest.mark.parametrize(("match", "to"), [("(", "1"), ("^1$", r"\1"), ("(a+)+$", "1"), ("a" * 300, "1"), ("^1$", "@{caller_list}"), ("(?P<x", "")])
def test_bad_rules_are_skipped_and_the_others_work(match: str, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    rules = RuleSet(1, "t", [RuleRow(1, 1, "in", "callee", 1, match, to), RuleRow(2, 1, "in", "callee", 2, "^1$", "fine")])
    assert rules.rewrite("in", "callee", "1", nothing) == "fine"


def test_long_and_empty_subjects_stay() -> None:
    rules = rule_set([("^.*$", "x")])
    assert rules.rewrite("in", "callee", "1" * MAX_NUMBER, nothing) == "x"
    assert rules.rewrite("in", "callee", "1" * (MAX_NUMBER + 1), nothing) == "1" * (MAX_NUMBER + 1)
    assert rules.rewrite("in", "callee", "", nothing) == ""


@given(st.text(max_size=20), st.text(max_size=20))
def test_variables_are_literal_text(value: str, other: str) -> None:
    rule = Rule("^${caller_x}$", "hit")
    assert rule.apply(value, variables(caller_x=value)) == "hit" or "\n" in value
    if other != value:
        assert rule.apply(other, variables(caller_x=value)) is None or other.rstrip("\n") == value


@given(st.text("0123456789+", max_size=20))
def test_production_set_is_idempotent_on_international_numbers(subject: str) -> None:
    once = rule_set([PRODUCTION_IN[0]]).rewrite("in", "callee", subject, VIENNA)
    assert once == (re.sub(r"^(?:00|\+)(?=[1-9][0-9])", "", subject) if re.fullmatch(r"(00|\+)[1-9][0-9]+", subject) else subject)


EVIL = [r"(a+)+$", r"(a|a)*b", r"(a|aa)+$", r"(.*)*x", r"(a*)*", r"([0-9]{1,15}){1,15}x", r".*.*.*x", r"a?" * 30 + "a" * 30, r"(\d+|\d+x)*$"]


@pytest.mark.parametrize("pattern", EVIL)
def test_patterns_that_could_run_without_end_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compile_pattern(pattern, MAX_NUMBER)


@pytest.mark.parametrize(
    "pattern",
    [r"^(00|\+)([1-9][0-9]+)$", r"^.*([0-9]+).*$", r"^([0-9]|\*)+$", r"(ab|cd)+$", r"^\+?43(1|2|3)[0-9]{3,12}$", r"^sip:.*@.*\.test$", r"^$"],
)
def test_usual_patterns_are_accepted(pattern: str) -> None:
    compile_pattern(pattern, MAX_NUMBER)


_ATOM = st.sampled_from(["a", "b", "[ab]", ".", "(a|b)", "(a|ab)", "(aa|a)", "\\d"])
_QUANT = st.sampled_from(["", "*", "+", "?", "{0,3}", "{2,}", "*?"])


@st.composite
def regexes(draw: st.DrawFn, depth: int = 2) -> str:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        atom = draw(_ATOM) if depth == 0 or draw(st.booleans()) else f"({draw(regexes(depth - 1))})"
        parts.append(atom + draw(_QUANT))
    return "".join(parts)


@settings(max_examples=300, deadline=None)
@given(regexes(), st.sampled_from(["", "^"]), st.sampled_from(["", "$", "x"]))
def test_whatever_is_accepted_is_fast(body: str, start: str, end: str) -> None:
    try:
        pattern = compile_pattern(start + body + end, MAX_NUMBER)
    except BadPattern:
        return
    for subject in ("a" * 64, "ab" * 32, "a" * 63 + "!", "1" * 64):
        began = time.perf_counter()
        pattern.search(subject)
        assert time.perf_counter() - began < 0.5


# ---------------------------------------------------------------------------------------------------------- shell patterns
@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("43110029*", "431100299", True),
        ("43110029*", "43110029", True),
        ("43110021*", "431100222", False),
        ("4311002?", "43110021", True),
        ("4311002?", "4311002", False),
        ("431100[2-4]", "4311003", True),
        ("431100[2-4]", "4311005", False),
        ("431100[!2-4]", "4311005", True),
        ("431100[!2-4]", "4311003", False),
        ("*", "", True),
        ("*", "anything", True),
        ("", "", True),
        ("", "1", False),
        ("*9", "19199", True),
        ("*9*", "1", False),
        ("a[", "a[", True),
        ("a[]b]", "a]", True),
        ("4311002", "43110021", False),
        ("4311002", "14311002", False),
        ("4.11002", "4311002", False),
        ("+43*", "+431", True),
        ("[0-9][0-9]", "12", True),
        ("#*", "#31", True),
        ("**1**", "001", True),
    ],
)
def test_shell_vectors(pattern: str, text: str, fits: bool) -> None:
    assert shell_match(pattern, text) is fits


@given(st.text("ab*?[]!-01", max_size=12), st.text("ab01[]-", max_size=12))
def test_shell_like_fnmatch_where_the_grammar_is_the_same(pattern: str, text: str) -> None:
    if "[" in pattern:
        ShellPattern(pattern).matches(text)  # must not raise
        return
    assert ShellPattern(pattern).matches(text) is fnmatch.fnmatchcase(text, pattern)


@given(st.text("0123456789", max_size=10), st.sampled_from(["0-9", "1-5", "135", "!1-5", "!0"]))
def test_shell_sets_like_fnmatch(text: str, body: str) -> None:
    assert ShellPattern(f"*[{body}]").matches(text) is fnmatch.fnmatchcase(text, f"*[{body}]")


def test_shell_worst_case_is_fast() -> None:
    pattern, text = ShellPattern("*a" * 60 + "b"), "a" * 2000
    began = time.perf_counter()
    assert pattern.matches(text) is False
    assert time.perf_counter() - began < 1.0
