"""Call forward destinations: words and numbers become SIP URIs (REST API 2.1)."""

from __future__ import annotations

import re

from ngcpd.provisioning.errors import Invalid

APPLICATIONS = {
    "callingcard": "callingcard@app.local",
    "callthrough": "callthrough@app.local",
    "localuser": "localuser@app.local",
    "autoattendant": "auto-attendant@app.local",
    "officehours": "office-hours@app.local",
}
LONGEST = 255
_URI = re.compile(r"sips?:[^\s<>\"]+@[^\s<>\"@]+", re.IGNORECASE)
_USER = re.compile(r"[^\s<>\"@:;/?#]+")


def destination(field: str, value: str, forward: str, number: str, domain: str) -> str:
    """The stored URI. `forward`: cfu, cfb, cfna or cft, or empty for a set that is not bound to one; `number`: the subscriber's primary
    number, else its uuid. Invalid for what is neither a word, a number, a user nor a SIP URI."""
    if value == "voicebox":
        return f"sip:{'vmb' if forward == 'cfb' else 'vmu'}{number}@voicebox.local"
    if value == "fax2mail":
        return f"sip:{number}@fax2mail.local"
    if value == "conference":
        return f"sip:conf={number}@conference.local"
    if value in APPLICATIONS:
        return f"sip:{APPLICATIONS[value]}"
    return sip_uri(field, value, domain)


def sip_uri(field: str, value: str, domain: str) -> str:
    """A number or user gets the domain; a URI stays. Invalid."""
    text = value.strip()
    if _URI.fullmatch(text):
        found = text
    else:
        user, at, host = text.removeprefix("sip:").partition("@")
        if not _USER.fullmatch(user) or (at and not _USER.fullmatch(host.replace(":", ""))):
            raise Invalid([(field, value, "Value is not a number, user name or SIP URI")])
        found = f"sip:{user.removeprefix('+') if user.removeprefix('+').isdigit() else user}@{host or domain}"
    if len(found) > LONGEST:
        raise Invalid([(field, value, f"Field should not exceed {LONGEST} characters. You entered {len(found)}")])
    return found


def simple(uri: str) -> str:
    """The part before @ without scheme."""
    return re.sub(r"^sips?:", "", uri, flags=re.IGNORECASE).partition("@")[0]
