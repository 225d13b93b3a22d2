"""Documents of a resource out of a file: CSV with a header, or one JSON object per line. For imports.

Columns are named as the fields of the REST interface. A field that is an object is one column per part (`cc`, `ac`, `sn` for `primary_number`,
or with the field's name before it: `primary_number.cc`) or one column with JSON; a list is JSON, or words with spaces between them, numbers
written as CC-AC-SN. An empty cell is an absent field.
"""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ngcpd.provisioning.fields import Array, Field, Json, Object
from ngcpd.provisioning.resource import Doc, Resource
from ngcpd.provisioning.units import DROPPED

DELIMITERS = ",;\t"


class BadHeader(Exception):
    """The file cannot be read at all: its first line is wrong. The text says what, on one line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A document and where it begins (from 1); `body` None: it cannot be read, `wrong` says why."""

    number: int
    body: Doc | None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """Where a cell goes: a field, or a part of one."""

    field: Field
    part: str = ""


def columns(resource: Resource) -> dict[str, Column]:
    """All names that a column may have."""
    found: dict[str, Column] = {}
    parts: dict[str, list[Column]] = {}
    for f in resource.fields:
        found[f.name] = Column(f)
        if isinstance(f.type, Object):
            for inner in f.type.fields:
                column = Column(f, inner.name)
                found[f"{f.name}.{inner.name}"] = found[f"{f.name}_{inner.name}"] = column
                parts.setdefault(inner.name, []).append(column)
    for name, places in parts.items():
        if len(places) == 1:
            found.setdefault(name, places[0])
    return found


def read_json(lines: Iterable[str], resource: Resource) -> Iterator[Line]:
    """One object per line; empty lines are skipped."""
    known = {f.name for f in resource.fields} if resource.parse is None else None
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Line(number, None, f"is no JSON: {error}")
            continue
        if not isinstance(body, dict):
            yield Line(number, None, "is no JSON object")
            continue
        unknown = [name for name in body if known is not None and name not in known and name not in DROPPED and name != "_embedded"]
        if unknown:
            yield Line(number, None, "; ".join(_unknown(name, known or ()) for name in unknown))
        else:
            yield Line(number, body)


def read_csv(lines: Iterable[str], resource: Resource) -> Iterator[Line]:
    """Rows below a header; the delimiter is the one of `,`, `;` and tab that the header has most of. Raises BadHeader."""
    rest = iter(lines)
    first = next(rest, "")
    if not first.strip():
        raise BadHeader("the file is empty; the first line must name the columns")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(_chain(first, rest), delimiter=delimiter, strict=True)
    places = _header(next(reader), resource)
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Line(number, None, f"cannot be read as CSV: {error}")
            continue
        if not row:
            continue
        if len(row) != len(places):
            yield Line(number, None, f"has {len(row)} cells, the header has {len(places)}")
            continue
        try:
            yield Line(number, _document(places, row))
        except ValueError as error:
            yield Line(number, None, str(error))


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _header(names: list[str], resource: Resource) -> list[Column]:
    known = columns(resource)
    places: list[Column] = []
    seen: set[tuple[str, str]] = set()
    for n, name in enumerate(names, 1):
        column = known.get(name.strip())
        if column is None:
            raise BadHeader(f"column {n}: {_unknown(name.strip(), known)}")
        place = (column.field.name, column.part)
        if place in seen or ((column.field.name, "") in seen and column.part):
            raise BadHeader(f"column {n}: {name.strip()} is there twice")
        seen.add(place)
        places.append(column)
    if resource.parse is None:
        given = {place.field.name for place in places}
        missing = [f.name for f in resource.fields if f.required and not f.read_only and f.name not in given]
        if missing:
            raise BadHeader(f"there is no column {missing[0]}, which every row needs")
    return places


def _unknown(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"; nearest valid name: {close[0]}" if close else ""
    return f"{name[:60]!r} is no field here{hint}"


def _document(places: list[Column], row: list[str]) -> Doc:
    body: Doc = {}
    for column, cell in zip(places, row, strict=True):
        if cell == "" or column.field.read_only:
            continue
        name = column.field.name
        if column.part:
            body.setdefault(name, {})[column.part] = cell
        else:
            body[name] = _cell(column.field, cell)
    return body


def _cell(f: Field, cell: str) -> Any:
    kind = f.type
    if not isinstance(kind, Array | Object | Json):
        return cell
    text = cell.strip()
    if text[:1] in ("[", "{") or isinstance(kind, Json):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{f.name}: is no JSON: {error}") from None
    if isinstance(kind, Object):
        return _number(f, kind, text)
    of = kind.of
    return [_number(f, of, word) if isinstance(of, Object) else word for word in text.split()]


def _number(f: Field, kind: Object, word: str) -> Doc:
    """CC-AC-SN, for objects of these three parts."""
    names = tuple(inner.name for inner in kind.fields)
    parts = word.lstrip("+").split("-")
    if names != ("cc", "ac", "sn") or len(parts) != 3:
        raise ValueError(f"{f.name}: write it as JSON" + (" or as CC-AC-SN" if names == ("cc", "ac", "sn") else ""))
    return dict(zip(names, parts, strict=True))
