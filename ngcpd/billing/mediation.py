"""Mediation: accounting rows become call detail records (billing 1.3).

`mediate` is one unit of work: it takes finished Call-IDs out of `acc`, writes a CDR for each of their INVITE rows, keeps the rows in
`acc_backup` (or in `acc_trash` when they cannot be read) and counts the final codes, all in the caller's transaction: a crash at any moment
neither loses nor doubles a CDR. Rows are read with a lock, so that two processes can run it at the same time.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from ngcpd.billing.providers import Providers
from ngcpd.store.db import now
from ngcpd.store.legs import DestinationLeg, LegError, SourceLeg
from ngcpd.store.rows import insert_rows
from ngcpd.store.tables.accounting import acc, acc_backup, acc_trash, call_info, cdr

STATUS: Mapping[str, str] = {"200": "ok", "486": "busy", "480": "noanswer", "487": "cancel", "408": "timeout", "404": "offline"}
PERIODS = ("hour", "day", "month")
ORPHAN_AGE = 3600.0
"""Seconds after which a BYE row without any INVITE row is given up."""
_CONTENT = [c for c in acc.c if c.name != "id"]
_LENGTH: Mapping[str, int] = {c.name: c.type.length for c in cdr.c if isinstance(c.type, sa.String) and c.type.length}
# What a mediated row is read for; rows of a Call-ID that agree in all of it are one.
_SAME = ("sip_code", "sip_reason", "method", "callid", "time", "time_hires", "src_leg", "dst_leg")
AccRow = sa.Row[Any]


class Outcome(NamedTuple):
    """What one batch did: Call-IDs taken out of `acc`, CDRs written, and which Call-IDs went to the trash and why."""

    calls: int = 0
    cdrs: int = 0
    trashed: tuple[tuple[str, str], ...] = ()


def call_status(code: str) -> str:
    """The CDR's word for a final code."""
    return STATUS.get(code, "other")


def period_start(moment: Decimal, period: str) -> datetime.datetime:
    """The hour, day or month (UTC) that a call is counted in."""
    at = datetime.datetime.fromtimestamp(int(moment), datetime.UTC).replace(tzinfo=None, minute=0, second=0)
    if period == "hour":
        return at
    return at.replace(hour=0) if period == "day" else at.replace(hour=0, day=1)


# -------------------------------------------------------------------------------------------------------------- candidates
def candidates(conn: sa.Connection, limit: int, orphan_age: float = ORPHAN_AGE) -> list[str]:
    """Call-IDs that are finished, those heard of first at the front: an INVITE and a BYE row, or INVITE rows of which none is 200.

    A call in progress is not among them, so that many of these cannot stand in the way of finished ones. A BYE without any INVITE is when it
    is `orphan_age` seconds old: rows of one call may be written one after the other.
    """
    other = acc.alias("other")
    invite = sa.exists().where(other.c.callid == acc.c.callid, other.c.method == "INVITE")
    answered = sa.exists().where(other.c.callid == acc.c.callid, other.c.method == "INVITE", other.c.sip_code == "200")
    before = Decimal(int(now(conn).replace(tzinfo=datetime.UTC).timestamp())) - Decimal(str(orphan_age))
    ended = sa.and_(acc.c.method == "BYE", sa.or_(invite, acc.c.time_hires < before))
    failed = sa.and_(acc.c.method == "INVITE", acc.c.sip_code != "200", ~answered)
    strange = acc.c.method.not_in(("INVITE", "BYE"))
    finished = sa.or_(ended, failed, sa.and_(strange, ~invite, acc.c.time_hires < before))
    # In the order of the key and with a limit, so that the server reads no more of a long table than it takes; a Call-ID may come twice.
    found: dict[str, None] = {}
    last = 0
    while len(found) < limit:
        rows = conn.execute(sa.select(acc.c.id, acc.c.callid).where(acc.c.id > last, finished).order_by(acc.c.id).limit(limit)).all()
        found.update((row.callid, None) for row in rows)
        if len(rows) < limit:
            break
        last = rows[-1].id
    return list(found)[:limit]


