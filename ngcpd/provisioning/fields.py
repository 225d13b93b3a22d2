"""Types of fields of a resource: what a client may send, how it is kept, how it is shown, how it is described.

Each type has `parse(value, zone)`, which gives the value as it is stored or raises `Bad` with one sentence, `show(value, zone)`, the reverse,
and `schema()`, its JSON Schema. Clients may send whole numbers and booleans as JSON strings (REST API 1.11).
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from ngcpd.provisioning import check
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.store.intervals import to_local, to_utc

INT_MAX = 2**31 - 1
_TRUE, _FALSE = ("1", "true"), ("0", "false")
_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")


class Bad(Exception):
    """A value of the wrong form; the text is one sentence for the client."""


class Type:
    """The base of all types."""

    kind = "any"

    def parse(self, value: Any, zone: datetime.tzinfo) -> Any:
        raise NotImplementedError

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Int(Type):
    """A whole number."""

    low: int = -INT_MAX - 1
    high: int = INT_MAX
    kind = "integer"

    def parse(self, value: Any, zone: datetime.tzinfo) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,20}", value.strip()):
            value = int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Bad("Value must be an integer")
        if not self.low <= value <= self.high:
            raise Bad(f"Value must be between {self.low} and {self.high}")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Bool(Type):
    """True or false; 0, 1 and their texts are accepted."""

    kind = "boolean"

    def parse(self, value: Any, zone: datetime.tzinfo) -> bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower() if isinstance(value, int | str) else ""
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise Bad("Value must be true or false")

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return None if value is None else bool(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text(Type):
    """Text of bounded length. `lines`: line breaks and tabs are allowed. `check(name, value)` may change it or raise ProvisioningError."""

    longest: int = 255
    shortest: int = 0
    lines: bool = False
    pattern: str = ""
    wrong: str = "Value has the wrong form"
    format: str = ""
    check: Callable[[str, str], str | None] | None = None
    kind = "string"

    def parse(self, value: Any, zone: datetime.tzinfo) -> str | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise Bad("Value must be text")
        text = value if isinstance(value, str) else str(value)
        if not (text if not self.lines else text.replace("\n", "").replace("\r", "").replace("\t", "")).isprintable():
            raise Bad("Value must not contain control characters")
        if len(text) > self.longest:
            raise Bad(f"Field should not exceed {self.longest} characters. You entered {len(text)}")
        if len(text) < self.shortest:
            raise Bad(f"Field must be at least {self.shortest} characters. You entered {len(text)}")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise Bad(self.wrong)
        if self.check is not None:
            try:
                return self.check("value", text)
            except ProvisioningError as error:
                raise Bad(f"Value {error.message}") from None
        return text

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "string", "maxLength": self.longest}
        if self.shortest:
            found["minLength"] = self.shortest
        if self.pattern:
            found["pattern"] = f"^(?:{self.pattern})$"
        if self.format:
            found["format"] = self.format
        return found


def Email(longest: int = 255) -> Text:
    """One mail address."""
    return Text(longest, pattern=r"[^@\s,<>\"]+@[^@\s,<>\"]+", wrong="Value is not a valid email address")


def mail_list(name: str, value: str) -> str:
    """Mail addresses, separated by commas."""
    parts = [part.strip() for part in value.split(",")]
    return ",".join(str(Email().parse(part, None)) for part in parts)  # type: ignore[arg-type]


def Regex(longest: int) -> Text:
    """A regular expression."""
    return Text(longest, format="regex", check=lambda name, value: check.pattern(name, value, longest))


def Address() -> Text:
    """An IPv4 or IPv6 address, kept in its canonical form."""
    return Text(64, check=check.address)


@dataclass(frozen=True)
class Enum(Type):
    """One of some texts."""

    values: tuple[str, ...]
    kind = "string"

    def parse(self, value: Any, zone: datetime.tzinfo) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int) or str(value) not in self.values:
            raise Bad(f"'{shorten(value)}' is not a valid value")
        return str(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}


@dataclass(frozen=True)
class Choice(Type):
    """One of some whole numbers."""

    values: tuple[int, ...]
    kind = "integer"

    def parse(self, value: Any, zone: datetime.tzinfo) -> int:
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or value not in self.values:
            raise Bad(f"'{shorten(value)}' is not a valid value")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "enum": list(self.values)}


@dataclass(frozen=True)
class Number(Type):
    """A decimal number; `places` after the point. `unit` multiplies what is kept (100: units shown, cents kept)."""

    places: int = 6
    low: Decimal = Decimal(-99_999_999)
    high: Decimal = Decimal(99_999_999)
    unit: int = 1
    kind = "number"

    def parse(self, value: Any, zone: datetime.tzinfo) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or len(str(value)) > 40:
            raise Bad("Value must be a number")
        try:
            number = Decimal(str(value).strip())
        except InvalidOperation:
            raise Bad("Value must be a number") from None
        if not number.is_finite():
            raise Bad("Value must be a number")
        if not self.low <= number <= self.high:
            raise Bad(f"Value must be between {self.low} and {self.high}")
        return number * self.unit

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        if value is None:
            return None
        number = Decimal(str(value)) / self.unit
        return int(number) if number == number.to_integral_value() else float(number)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": float(self.low), "maximum": float(self.high)}


@dataclass(frozen=True)
class Moment(Type):
    """A date and time: shown in the server's zone, kept in UTC. A date alone is its first second, or with `end` its last one."""

    end: bool = False
    last_year: int = 9999
    kind = "datetime"

    def parse(self, value: Any, zone: datetime.tzinfo) -> datetime.datetime:
        found = _STAMP.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise Bad("Value must be a date and time (YYYY-MM-DD HH:MM:SS)")
        year, month, day, hour, minute, second, offset = found.groups()
        clock = (23, 59, 59) if hour is None and self.end else (int(hour or 0), int(minute or 0), int(second or 0))
        try:
            local = datetime.datetime(int(year), int(month), int(day), *clock)
            if offset:
                moment = datetime.datetime.fromisoformat(f"{local.isoformat()}{offset.replace('Z', '+00:00')}")
                result = moment.astimezone(datetime.UTC).replace(tzinfo=None)
            else:
                result = to_utc(local, zone)
        except (ValueError, OverflowError):
            raise Bad("Value must be a date and time (YYYY-MM-DD HH:MM:SS)") from None
        if not 1000 <= result.year <= self.last_year:
            raise Bad(f"Year must be between 1000 and {self.last_year}")
        return result

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return None if value is None else to_local(value, zone).strftime("%Y-%m-%d %H:%M:%S")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "description": "YYYY-MM-DD HH:MM:SS in the server's time zone", "maxLength": 32}


