"""The declaration of a resource. Everything generic follows from it: validation, units of work, REST collection and item, links, OpenAPI
document, CSV, `ngcpctl`. What is special is a named function beside the declaration, given as one of the hooks.

A resource is rows of `table`, seen through `source` (joins), restricted by `where` and, for resellers, by `scope`. See docs/rest.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.caller import ADMIN, PEOPLE, RESELLER, Caller
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.fields import Field, Int
from ngcpd.provisioning.uploads import Download, Upload

Doc = dict[str, Any]
Values = dict[str, Any]
Row = sa.RowMapping
ALL = (ADMIN, RESELLER)
COLLECTION = ("GET", "HEAD", "OPTIONS", "POST")
READ_ONLY = ("GET", "HEAD", "OPTIONS")
ITEM = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
CHANGE = ("GET", "HEAD", "OPTIONS", "PUT", "PATCH")
FULL_PATCH = ("add", "replace", "remove", "copy")
PLAIN_PATCH = ("replace", "copy")


@dataclass(frozen=True, slots=True)
class Work:
    """One unit of work: its connection, its environment, who asks, and the resources (a hook may need another one)."""

    conn: sa.Connection
    env: Env
    caller: Caller
    resources: Mapping[str, Resource]
    location_id: int = 0
    """Of customer preferences: the location that is meant, 0 = the customer itself."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """Query parameters, for resources whose items depend on them."""
    memory: dict[Any, Any] | None = None
    """Answers of look-ups that many documents of this unit of work share; None = each is looked up anew."""

    def once(self, key: Any, look: Callable[[], Any]) -> Any:
        """What `look` finds, remembered if there is a memory."""
        if self.memory is None:
            return look()
        if key not in self.memory:
            self.memory[key] = look()
        return self.memory[key]


@dataclass(frozen=True)
class Filter:
    """A query parameter. `kind`: int, bool, string (exact), like (`*` is a wildcard, case does not matter), contains, list (comma separated),
    datetime, or custom (`where(work, text)`). `column` None = the main table's column of that name. `negate` turns a list round."""

    name: str
    kind: str = "int"
    column: sa.ColumnElement[Any] | None = None
    where: Callable[[Work, str], sa.ColumnElement[bool]] | None = None
    compare: str = "="
    negate: bool = False
    help: str = ""


@dataclass(frozen=True)
class Link:
    """A relation `ngcp:REL`: to the item whose id is in `field` (a list = several links), or to a collection filtered by our id (`filter`).
    `target` is the collection when the relation has another name."""

    rel: str
    field: str = ""
    filter: str = ""
    target: str = ""
    by: str = "id"

    @property
    def collection(self) -> str:
        return self.target or self.rel


