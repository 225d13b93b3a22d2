"""Reading one YAML file."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.config.problems import Report
from ngcpd.config.tree import Map, Scalar, plain
from ngcpd.config.yamlfile import MAX_BYTES, MAX_DEPTH, parse


def read(text: str | bytes) -> object:
    report = Report()
    tree = parse(text if isinstance(text, bytes) else text.encode(), "f.yml", report)
    assert not report.errors, report.errors
    assert tree is not None
    return plain(tree)


def wrong(text: str | bytes) -> list[str]:
    report = Report()
    assert parse(text if isinstance(text, bytes) else text.encode(), "f.yml", report) is None
    assert report.errors
    return [str(p) for p in report.errors]


@pytest.mark.parametrize(
    "written", ["yes", "no", "010", "00", "1.50", "true", "on", "null", "0x1F", "1e3", "2024-01-01", "12:30:45", "=", "1_000", ".inf"]
)
def test_scalars_are_text_exactly_as_written(written: str) -> None:
    assert read(f"key: {written}\n") == {"key": written}


@pytest.mark.parametrize("written", ["", " ", "~", " ~ # comment"])
def test_tilde_and_nothing_are_null(written: str) -> None:
    assert read(f"key: {written}\n") == {"key": None}


@pytest.mark.parametrize("written", ["'~'", '"~"', "!!str ~"])
def test_a_quoted_tilde_is_text(written: str) -> None:
    assert read(f"key: {written}\n") == {"key": "~"}


def test_quoted_empty_text_is_not_null() -> None:
    assert read("a: ''\nb: \"\"\n") == {"a": "", "b": ""}


def test_blocks_and_folding() -> None:
    assert read("a: |\n  one\n  two\nb: >\n  three\n  four\n") == {"a": "one\ntwo\n", "b": "three four\n"}


def test_empty_file_and_only_comments_are_an_empty_map() -> None:
    assert read("") == {} and read("# nothing\n") == {} and read("---\n") == {} and read("~\n") == {}


def test_every_node_knows_its_place() -> None:
    report = Report()
    tree = parse(b"a:\n  b: x\n  c:\n    - y\n    - z\n", "f.yml", report)
    assert isinstance(tree, Map)
    a = tree.items["a"]
    assert isinstance(a, Map)
    assert str(tree.keys["a"]) == "f.yml:1:1" and str(a.keys["c"]) == "f.yml:3:3"
    assert str(a.items["b"].mark) == "f.yml:2:6"
    assert [str(i.mark) for i in a.items["c"].items] == ["f.yml:4:7", "f.yml:5:7"]  # type: ignore[union-attr]


def test_anchors_aliases_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\na: *b\nc: {<<: *b, y: 9}\nd: {<<: [*b, *o]}\n"
    assert read(text) == {
        "base": {"x": "1", "y": "2"},
        "other": {"y": "3", "z": "4"},
        "a": {"x": "1", "y": "2"},
        "c": {"x": "1", "y": "9"},
        "d": {"x": "1", "y": "2", "z": "4"},
    }


def test_a_merge_key_needs_a_map() -> None:
    assert wrong("b: &b text\na: {<<: *b}\n") == ["f.yml:1:4: << needs a map or a list of maps"]


def test_duplicate_keys_are_reported_with_both_places() -> None:
    assert wrong("a: 1\nb: 2\na: 3\n") == ["f.yml:3:1: key a is given twice, first in line 1"]


def test_aliases_may_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "too many values" in wrong("\n".join(lines))[0]


def test_an_alias_may_not_contain_itself() -> None:
    assert "an alias refers to a value that contains it" in wrong("a: &a [*a]\n")[0]
    assert "an alias refers to a value that contains it" in wrong("a: &a {<<: *a}\n")[0]


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_nesting_is_bounded(opening: str) -> None:
    assert "nested deeper than" in wrong("k: " + opening * (MAX_DEPTH + 2))[0]
    assert "nested deeper than" in wrong("k: " + opening * 20_000)[0]


def test_size_is_bounded() -> None:
    assert wrong(b"#" * (MAX_BYTES + 1)) == [f"f.yml: file is larger than {MAX_BYTES} bytes"]


def test_latin_1_is_named_with_the_way_out() -> None:
    (line,) = wrong("a: x\nb: M\u00fcller\n".encode("latin-1"))
    assert line.startswith("f.yml:2:5: byte 0xfc is neither ASCII nor UTF-8") and "iconv" in line


def test_utf_8_and_its_mark_are_fine() -> None:
    assert read("a: M\u00fcller\n") == {"a": "M\u00fcller"}
    assert read(b"\xef\xbb\xbfa: 1\n") == {"a": "1"}


def test_utf_16_is_refused() -> None:
    assert "neither ASCII nor UTF-8" in wrong("a: 1\n".encode("utf-16"))[0]


def test_control_characters_have_a_place() -> None:
    assert wrong(b"a: 1\nb: x\x01y\n") == ["f.yml:2:5: invalid file syntax: a control character that YAML does not allow"]


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD", ">>>>>>> 9fceb02d0ae598e95dc970b74767f19372d61af8", ">>>>>>> branch"])
def test_conflict_markers(marker: str) -> None:
    (line,) = wrong(f"a: 1\n{marker}\nb: 2\n")
    assert line.startswith("f.yml:2:1: conflict marker of a git merge")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", "f.yml:2:"),
        ("a: 'x\n", "f.yml:2:"),
        ("a: 1\n\tb: 2\n", "f.yml:2:1"),
        ("a: *nowhere\n", "f.yml:1:4"),
        ("a: 1\n---\nb: 2\n", "f.yml:2:1"),
        ("a: b: c\n", "f.yml:1:5"),
    ],
)
def test_broken_syntax_has_a_place(text: str, place: str) -> None:
    (line,) = wrong(text)
    assert line.startswith(place) and "invalid file syntax: " in line


@pytest.mark.parametrize("text", ["- a\n- b\n", "only text\n"])
def test_the_top_must_be_a_map(text: str) -> None:
    assert "must be a map" in wrong(text)[0]


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system [ls]\n", "a: !!int 5\n", "a: !own x\n", "a: !!binary aGk=\n"])
def test_tags_are_refused(text: str) -> None:
    assert "is not allowed" in wrong(text)[0]


@pytest.mark.parametrize("text", ["? [a, b]\n: c\n", "? {a: b}\n: c\n", "~: c\n"])
def test_keys_are_text(text: str) -> None:
    assert any("a key must be text" in line for line in wrong(text))


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    report = Report()
    tree = parse(data, "f.yml", report)
    assert (tree is None) == bool(report.errors)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?~<= \n\t\u00e9", max_size=60))
def test_no_text_raises(text: str) -> None:
    report = Report()
    tree = parse(text.encode(), "f.yml", report)
    assert (tree is None) == bool(report.errors)
    for problem in report.errors:
        assert "\n" not in str(problem)


values = st.recursive(
    st.none() | st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF, exclude_characters="\x7f\x85\xa0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=4), values, max_size=4))
def test_what_another_writer_wrote_comes_back(tree: dict[str, object]) -> None:
    def dump(value: object) -> object:
        return value

    text = yaml.safe_dump(dump(tree), allow_unicode=True).replace(": null\n", ": ~\n").replace("- null\n", "- ~\n")
    if "null" in text:
        return  # the writer's own word for nothing inside of flow style
    assert read(text) == tree


def test_null_word_is_text() -> None:
    report = Report()
    tree = parse(b"a: null\n", "f.yml", report)
    assert isinstance(tree, Map) and isinstance(tree.items["a"], Scalar) and tree.items["a"].value == "null"