@dataclass(frozen=True)
class Day(Type):
    """A date without time."""

    kind = "date"

    def parse(self, value: Any, zone: datetime.tzinfo) -> datetime.date:
        try:
            if not isinstance(value, str):
                raise ValueError
            return datetime.datetime.strptime(value.strip()[:10], "%Y-%m-%d").date()
        except ValueError:
            raise Bad("Value must be a date (YYYY-MM-DD)") from None

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return None if value is None else value.strftime("%Y-%m-%d")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True)
class TimeOfDay(Type):
    """HH:MM or HH:MM:SS, kept with seconds."""

    kind = "time"

    def parse(self, value: Any, zone: datetime.tzinfo) -> str:
        found = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?", value.strip()) if isinstance(value, str) else None
        if found is None or int(found[1]) > 23 or int(found[2]) > 59 or int(found[3] or 0) > 59:
            raise Bad("Value must be a time of day (HH:MM or HH:MM:SS)")
        return f"{int(found[1]):02d}:{found[2]}:{found[3] or '00'}"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "description": "HH:MM:SS", "maxLength": 8}


@dataclass(frozen=True)
class Ref(Type):
    """The id of an object of another resource, which must exist and be visible to the caller."""

    resource: str
    kind = "integer"

    def parse(self, value: Any, zone: datetime.tzinfo) -> int:
        return Int(1).parse(value, zone)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": 1, "maximum": INT_MAX}


@dataclass(frozen=True)
class Object(Type):
    """An object with fields of its own."""

    fields: tuple[Field, ...]
    kind = "object"

    def parse(self, value: Any, zone: datetime.tzinfo) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Bad("Value must be an object")
        errors: list[tuple[str, Any, str]] = []
        parsed = parse_fields(self.fields, value, zone, errors)
        if errors:
            raise Nested(errors)
        return parsed

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return None if value is None else {f.name: f.type.show(value.get(f.name), zone) for f in self.fields}

    def schema(self) -> dict[str, Any]:
        return object_schema(self.fields)


