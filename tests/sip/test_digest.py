"""Digest authentication, both sides."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.runtime.fake import SimClock
from ngcpd.sip.digest import (
    BAD,
    FRESH,
    STALE,
    Challenge,
    Credentials,
    NonceCounter,
    NonceMaker,
    answer,
    challenges,
    ha1,
    response,
    strongest,
    verify,
)
from ngcpd.sip.errors import ParseError


# ---------------------------------------------------------------------------------------------------------------- nonces
def test_nonce_life() -> None:
    clock = SimClock()
    maker = NonceMaker(b"key", clock, 300)
    nonce = maker.make("a.example")
    assert maker.check(nonce, "a.example") is FRESH
    assert NonceMaker(b"key", clock, 300).check(nonce, "a.example") is FRESH  # no memory: another process, or this one restarted
    clock.advance(300)
    assert maker.check(nonce, "a.example") is FRESH
    clock.advance(0.01)
    assert maker.check(nonce, "a.example") is STALE
    clock.advance(1e6)
    assert maker.check(nonce, "a.example") is STALE
    clock.epoch -= 2e6  # the wall clock was set back
    assert maker.check(nonce, "a.example") is STALE


def test_nonces_that_are_not_ours() -> None:
    clock = SimClock()
    maker = NonceMaker(b"key", clock)
    nonce = maker.make("a.example")
    assert maker.check(nonce, "b.example") is BAD
    assert NonceMaker(b"other", clock).check(nonce, "a.example") is BAD
    for wrong in ("", "x", nonce[:-1], nonce + "0", nonce.upper(), "é" * 48, "0" * 48, nonce[:20] + ("0" if nonce[20] != "0" else "1") + nonce[21:]):
        assert maker.check(wrong, "a.example") is BAD
    # moving the time forward without the key
    assert maker.check("f" * 12 + nonce[12:], "a.example") is BAD


def test_nonces_differ_and_sort_by_time() -> None:
    clock = SimClock()
    maker = NonceMaker(b"key", clock)
    made = []
    for _ in range(200):
        made.append(maker.make("r"))
        clock.advance(0.0005)
    assert len(set(made)) == 200 and made == sorted(made)


@given(st.text(max_size=20), st.binary(min_size=1, max_size=8))
def test_any_realm(realm: str, key: bytes) -> None:
    maker = NonceMaker(key, SimClock())
    assert maker.check(maker.make(realm), realm) is FRESH


# ---------------------------------------------------------------------------------------------------------------- counts
def test_counts_are_used_once() -> None:
    counter = NonceCounter()
    assert counter.use("n1", 1) and not counter.use("n1", 1)
    assert counter.use("n1", 5) and counter.use("n1", 3) and counter.use("n1", 2)
    assert not any(counter.use("n1", n) for n in (1, 2, 3, 5))
    assert counter.use("n1", 100) and not counter.use("n1", 36) and counter.use("n1", 37)
    assert counter.use("n1", 0xFFFFFFFF) and not counter.use("n1", 100)
    assert counter.use("n2", 1)


def test_counts_are_bounded_and_forgetting_opens_nothing() -> None:
    counter = NonceCounter(limit=128)
    nonces = [f"{i:06d}" for i in range(1_000)]
    for nonce in nonces:
        assert counter.use(nonce, 1)
        assert len(counter) <= 128
    assert not any(counter.use(nonce, n) for nonce in nonces for n in (1,))
    assert not counter.use(nonces[0], 7)


@given(st.lists(st.integers(1, 200), max_size=60))
def test_counts_against_a_set(counts: list[int]) -> None:
    counter, used = NonceCounter(), set()
    for n in counts:
        if counter.use("n", n):
            assert n not in used
            used.add(n)
        else:
            assert n in used or n <= max(used) - 64


# ---------------------------------------------------------------------------------------------------------------- challenge
def test_challenge_forms() -> None:
    assert challenges("a.example", "abc") == ['Digest realm="a.example", nonce="abc"']
    assert challenges("a.example", "abc", stale=True) == ['Digest realm="a.example", nonce="abc", stale=true']
    assert challenges("a.example", "abc", qop=True, sha256=True) == [
        'Digest realm="a.example", nonce="abc", algorithm=SHA-256, qop="auth"',
        'Digest realm="a.example", nonce="abc", qop="auth"',
    ]


@given(
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n")),
    st.sampled_from(["MD5", "SHA-256"]),
    st.booleans(),
    st.none() | st.just('o"p'),
)
def test_challenge_round_trip(realm: str, algorithm: str, stale: bool, opaque: str | None) -> None:
    made = Challenge(realm, "n", algorithm, ("auth",), stale, opaque)
    read = Challenge.parse(str(made))
    assert read is not None
    assert (read.realm, read.nonce, read.algorithm, read.qop, read.stale, read.opaque) == (realm, "n", algorithm, ("auth",), stale, opaque)


def test_strongest() -> None:
    md5, sha = 'Digest realm="r", nonce="m"', 'Digest realm="r", nonce="s", algorithm=sha-256, qop="auth-int, auth"'
    unknown = 'Digest realm="r", nonce="u", algorithm=SHA-512-256'
    best = strongest([md5, "Basic realm=x", unknown, sha, "Digest broken", md5])
    assert best is not None and best.nonce == "s"
    assert strongest([unknown, 'Digest realm="r", nonce="n", qop="auth-int"', ""]) is None
    plain = strongest([md5])
    assert plain is not None and plain.nonce == "m"


# ---------------------------------------------------------------------------------------------------------------- credentials
def test_rfc_2617_example() -> None:
    secret = ha1("Mufasa", "testrealm@host.com", "Circle Of Life")
    assert secret == "939e7578ed9e3c518a452acee763bce9"
    digest = response(secret, "dcd98b7102dd2f0e8b11d0f600bfb0c093", "GET", "/dir/index.html", qop="auth", nc="00000001", cnonce="0a4f113b")
    assert digest == "6629fae49393a05397450978507c4ef1"


def test_rfc_7616_example() -> None:
    value = (
        'Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=SHA-256, '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, '
        'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    credentials = Credentials.parse(value)
    assert credentials is not None and credentials.nc == 1
    assert verify(credentials, "GET", ha1("Mufasa", "http-auth@example.org", "Circle of Life", "SHA-256"))
    assert not verify(credentials, "PUT", ha1("Mufasa", "http-auth@example.org", "Circle of Life", "SHA-256"))
    assert not verify(credentials, "GET", ha1("Mufasa", "http-auth@example.org", "Circle of Life"))


def test_rfc_2069_style() -> None:
    secret = ha1("bob", "a.example", "zanzibar")
    digest = hashlib.md5(f"{secret}:84a4:{hashlib.md5(b'REGISTER:sip:10.0.0.1:5060').hexdigest()}".encode()).hexdigest()
    text = f'Digest username="bob",realm="a.example",nonce="84a4",uri="sip:10.0.0.1:5060",response="{digest.upper()}",algorithm=MD5'
    credentials = Credentials.parse(text)
    assert credentials is not None and (credentials.qop, credentials.nc, credentials.algorithm) == ("", 0, "MD5")
    assert verify(credentials, "REGISTER", secret) and not verify(credentials, "INVITE", secret)
    assert not verify(credentials, "REGISTER", ha1("bob", "a.example", "wrong"))


def test_quoting_habits_of_senders() -> None:
    base = {
        "username": '"b\\"ob"',
        "realm": '"r"',
        "nonce": '"n"',
        "uri": '"sip:a,b"',
        "response": '"0a"',
        "qop": '"auth"',
        "nc": '"0000000f"',
        "cnonce": "c",
    }
    base["algorithm"] = '"md5"'
    read = Credentials.parse("DIGEST " + ", ".join(f"{k.upper()} = {v}" for k, v in base.items()))
    assert read is not None
    assert (read.username, read.uri, read.qop, read.nc, read.algorithm) == ('b"ob', "sip:a,b", "auth", 15, "MD5")
    assert "0a" not in repr(read)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Digest",
        "Digest ",
        "Digest x",
        'Digest username="a"',
        'Digest username="", realm="b", nonce="c", uri="d", response="ee"',
        'Digest username="a", username="x", realm="b", nonce="c", uri="d", response="ee"',
        'Digest username="a", realm="b", nonce="c", uri="d", response="xyz"',
        'Digest username="a", realm="b", nonce="c", uri="d", response=""',
        'Digest username="a", realm="b", nonce="c", uri="d", response="ee", qop=auth',
        'Digest username="a", realm="b", nonce="c", uri="d", response="ee", qop=auth, nc=1, cnonce="x"',
        'Digest username="a", realm="b", nonce="c", uri="d", response="ee", qop=auth, nc=0000000g, cnonce="x"',
        'Digest username="a", realm="b", nonce="c", uri="d", response="ee", qop=auth, nc=00000001, cnonce=""',
        'Digest username="a, realm="b", nonce="c", uri="d", response="ee"',
        'Digest username="a"x, realm="b", nonce="c", uri="d", response="ee"',
        'Digest username=a"b, realm="b", nonce="c", uri="d", response="ee"',
        'Digest username="a", realm="b", nonce="c", uri="d", response="ee",',
        "Digest " + ",".join(f"a{i}=1" for i in range(40)),
        '"Digest" a=b',
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        Credentials.parse(text)
    assert (caught.value.code, caught.value.reason) == (400, "Bad Auth Header")


def test_other_schemes_are_none_of_ours() -> None:
    assert Credentials.parse("NoOneKnowsThisScheme opaque-data=here") is None
    assert Challenge.parse("Bearer x") is None


def test_what_is_not_understood_never_matches() -> None:
    secret = ha1("a", "b", "p")
    good = Credentials("a", "b", "c", "d", response(secret, "c", "X", "d"))
    assert verify(good, "X", secret)
    for algorithm, qop in (("MD5-SESS", ""), ("SHA-512", ""), ("TOKEN", ""), ("MD5", "auth-int"), ("SHA-256", "")):
        other = Credentials("a", "b", "c", "d", good.response, algorithm=algorithm, qop=qop, nc_text="00000001", cnonce="x")
        assert not verify(other, "X", secret)
    assert not verify(good, "X", "") and not verify(Credentials("a", "b", "c", "d", "é"), "X", secret)


# ---------------------------------------------------------------------------------------------------------------- both sides
@given(
    st.text(min_size=1, max_size=12).filter(lambda t: not set(t) & {"\r", "\n"}),
    st.text(max_size=12),
    st.sampled_from(["a.example", 'q"r\\', "Дом"]),
    st.sampled_from(["MD5", "SHA-256"]),
    st.booleans(),
    st.integers(1, 0xFFFFFFFF),
)
def test_answer_is_verified(user: str, password: str, realm: str, algorithm: str, qop: bool, nc: int) -> None:
    wire_realm = realm.encode().decode("latin-1")
    challenge = Challenge.parse(str(Challenge(wire_realm, "n0", algorithm, ("auth",) if qop else (), opaque="x")))
    assert challenge is not None
    try:
        user.encode()
        password.encode()
    except UnicodeEncodeError:
        return
    value = answer(challenge, user, password, "INVITE", "sip:b@a.example", nc, "c1")
    credentials = Credentials.parse(value)
    assert credentials is not None and credentials.username.encode("latin-1").decode() == user and credentials.opaque == "x"
    assert credentials.nc == (nc if qop else 0) and str(credentials) == value
    assert verify(credentials, "INVITE", ha1(user, realm, password, algorithm))
    assert not verify(credentials, "INVITE", ha1(user, realm, password + "x", algorithm))


def test_answer_needs_a_cnonce() -> None:
    with pytest.raises(ValueError, match="cnonce"):
        answer(Challenge("r", "n", qop=("auth",)), "a", "b", "X", "sip:a")
    with pytest.raises(ValueError, match="not supported"):
        answer(Challenge("r", "n", "SHA-512"), "a", "b", "X", "sip:a")
