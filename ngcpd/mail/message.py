"""Messages: templates filled in, and the text that is sent (RFC 5322).

A mail template knows `[% name %]`, `[% name.part %]` and `[% IF name %] ... [% ELSE %] ... [% END %]`; it runs no code.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

_TAG = re.compile(r"\[%-?\s*(.*?)\s*-?%\]", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
_DIRECTIVES = """
BLOCK BREAK CALL CASE CATCH CLEAR DEBUG DEFAULT ELSE ELSIF END FILTER FINAL FOR FOREACH GET IF INCLUDE INSERT LAST MACRO META NEXT PERL PROCESS
RAWPERL RETURN SET STOP SWITCH TAGS THROW TRY UNLESS USE VIEW WHILE WRAPPER
"""
DIRECTIVES = frozenset(_DIRECTIVES.split())
"""Words of the template language, which are no names of variables."""
LONGEST = 4 << 20
"""Characters of a text that was filled in."""


class BadMail(ValueError):
    """A mail that cannot be made: a template that is wrong, an address that is none, a line break in a header."""


def fill(template: str, variables: Mapping[str, Any]) -> str:
    """The template with its variables put in; one that is not there is empty. BadMail for directives that mails do not have."""
    parts: list[str] = []
    shown: list[bool] = []  # one entry per open IF
    last = length = 0
    for tag in _TAG.finditer(template):
        if all(shown):
            parts.append(template[last : tag.start()])
        last = tag.end()
        words = tag[1].split()
        if len(words) == 2 and words[0] == "IF" and _NAME.fullmatch(words[1]):
            shown.append(bool(_value(variables, words[1])))
        elif words == ["ELSE"] and shown:
            shown[-1] = not shown[-1]
        elif words == ["END"] and shown:
            shown.pop()
        elif _NAME.fullmatch(tag[1]) and words[0] not in DIRECTIVES:
            if all(shown):
                value = _value(variables, tag[1])
                parts.append("" if value is None else str(value))
        else:
            raise BadMail(f"a mail template has no directive [% {tag[1][:40]} %]")
        length += len(parts[-1]) if parts else 0
        if length > LONGEST:
            raise BadMail("the mail is too long")
    if shown:
        raise BadMail("an IF of the mail template has no END")
    parts.append(template[last:])
    return "".join(parts)


def _value(variables: Mapping[str, Any], name: str) -> Any:
    found: Any = variables
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def compose(sender: str, recipient: str, subject: str, body: str, *, at: float, message_id: str) -> str:
    """The message as text with LF line ends. `message_id`: what makes it unique, without domain. BadMail."""
    for name, value in (("From", sender), ("To", recipient), ("Subject", subject)):
        if not value.strip() or any(c in value for c in "\r\n\0"):
            raise BadMail(f"the mail has no usable {name}")
    home = address(sender).rpartition("@")[2]
    message = EmailMessage(policy=policy.SMTP.clone(linesep="\n"))
    try:
        message["From"] = _mailbox(sender)
        message["To"] = _mailbox(recipient)
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.datetime.fromtimestamp(int(at), datetime.UTC))
        message["Message-ID"] = f"<{message_id}@{home}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(body, charset="utf-8", cte="quoted-printable")
        return message.as_bytes().decode("ascii")
    except (ValueError, IndexError, LookupError) as error:
        raise BadMail(f"the mail cannot be made: {error}") from None


def address(text: str) -> str:
    """The bare address of `Name <user@host>`. BadMail when there is none, or one that needs more than ASCII."""
    bare = parseaddr(text)[1]
    user, at, host = bare.rpartition("@")
    if "<" not in text and bare != text.strip():
        host = ""  # something beside the address
    if not at or not user or not host or not bare.isascii() or any(c.isspace() or c in "<>," for c in bare):
        raise BadMail(f"{text[:60]!r} is no mail address")
    return bare


def _mailbox(text: str) -> Address:
    return Address(display_name=parseaddr(text)[0], addr_spec=address(text))
