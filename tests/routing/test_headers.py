"""The whitelist between the legs (call processing 1.5, 3.22)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.routing.headers import DEFAULT_BOTH, DEFAULT_FILTER, NEVER, HeaderFilter, forbidden, without_refer
from ngcpd.sip.message import Request, Response


def request(*fields: tuple[str, str]) -> Request:
    return Request.make("INVITE", "sip:a@b.test", fields)


def test_default_list() -> None:
    fields = [(name, "x") for name in (*DEFAULT_BOTH, "X-Test", "Subject", "Server", "Content-Type", "MIME-Version")]
    names = [n for n, _ in DEFAULT_FILTER.passed(request(*fields))]
    assert names == ["Diversion", "Allow", "Supported", "Require", "History-Info", "Call-Info"]
    assert DEFAULT_FILTER.passed(Response.make(180, "Ringing", fields)) == DEFAULT_FILTER.passed(request(*fields))


def test_operators_list_by_direction_and_pattern() -> None:
    f = HeaderFilter(request=["X-Req"], response=["x-resp"], both=["X-Acme-*"])
    fields = [("X-Req", "1"), ("X-Resp", "2"), ("X-Acme-Foo", "3"), ("X-Acme", "4"), ("Diversion", "5")]
    assert f.passed(request(*fields)) == [("X-Req", "1"), ("X-Acme-Foo", "3")]
    assert f.passed(Response.make(200, "OK", fields)) == [("X-Resp", "2"), ("X-Acme-Foo", "3")]


@pytest.mark.parametrize("name", [n.replace("*", "Foo") for n in NEVER])
def test_never_list_wins(name: str) -> None:
    f = HeaderFilter(both=[name, name.upper(), "*"])
    assert f.passed(request((name, "1"), (name.lower(), "2"))) == []
    assert forbidden([name]) == [name] and forbidden(["*"]) == ["*"]


@pytest.mark.parametrize(
    ("name", "bad"), [("P-NGCP-*", True), ("P-*", True), ("P-Ac*", True), ("X-*", False), ("Diversion", False), ("P-Asserted-Identity", False)]
)
def test_forbidden_entries(name: str, bad: bool) -> None:
    assert forbidden([name]) == ([name] if bad else [])


def test_allow() -> None:
    assert without_refer("INVITE, refer ,BYE,") == "INVITE, BYE"
    assert DEFAULT_FILTER.passed(request(("Allow", "REFER"))) == []
    assert HeaderFilter().passed(request(("Allow", "INVITE, REFER")), allow_refer=True) == [("Allow", "INVITE, REFER")]


def test_identity_headers_are_never_copied_even_when_listed_twice() -> None:
    f = HeaderFilter(both=[*DEFAULT_BOTH, "P-Asserted-*", "Privacy"])
    assert f.passed(request(("P-Asserted-Identity", "<sip:x@y>"), ("Privacy", "id"), ("User-Agent", "z"))) == []


@given(st.lists(st.text("abcXYZ-", min_size=1, max_size=8), max_size=1200))
def test_memory_for_names_is_bounded(names: list[str]) -> None:
    f = HeaderFilter(both=("a*", "Allow"))
    for name in names:
        passed = f.passed(request((name, "1"), ("Allow", "INFO")))
        assert (("Allow", "INFO") in passed) and (len(passed) == 2) is f.passes(name, True)
    assert len(f._request.seen) <= 1000 and f._request.crossing <= f._request.seen


def test_what_was_learned_is_of_one_kind_of_message_and_survives_being_forgotten() -> None:
    f = HeaderFilter(request=("X-One",), response=("X-Two",))
    ours = (("X-One", "1"), ("X-Two", "2"), ("X-One", "3"))
    for turn in range(3):
        assert f.passed(request(*ours)) == [("X-One", "1"), ("X-One", "3")]
        assert f.passed(Response.make(200, "", ours)) == [("X-Two", "2")]
        for n in range(400):
            f.passed(request((f"X-{turn}-{n}", "")))
