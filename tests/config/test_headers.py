"""`headers.yml`: the operator's header list (features F5)."""

from __future__ import annotations

import pytest

from ngcpd.config.headers import DEFAULT_BOTH, NEVER, HeaderLists
from tests.config.room import Room


def test_without_a_file_the_delivered_list_holds(room: Room) -> None:
    assert room.load().headers == HeaderLists() and room.load().headers.both == DEFAULT_BOTH


def test_lists(room: Room) -> None:
    room.write("headers.yml", "request: [X-Test, 'X-Acme-*']\nresponse: [x-other]\n")
    assert room.load().headers == HeaderLists(("X-Test", "X-Acme-*"), ("x-other",), DEFAULT_BOTH)
    room.write("headers.yml", "both:\n- Diversion\nrequest:\n")
    assert room.load().headers == HeaderLists(both=("Diversion",))
    room.write("headers.yml", "both: []\n")
    assert room.load().headers.both == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("both: [X-A, Via]", "headers.yml:1:13: Via never crosses between the legs of a call; take it out of the list"),
        ("both: ['P-*']", "headers.yml:1:8: P-* never crosses between the legs of a call; take it out of the list"),
        ("request: [authorization]", "headers.yml:1:11: authorization never crosses between the legs of a call; take it out of the list"),
        ("both: ['X Y']", "headers.yml:1:8: X Y is not a header name; a trailing * stands for any rest"),
        ("both: [{a: b}]", "headers.yml:1:8: None is not a header name; a trailing * stands for any rest"),
        ("both: X-A", "headers.yml:1:7: both must be a list of header names"),
        ("all: [X-A]", "headers.yml:1:1: unknown list all: there are request, response and both"),
        (f"both: [{', '.join(['X-A'] * 501)}]", "headers.yml:1:7: more than 500 names"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(room: Room, text: str, problem: str) -> None:
    room.write("headers.yml", text + "\n")
    assert room.problems() == [problem]


def test_broken_yaml(room: Room) -> None:
    room.write("headers.yml", "both: [X-A\n")
    assert len(room.problems()) == 1 and room.problems()[0].startswith("headers.yml:")
    (room.path / "headers.yml").unlink()
    (room.path / "headers.yml").mkdir()
    assert room.problems()[0].startswith("headers.yml: cannot be read")


@pytest.mark.parametrize("name", NEVER)
def test_every_name_that_never_passes_is_refused(room: Room, name: str) -> None:
    room.write("headers.yml", f"both: ['{name}']\n")
    assert len(room.problems()) == 1
