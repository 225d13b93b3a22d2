"""Templates of mails and the text that is sent."""

from __future__ import annotations

from email import message_from_string, policy
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.mail.message import BadMail, address, compose, fill

VARIABLES = {"subscriber": "ada@voice.example", "url": "", "invoice": {"serial": "INV7"}, "n": 3}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Dear [% subscriber %]!", "Dear ada@voice.example!"),
        ("[%subscriber%]/[%- n -%]/[% invoice.serial %]/[% nobody %]/[% invoice.no.part %]", "ada@voice.example/3/INV7//"),
        ("a[% IF url %] link [% url %][% END %]b", "ab"),
        ("a[% IF n %]yes[% ELSE %]no[% END %]b", "ayesb"),
        ("[% IF url %]x[% IF n %]y[% END %][% ELSE %]z[% IF n %]w[% END %][% END %]", "zw"),
        ("100 % [not a tag] %]", "100 % [not a tag] %]"),
    ],
)
def test_fill(template: str, text: str) -> None:
    assert fill(template, VARIABLES) == text


@pytest.mark.parametrize(
    "template", ["[% END %]", "[% IF n %]", "[% ELSE %]", "[% PERL %]", "[% n = 4 %]", "[% USE x %]", "[% 7*7 %]", "[% IF a b %][% END %]", "[% %]"]
)
def test_what_templates_of_mails_do_not_have(template: str) -> None:
    with pytest.raises(BadMail):
        fill(template, VARIABLES)


@given(st.text(), st.dictionaries(st.text(), st.text()))
def test_fill_takes_anything(template: str, variables: dict[str, str]) -> None:
    try:
        fill(template, variables)
    except BadMail:
        pass


def test_a_value_is_not_a_template() -> None:
    assert fill("[% subscriber %]", {"subscriber": "[% IF x %]"}) == "[% IF x %]"


def test_compose() -> None:
    text = compose("Noc <noc@alps.example>", "ada@voice.example", "Grüße \u2014 7", "Zeile 1\n.\nZeile ö\n", at=1_700_000_000, message_id="id-1")
    assert text.isascii() and "\r" not in text and all(len(line) <= 998 for line in text.split("\n"))
    found = message_from_string(text, policy=policy.default)
    assert (found["From"], found["To"], found["Auto-Submitted"]) == ("Noc <noc@alps.example>", "ada@voice.example", "auto-generated")
    assert str(make_header(decode_header(found["Subject"]))) == "Grüße \u2014 7"
    assert found["Message-ID"] == "<id-1@alps.example>" and found["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert found.get_content() == "Zeile 1\n.\nZeile ö\n"


@pytest.mark.parametrize(
    ("sender", "recipient", "subject"),
    [
        ("noc@a.example\r\nBcc: x@y", "b@c.example", "s"), ("noc@a.example", "b@c.example\nX: y", "s"), ("noc@a.example", "b@c.example", "s\nX: y"),
        ("", "b@c.example", "s"), ("noc@a.example", "", "s"), ("noc@a.example", "b@c.example", " "), ("nobody", "b@c.example", "s"),
        ("noc@a.example", "\u00f6@c.example", "s"), ("noc@a.example", "a@b, c@d", "s"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be(sender: str, recipient: str, subject: str) -> None:
    with pytest.raises(BadMail):
        compose(sender, recipient, subject, "body", at=0, message_id="x")


def test_address() -> None:
    assert address('"A, B" <a@b.example>') == "a@b.example"
    for bad in ("a", "@b", "a@", "a b@c", "<>", "a@b\x7f c"):
        with pytest.raises(BadMail):
            address(bad)
