"""Merging, by the table of configuration framework 2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.config.problems import Mark
from ngcpd.config.tree import from_plain, merge, plain

LEFT, RIGHT = Mark("left", 1, 1), Mark("right", 2, 2)


def merged(left: object, right: object) -> object:
    return plain(merge(from_plain(left, LEFT), from_plain(right, RIGHT)))


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        ("a", "b", "b"),
        ("a", None, None),
        (None, "b", "b"),
        ("a", ["b", "c"], ["a", "b", "c"]),
        (None, ["b"], [None, "b"]),
        ("a", {"k": "v"}, {"k": "v"}),
        (None, {"k": "v"}, {"k": "v"}),
        (["a"], "b", "b"),
        (["a"], None, None),
        (["a", "b"], ["b", "c"], ["a", "b", "b", "c"]),
        (["a"], [], ["a"]),
        (["a"], {"k": "v"}, {"k": "v"}),
        ({"k": "v"}, "b", "b"),
        ({"k": "v"}, None, None),
        ({"k": "v", "l": "w"}, ["x"], ["v", "w", "x"]),
        ({"k": "v", "l": "w"}, {"l": "x", "m": "y"}, {"k": "v", "l": "x", "m": "y"}),
        ({"k": {"a": "1", "b": ["2"]}}, {"k": {"b": ["3"], "c": "4"}}, {"k": {"a": "1", "b": ["2", "3"], "c": "4"}}),
    ],
)
def test_the_table(left: object, right: object, result: object) -> None:
    assert merged(left, right) == result


def test_values_keep_the_file_they_came_from() -> None:
    tree = merge(from_plain({"a": "1", "b": ["x"]}, LEFT), from_plain({"b": ["y"], "c": "2"}, RIGHT))
    items = tree.items  # type: ignore[union-attr]
    assert items["a"].mark == LEFT and items["c"].mark == RIGHT  # type: ignore[call-overload]
    assert [i.mark for i in items["b"].items] == [LEFT, RIGHT]  # type: ignore[call-overload]
    assert tree.keys["c"] == RIGHT and tree.keys["a"] == LEFT  # type: ignore[union-attr]


trees = st.recursive(
    st.none() | st.text("xyz", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


@given(trees)
def test_an_empty_map_and_an_empty_list_change_nothing(tree: object) -> None:
    if isinstance(tree, dict):
        assert merged(tree, {}) == tree
    if isinstance(tree, list):
        assert merged(tree, []) == tree


@given(trees, trees)
def test_neither_side_is_changed(left: object, right: object) -> None:
    a, b = from_plain(left, LEFT), from_plain(right, RIGHT)
    merge(a, b)
    assert plain(a) == left and plain(b) == right


@given(trees, trees, trees)
def test_maps_of_scalars_and_maps_merge_in_any_grouping(a: object, b: object, c: object) -> None:
    """Associative for what has no lists and no nulls (lists absorb scalars, a null erases)."""

    def simple(value: object) -> bool:
        return isinstance(value, str) or (isinstance(value, dict) and all(simple(v) for v in value.values()))

    if simple(a) and simple(b) and simple(c):
        trees_ = [from_plain(x, LEFT) for x in (a, b, c)]
        left = merge(merge(trees_[0], trees_[1]), trees_[2])
        right = merge(trees_[0], merge(trees_[1], trees_[2]))
        if isinstance(plain(left), dict) and isinstance(a, dict) and isinstance(b, dict) and isinstance(c, dict) and not _clash(a, b, c):
            assert plain(left) == plain(right)


def _clash(*maps: object) -> bool:
    """True when the same key is text in one map and a map in another: there the grouping matters."""
    keys: dict[str, set[bool]] = {}
    below: dict[str, list[object]] = {}
    for m in maps:
        for k, v in m.items() if isinstance(m, dict) else ():
            keys.setdefault(k, set()).add(isinstance(v, dict))
            below.setdefault(k, []).append(v)
    return any(len(kinds) > 1 for kinds in keys.values()) or any(_clash(*v) for v in below.values())