def mediate(
    conn: sa.Connection,
    limit: int,
    providers: Providers,
    *,
    period: str = "hour",
    orphan_age: float = ORPHAN_AGE,
    only: Sequence[str] | None = None,
) -> Outcome:
    """One batch of at most `limit` Call-IDs, or those in `only`. Nothing else than through `conn`; run it again until `calls` is 0."""
    call_ids = list(only) if only is not None else candidates(conn, limit, orphan_age)
    if not call_ids:
        return Outcome()
    groups = _load(conn, call_ids)
    kept: list[int] = []
    trash: dict[str, str] = {}
    trash_ids: list[int] = []
    finished: list[_Call] = []
    for call_id, rows in groups.items():
        try:
            call = _Call(rows)
        except LegError as e:
            trash[call_id] = str(e)
            trash_ids += [row.id for row in rows]
            continue
        if call.finished:
            finished.append(call)
            kept += [row.id for row in rows]
    providers.prepare(conn, (u for call in finished for u in call.uuids))
    cdrs = [row for call in finished for row in call.cdrs(providers, now(conn))]
    if cdrs:
        insert_rows(conn, cdr, cdrs, _filled(cdrs))
        _count(conn, cdrs, period)
    _move(conn, kept, acc_backup)
    _move(conn, trash_ids, acc_trash)
    return Outcome(len(finished) + len(trash), len(cdrs), tuple(trash.items()))


def _filled(rows: list[dict[str, Any]]) -> list[str]:
    """The columns that are not NULL in all rows: a third of a CDR mostly is, and each value costs time."""
    return [name for name in rows[0] if any(row[name] is not None for row in rows)]


def discard(conn: sa.Connection, call_id: str) -> None:
    """Move all rows of a Call-ID to the trash."""
    _move(conn, list(conn.scalars(sa.select(acc.c.id).where(acc.c.callid == call_id).with_for_update())), acc_trash)


def _load(conn: sa.Connection, call_ids: list[str]) -> dict[str, list[AccRow]]:
    groups: dict[str, list[AccRow]] = {}
    columns = (acc.c.id, *(acc.c[name] for name in _SAME))
    query = sa.select(*columns).where(acc.c.callid.in_(call_ids)).order_by(acc.c.time_hires, acc.c.id).with_for_update()
    for row in conn.execute(query):
        groups.setdefault(row.callid, []).append(row)
    return {c: groups[c] for c in call_ids if c in groups}


def _move(conn: sa.Connection, ids: list[int], to: sa.Table) -> None:
    names = [c.name for c in _CONTENT]
    for i in range(0, len(ids), 500):
        part = ids[i : i + 500]
        conn.execute(sa.insert(to).from_select(names, sa.select(*_CONTENT).where(acc.c.id.in_(part)).order_by(acc.c.id)))
        conn.execute(sa.delete(acc).where(acc.c.id.in_(part)))


def _count(conn: sa.Connection, cdrs: list[dict[str, Any]], period: str) -> None:
    counts = Counter((row["call_code"], period_start(row["start_time"], period)) for row in cdrs)
    for (code, start), n in sorted(counts.items()):
        where = (call_info.c.sip_code == code, call_info.c.period == start)
        changed = conn.execute(sa.update(call_info).where(*where).values(amount=call_info.c.amount + n)).rowcount
        if not changed:
            conn.execute(sa.insert(call_info).values(sip_code=code, period=start, amount=n))


