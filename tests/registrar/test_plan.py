"""Properties of contact handling: what is read back, what stays, what one REGISTER may change."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.registrar.contacts import Wish, contact_value, wishes
from ngcpd.registrar.model import Binding
from ngcpd.registrar.plan import Origin, TooManyContacts, carry_out, limit, remove_all
from ngcpd.registrar.settings import RegistrarSettings
from ngcpd.runtime.fake import SeededRng
from ngcpd.sip.errors import ParseError
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri

NOW = 1_700_000_000.0
URIS = [f"sip:u@10.1.1.{i}:5060" for i in range(4)]
INSTANCES = ["", "<urn:uuid:1>", "<urn:uuid:2>"]

bindings_ = st.builds(
    lambda n, uri, call, cseq, instance, reg, permanent, received: Binding(
        ruid=f"r{n}",
        subscriber_id=1,
        contact=uri,
        expires_at=NOW + 100 + n,
        received=("10.9.9.9", received) if received else None,
        call_id=call,
        cseq=cseq,
        instance=instance,
        reg_id=reg if instance else 0,
        permanent=permanent,
    ),
    st.integers(0, 10**6),
    st.sampled_from(URIS),
    st.sampled_from(["a", "b"]),
    st.integers(1, 6),
    st.sampled_from(INSTANCES),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([0, 1000]),
)
current_ = st.lists(bindings_, max_size=6, unique_by=lambda b: b.ruid)
wish_ = st.builds(
    lambda uri, expires, instance, reg: Wish(uri, Uri.parse(uri), expires, -1.0, instance, reg if instance else 0),
    st.sampled_from(URIS),
    st.sampled_from([0, 60, 3600]),
    st.sampled_from(INSTANCES),
    st.integers(0, 2),
)
origin_ = st.builds(Origin, st.sampled_from(["a", "b", "new"]), st.integers(1, 7), st.just(()), st.sampled_from(["", "10.9.9.9", "10.8.8.8"]))


class Maker:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.n = 0

    def __call__(self, wish: Wish, ruid: str) -> Binding:
        self.n += 1
        received = (self.origin.received_ip, 1) if self.origin.received_ip else None
        return Binding(
            ruid=ruid or f"new{self.n}",
            subscriber_id=1,
            contact=wish.contact,
            expires_at=NOW + wish.expires,
            received=received,
            call_id=self.origin.call_id,
            cseq=self.origin.cseq,
            instance=wish.instance,
            reg_id=wish.reg_id,
        )


@given(current_, st.lists(wish_, max_size=4), origin_)
@settings(max_examples=400)
def test_carry_out(current: list[Binding], wished: list[Wish], origin: Origin) -> None:
    before = list(current)
    try:
        after = carry_out(current, wished, origin, Maker(origin))
    except ParseError as error:
        assert error.code == 400
        assert any(b.call_id == origin.call_id and b.cseq > origin.cseq for b in current), "only for something newer of the same Call-ID"
        assert current == before
        return
    assert current == before, "the input is not touched"
    assert len({b.ruid for b in after}) == len(after)
    assert [b for b in current if b.permanent] == [b for b in after if b.permanent]
    for binding in after:
        if binding not in current:
            assert any(w.expires and w.contact == binding.contact for w in wished)
    for binding in current:
        if binding not in after:
            assert any(w.contact == binding.contact or (w.instance and w.instance == binding.instance) for w in wished)
    if len({w.contact for w in wished}) == len(wished):
        assert carry_out(after, wished, origin, Maker(origin)) == after, "the same again changes nothing"


@given(current_, origin_)
def test_remove_all(current: list[Binding], origin: Origin) -> None:
    newer = any(b.call_id == origin.call_id and b.cseq >= origin.cseq and not b.permanent for b in current)
    if newer:
        with pytest.raises(ParseError):
            remove_all(current, origin)
    else:
        assert remove_all(current, origin) == [b for b in current if b.permanent]


@given(current_, current_, st.integers(0, 4), st.booleans())
def test_limit(current: list[Binding], new: list[Binding], most: int, drop: bool) -> None:
    kept = [b for b in current if b.ruid not in {n.ruid for n in new}]
    after = kept + new
    count = sum(not b.permanent for b in after)
    try:
        got = limit(current, after, most, drop)
    except TooManyContacts:
        assert most and count > most
        return
    assert [b for b in got if b.permanent] == [b for b in after if b.permanent]
    assert set(new) <= set(got), "what was just registered is not dropped"
    left = sum(not b.permanent for b in got)
    assert most == 0 or left <= most or left <= sum(not b.permanent for b in current)


text_ = st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=20)


@given(st.sampled_from(URIS), text_, st.integers(0, 5), st.sampled_from([-1.0, 0.0, 0.5, 0.125, 1.0]), st.booleans())
def test_contact_value_reads_back(uri: str, instance: str, reg_id: int, q: float, nat: bool) -> None:
    instance = instance if instance.isprintable() else ""
    received = ("fd00::1", 5061)
    shown = {"instance": instance, "reg_id": reg_id, "q": q, "nat": nat, "transport": "tcp"}
    binding = Binding(ruid="r", subscriber_id=1, contact=uri, expires_at=NOW + 77.9, received=received, **shown)  # type: ignore[arg-type]
    read = NameAddr.parse(contact_value(binding, NOW))
    assert str(read.uri) == uri and read.params["expires"] == "77"
    assert (read.params.get("+sip.instance") or "") == instance
    assert int(read.params.get("reg-id") or 0) == reg_id
    assert (read.q if read.q is not None else -1.0) == q
    assert read.params.get("received") == ("sip:[fd00::1]:5061;transport=tcp" if nat else None)


def read(contact: str, expires: str | None = None) -> list[Wish] | None:
    fields = [("Contact", contact), *([("Expires", expires)] if expires is not None else [])]
    return wishes(Request.make("REGISTER", "sip:spce.test", fields), RegistrarSettings(), SeededRng(1))


@given(st.text(max_size=60), st.one_of(st.none(), st.text(max_size=12)))
@settings(max_examples=400)
def test_any_contact_is_read_or_refused(contact: str, expires: str | None) -> None:
    try:
        got = read(contact, expires)
    except ParseError as error:
        assert error.code in (400, 416)
        return
    for wish in got or ():
        assert wish.expires == 0 or 60 <= wish.expires <= 43200
        assert wish.q == -1.0 or 0 <= wish.q <= 1
        assert wish.uri.scheme in ("sip", "sips")


@given(st.text(max_size=12))
def test_any_parameter_is_read_or_refused(value: str) -> None:
    for name in ("expires", "q", "reg-id", "+sip.instance"):
        for text in (f"<sip:a@b>;{name}={value}", f'<sip:a@b>;{name}="{value}"'):
            try:
                got = read(text, "600")
            except ParseError as error:
                assert error.code == 400
            else:
                assert got is not None and 0 <= got[0].expires <= 43200 and 0 <= got[0].reg_id < 2**31


def test_malformed_expiry_counts_as_none() -> None:
    got = read("<sip:a@b>;expires=soon", "600")
    assert got is not None and got[0].expires == 600