@dataclass(frozen=True)
class Child:
    """Rows of another table that are an array field: one row per entry, columns named as the entry's fields; `parent` points to our id.
    `derive(entry)` gives further columns."""

    table: sa.Table
    parent: str
    derive: Callable[[Doc], Doc] | None = None


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource. `entity`: the singular for texts. `scope`: column with the reseller's id, or a condition made of it; None with
    reseller among the roles needs `unscoped`. `extra`: further selected columns by label. `unique`: groups of fields that no two
    objects may share, among those of `unique_where`. `notices`: change notices (kind, column or field that holds the key).
    `flags`: rights that reading (`read`) or writing (`write`) needs besides the role."""

    name: str
    entity: str
    help: str
    table: sa.Table
    fields: tuple[Field, ...]
    source: sa.FromClause | None = None
    counted: Callable[[int | None], tuple[sa.ColumnElement[bool], ...]] | None = None
    """`where` and `scope` (None: all) in another form of the same meaning, by which rows of the main table are counted quickly."""
    dense: Callable[[int], sa.ColumnElement[bool]] | None = None
    """`scope` in a form that keeps the store from searching by it."""

    where: tuple[sa.ColumnElement[bool], ...] = ()
    scope: sa.ColumnElement[Any] | Callable[[int], sa.ColumnElement[bool]] | None = None
    unscoped: bool = False
    own: Callable[[Caller], sa.ColumnElement[bool]] | None = None
    """Which rows a subscriber sees that logs in (roles of PEOPLE); without it none, whatever `scope` says. See scope.of_person."""
    extra: Mapping[str, sa.ColumnElement[Any]] = field(default_factory=dict)
    filters: tuple[Filter, ...] = ()
    links: tuple[Link, ...] = ()
    roles: tuple[str, ...] = ALL
    item_roles: tuple[str, ...] = ()
    """Who may use the items; empty = `roles`."""
    flags: Mapping[str, str] = field(default_factory=dict)
    collection: tuple[str, ...] = COLLECTION
    item: tuple[str, ...] = ITEM
    patch: tuple[str, ...] = PLAIN_PATCH
    journal: bool = False
    always_array: bool = False
    priority: str = "P1"
    unique: tuple[tuple[str, ...], ...] = ()
    unique_where: tuple[sa.ColumnElement[bool], ...] = ()
    children: Mapping[str, Child] = field(default_factory=dict)
    notices: tuple[tuple[str, str], ...] = ()
    example: Mapping[str, Any] = field(default_factory=dict)
    hidden: bool = False
    secrets: frozenset[str] = frozenset()
    """Names in documents besides the secret fields that never reach the journal."""
    location: bool = False
    """The documents depend on query parameter `location_id`."""
    parent: str = ""
    """Three levels: the collection holds the newest object of each parent, `/api/NAME/PARENT` all of one, `/api/NAME/PARENT/ID` is the item. The
    name of the table's column with the parent's id."""
    parent_entity: str = ""
    """The singular of a parent for texts."""
    narrow: Callable[[Work], list[sa.ColumnElement[bool]]] | None = None
    """Further conditions on what exists, which depend on the moment or the query."""
    freshen: Callable[[Work, list[int]], None] | None = None
    """Before objects (with `parent`: those of these parents) are read: bring them up to date. Stale when that needs a unit that writes."""
    act: Callable[[Work, Values], Doc | None] | None = None
    """A POST does this and makes no object: 200 with the document, 204 without one."""
    failed: Callable[[Work, Doc, str], None] | None = None
    """After a POST was refused and undone, in a unit of work of its own: (work, body, why)."""
    harmless: bool = False
    """A POST changes nothing."""

    upload: Upload | None = None
    """POST and PUT bodies are not plain JSON."""
    prepare: Callable[[Doc], Doc] | None = None
    """Work on uploaded contents that needs no database, on a thread and before the transaction. Raises ProvisioningError."""
    nameless: bool = False
    """POST answers without `Location`."""
    parameters: tuple[tuple[str, str, str], ...] = ()
    """Further query parameters of an item: name, kind as of a `Filter`, meaning."""
    download: Callable[[Work, Row, Mapping[str, str]], Download] | None = None
    """GET of an item answers this and not a document."""
    downloads: tuple[str, ...] = ()
    """Media types of `download`."""
    listed: Callable[[Work, Mapping[str, str], int, int], tuple[int, list[Row]]] | None = None
    """Instead of rows of the table: (query parameters, offset, how many) -> how many there are in all, and those of the page."""
    found: Callable[[Work, int], Row | None] | None = None
    """With `listed`: the row of one item, by `Work.asked`."""
    single: Callable[[Work], Doc] | None = None
    """The whole resource is one document, made by this."""
    parse: Callable[[Work, Doc, Row | None], Values] | None = None
    """Instead of the fields: the values of a document a client sent. Raises ProvisioningError."""
    check: Callable[[Work, Values, Row | None], None] | None = None
    """Rules over several fields, before a write; may change the values. The row is None at creation."""
    show: Callable[[Work, list[Doc], list[Row]], None] | None = None
    """Fills what is not a column, for many at once."""
    create: Callable[[Work, Values], int] | None = None
    update: Callable[[Work, Row, Values], None] | None = None
    delete: Callable[[Work, Row], None] | None = None
    """Instead of the insert, update, delete of one row."""
    create_many: Callable[[Work, list[Values]], list[int]] | None = None
    """`create` for many at once, all or none: their ids in the same order."""
    sift: Callable[[Work, list[Values], Any], dict[int, ProvisioningError]] | None = None
    """Before `create_many`: those (by place) that cannot be made. Cheap for many; what it overlooks is found by `create_many`. The last
    argument is None, or a dict that lives for a whole dry run and remembers what earlier ones would have made."""
    effects: Callable[[Work, str, int, Row | None, Values], None] | None = None
    """After the write, in its transaction: (work, create | update | delete, id, row before, values)."""
    bulk: Callable[[Work, Mapping[str, str], str], list[int]] | None = None
    """A `text/csv` body, with the query parameters; the numbers of the lines that were left out."""
    schema: Callable[[Env], Doc] | None = None
    """Instead of the fields: JSON Schema of the document."""

    def __post_init__(self) -> None:
        if RESELLER in self.roles and self.scope is None and not self.unscoped and self.single is None:
            raise ValueError(f"{self.name}: resellers may use it, but nothing says which rows are theirs")
        if any(role in self.roles for role in PEOPLE) and self.own is None:
            raise ValueError(f"{self.name}: subscribers may use it, but nothing says which rows are theirs")
        names = [f.name for f in self.fields]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: a field is declared twice")

    def roles_of(self, on_item: bool) -> tuple[str, ...]:
        """Who may use the collection, or its items."""
        return self.item_roles or self.roles if on_item else self.roles

    @property
    def from_(self) -> sa.FromClause:
        return self.table if self.source is None else self.source

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)


class Registry(Mapping[str, Resource]):
    """All resources by name, in the order of their names."""

    def __init__(self, resources: list[Resource]) -> None:
        self._all = {r.name: r for r in sorted(resources, key=lambda r: r.name)}
        if len(self._all) != len(resources):
            raise ValueError("a resource is declared twice")

    def __getitem__(self, name: str) -> Resource:
        return self._all[name]

    def __iter__(self) -> Any:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


ID = Field("id", Int(1), read_only=True, help="Number of the object")