@dataclass(frozen=True)
class Array(Type):
    """A list of values of one type."""

    of: Type
    most: int = 10_000
    least: int = 0
    kind = "array"

    def parse(self, value: Any, zone: datetime.tzinfo) -> list[Any]:
        if not isinstance(value, list):
            raise Bad("Value must be an array")
        if len(value) > self.most:
            raise Bad(f"No more than {self.most} entries are possible")
        if len(value) < self.least:
            raise Bad("At least one entry is required" if self.least == 1 else f"At least {self.least} entries are required")
        return [self.of.parse(entry, zone) for entry in value]

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return [self.of.show(entry, zone) for entry in value or ()]

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "array", "items": self.of.schema()}
        if self.least:
            found["minItems"] = self.least
        return found


@dataclass(frozen=True)
class Json(Type):
    """Any JSON value; the resource checks it itself. `description` goes into the OpenAPI document."""

    described: dict[str, Any] = field(default_factory=dict)
    kind = "object"

    def parse(self, value: Any, zone: datetime.tzinfo) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        return dict(self.described)


class Nested(Bad):
    """Faults inside an object: (name, input, text) each."""

    def __init__(self, errors: list[tuple[str, Any, str]]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, _, text in errors))
        self.errors = errors


@dataclass(frozen=True)
class Field:
    """One field of a resource.

    `required`: must be given; `default`: what an absent one becomes; `nullable`: null is a value (an empty text is null, too);
    `read_only`: shown, a given value is dropped; `write_only`: taken, never shown; `fixed`: taken at creation only, a different value later
    is refused; `silent`: with `fixed`, a different value later is dropped; `keep`: absent in an update means unchanged;
    `see`/`set`: name of the administrator's flag (or `admin`, the role) that showing or writing it needs; `secret`: never in journal or log;
    `column`: name of the main table's column, None = the resource fills it; `own`: a reseller's own id is put here.
    """

    name: str
    type: Type
    required: bool = False
    default: Any = None
    nullable: bool = False
    read_only: bool = False
    write_only: bool = False
    fixed: bool = False
    silent: bool = False
    keep: bool = False
    see: str = ""
    set: str = ""
    secret: bool = False
    own: bool = False
    column: str | None = ""
    help: str = ""

    @property
    def key(self) -> str | None:
        """The column, the name itself when none is given."""
        return self.name if self.column == "" else self.column


def shown(name: str, kind: Type, help: str) -> Field:
    """A field that is only shown, and may be null."""
    return Field(name, kind, read_only=True, nullable=True, help=help)


def parse_fields(
    fields: Iterable[Field], given: dict[str, Any], zone: datetime.tzinfo, errors: list[tuple[str, Any, str]], *, update: bool = False
) -> dict[str, Any]:
    """Values of all fields that can be written, by name; faults are added to `errors`. Unknown names are dropped."""
    result: dict[str, Any] = {}
    for f in fields:
        if f.read_only:
            continue
        value = given.get(f.name)
        if value == "" and (f.nullable or not isinstance(f.type, Text) or f.required):
            value = None
        if value is None:
            if f.name not in given and update and f.keep:
                continue
            if f.required and not (update and f.keep):
                errors.append((f.name, None, f"{f.name} field is required"))
            else:
                result[f.name] = None if f.nullable and f.name in given else f.default
            continue
        try:
            result[f.name] = f.type.parse(value, zone)
        except Nested as error:
            errors.extend((f"{f.name}_{name}", entry, text) for name, entry, text in error.errors)
        except Bad as error:
            errors.append((f.name, value, str(error)))
    return result


def object_schema(fields: Iterable[Field], *, writing: bool = True) -> dict[str, Any]:
    """JSON Schema of an object with these fields: as a client sends it, or as it is shown."""
    listed = [f for f in fields if not (f.read_only if writing else f.write_only)]
    properties: dict[str, Any] = {}
    for f in listed:
        schema = dict(f.type.schema())
        if f.help:
            schema["description"] = f.help
        nullable = f.nullable or (not writing and f.default is None and not f.required) or (writing and not f.required)
        if nullable and "type" in schema:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        if writing and f.default is not None and isinstance(f.default, bool | int | str):
            schema["default"] = f.default
        properties[f.name] = schema
    found: dict[str, Any] = {"type": "object", "properties": properties}
    required = [f.name for f in listed if f.required]
    if writing and required:
        found["required"] = required
    return found


def shorten(value: Any) -> str:
    """A client's value for an error text: short, on one line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= 60 else text[:57] + "..."


def network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network given as address or address/prefix. Bad when it is none."""
    try:
        return ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise Bad("Value must be an IPv4 or IPv6 address or network") from None