# --------------------------------------------------------------------------------------------------------------------- CDR
class _Call:
    """The rows of one Call-ID, read. Raises `LegError` when its CDRs cannot be made."""

    def __init__(self, rows: list[AccRow]) -> None:
        seen: set[tuple[Any, ...]] = set()
        self.invites: list[tuple[AccRow, SourceLeg, DestinationLeg]] = []
        byes: list[Decimal] = []
        for row in rows:
            key: tuple[Any, ...] = tuple(row[1:])
            if key in seen:
                continue
            seen.add(key)
            if row.method == "INVITE":
                self.invites.append((row, _source(row), _destination(row)))
            elif row.method == "BYE":
                byes.append(row.time_hires)
        if not self.invites:
            raise LegError("no INVITE row")
        self.stop = min(byes, default=None)
        self.finished = self.stop is not None or all(row.sip_code != "200" for row, _, _ in self.invites)

    @property
    def uuids(self) -> list[str]:
        return [u for _, source, destination in self.invites for u in (source.user_id, destination.user_id)]

    def cdrs(self, providers: Providers, at: datetime.datetime) -> list[dict[str, Any]]:
        """One CDR for each INVITE row."""
        return [self._cdr(row, source, destination, providers, at) for row, source, destination in self.invites]

    def _cdr(self, row: AccRow, source: SourceLeg, destination: DestinationLeg, providers: Providers, at: datetime.datetime) -> dict[str, Any]:
        start: Decimal = row.time_hires
        duration = Decimal(0)
        if row.sip_code == "200" and self.stop is not None:
            duration = max(duration, self.stop - start)
        made = {
            "update_time": at,
            "source_user_id": source.user_id,
            "source_provider_id": providers.source(source),
            "source_external_subscriber_id": source.external_subscriber_id,
            "source_external_contract_id": source.external_contract_id,
            "source_account_id": source.account_id,
            "source_user": source.user,
            "source_domain": source.domain,
            "source_cli": source.cli,
            "source_clir": source.clir,
            "source_ip": source.ip,
            "source_lnp_prefix": source.lnp_prefix,
            "destination_user_id": destination.user_id,
            "destination_provider_id": providers.destination(destination),
            "destination_external_subscriber_id": destination.external_subscriber_id,
            "destination_external_contract_id": destination.external_contract_id,
            "destination_account_id": destination.account_id,
            "destination_user": destination.user,
            "destination_domain": destination.domain,
            "destination_user_dialed": destination.dialed,
            "destination_user_in": destination.user_in,
            "destination_domain_in": destination.domain_in,
            "destination_lnp_prefix": destination.lnp_prefix,
            "peer_auth_user": source.peer_auth_user,
            "peer_auth_realm": source.peer_auth_realm,
            "call_type": source.call_type,
            "call_status": call_status(row.sip_code),
            "call_code": row.sip_code,
            "init_time": Decimal(str(source.init_time)) if source.init_time else start,
            "start_time": start,
            "duration": duration,
            "call_id": row.callid,
            "split": destination.split,
            "rating_status": "unrated",
            "export_status": "unexported",
        }
        made.update((f"source_gpp{n}", source.gpp[n] or None) for n in range(10))
        made.update((f"destination_gpp{n}", destination.gpp[n] or None) for n in range(10))
        for name, value in made.items():
            if isinstance(value, str) and len(value) > _LENGTH.get(name, 255):
                made[name] = value[: _LENGTH[name]]
        return made


def _source(row: AccRow) -> SourceLeg:
    try:
        return SourceLeg.decode(row.src_leg or "")
    except LegError as e:
        raise LegError(f"source leg: {e}") from None


def _destination(row: AccRow) -> DestinationLeg:
    try:
        return DestinationLeg.decode(row.dst_leg or "")
    except LegError as e:
        raise LegError(f"destination leg: {e}") from None


# ----------------------------------------------------------------------------------------------------------------- queries
def base_call_id(call_id: str) -> str:
    """A Call-ID without the suffixes of the legs that the platform made of it (call processing 1.2)."""
    while call_id.endswith(("_b2b-1", "_pbx-1")):
        call_id = call_id[:-6]
    return call_id


def recent_cdrs(conn: sa.Connection, n: int, *, subscriber: str | None = None, call_id: str | None = None) -> list[dict[str, Any]]:
    """The `n` newest CDRs, newest first, as column -> value: all, of a subscriber (UUID, either side), or of a Call-ID and its further legs."""
    query = sa.select(cdr)
    if subscriber is not None:
        query = query.where(sa.or_(cdr.c.source_user_id == subscriber, cdr.c.destination_user_id == subscriber))
    if call_id is not None:
        base = base_call_id(call_id)
        further = [cdr.c.call_id.startswith(base + suffix, autoescape=True) for suffix in ("_b2b-1", "_pbx-1")]
        query = query.where(sa.or_(cdr.c.call_id == base, *further))
    return [dict(row._mapping) for row in conn.execute(query.order_by(cdr.c.id.desc()).limit(n))]
