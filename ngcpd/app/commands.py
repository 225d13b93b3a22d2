"""The commands of the control socket, as `ngcpd.ops.control` tells their shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from twisted.internet.defer import Deferred

from ngcpd import __version__
from ngcpd.app import resources, writes
from ngcpd.app.daemon import Daemon
from ngcpd.app.queries import domains, names, subscribers
from ngcpd.billing.mediation import recent_cdrs
from ngcpd.ops.control import Command, CommandError, Emit, Stream
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.registrar.location import NotStored
from ngcpd.registrar.model import Binding
from ngcpd.routing import trace
from ngcpd.runtime import log as logs
from ngcpd.store.errors import StoreUnavailable

Args = dict[str, Any]
FOLLOW = 0.5
MAX_LAST = 10_000


def errors() -> dict[type[Exception], str]:
    """Which exceptions are told to the client, under which code."""
    return {ProvisioningError: "invalid", StoreUnavailable: "unavailable", NotStored: "unavailable"}


def text(args: Args, name: str, *, required: bool = True) -> str | None:
    """A text argument. CommandError when it is missing or something else."""
    value = args.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not value:
        raise CommandError(f"argument {name} must be a text", "bad-request")
    return value


def needed(args: Args, name: str) -> str:
    value = text(args, name)
    assert value is not None
    return value


def commands(daemon: Daemon, stop: Callable[[], object], reload: Callable[[], Deferred[dict[str, Any]]] | None = None) -> dict[str, Command]:
    """Name -> function. Without `reload` there is no such command."""
    shows = Shows(daemon)
    return {
        "status": shows.status,
        "registrations": shows.registrations,
        "calls": lambda args: shows.calls(),
        "call.trace": shows.call_trace,
        "route": shows.route,
        "cdrs": shows.cdrs,
        "log.levels": lambda args: logs.levels(),
        "log.set": log_set,
        "stop": lambda args: [stop(), {"stopping": True}][1],
        "domain.list": lambda args: daemon.db.read(domains),
        "subscriber.list": lambda args: daemon.db.read(subscribers, text(args, "domain", required=False)),
        **writes.commands(daemon),
        **resources.commands(daemon),
        **({"reload": lambda args: reload()} if reload is not None else {}),
    }


def log_set(args: Args) -> dict[str, str]:
    try:
        logs.set_level(needed(args, "room"), needed(args, "level"))
    except KeyError as error:
        raise CommandError(f"there is no room or level {error.args[0]}; levels are {', '.join(logs.LEVELS)}") from None
    return logs.levels()


class Shows:
    """The commands that only look."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def status(self, args: Args) -> dict[str, Any]:
        d = self.daemon
        media = d.media.counters()
        counters = {
            **{f"sip.{k}": v for k, v in d.stack.counters().items()},
            **{f"calls.{k}": v for k, v in d.calls.counters().items()},
            **{f"edge.{k}": v for k, v in sorted(d.edge.counters.items())},
            **{f"registrar.{k}": v for k, v in sorted(d.registrar.counters.items())},
            **{f"directory.{k}": v for k, v in d.directory.counters().items()},
            "registrar.bindings": d.location.table.count,
            "media.sessions": media.sessions,
            "media.ports_used": media.used,
            "media.ports_free": media.free,
            "media.restarts": media.restarts,
            "journal.acc_backlog": d.acc_follower.backlog,
            "journal.binding_backlog": d.bindings.follower.backlog,
            "store.available": int(d.db.available),
        }
        return {
            "version": __version__,
            "node": d.node,
            "roles": sorted(d.loaded.node.roles),
            "pid": os.getpid(),
            "uptime": round(d.world.clock.time() - d.started_at, 3),
            "config_dir": d.loaded.directory,
            "listeners": [str(s) for s in d.listeners],
            "counters": counters,
        }

    def registrations(self, args: Args) -> Deferred[list[dict[str, Any]]]:
        wanted = text(args, "user", required=False)
        found = list(self.daemon.registrar.all())
        now = self.daemon.world.clock.time()

        def show(users: dict[int, str]) -> list[dict[str, Any]]:
            rows = [self._binding(b, users.get(b.subscriber_id, f"#{b.subscriber_id}"), now) for b in found]
            return sorted((r for r in rows if wanted is None or r["user"] == wanted), key=lambda r: (r["user"], r["contact"]))

        return self.daemon.db.read(names, sorted({b.subscriber_id for b in found})).addCallback(show)

    @staticmethod
    def _binding(b: Binding, user: str, now: float) -> dict[str, Any]:
        received = None
        if b.received is not None:
            host, port = b.received
            received = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return {
            "user": user,
            "contact": b.contact,
            "transport": b.transport,
            "received": received,
            "socket": b.socket,
            "user_agent": b.user_agent,
            "expires": None if b.permanent else max(0, int(b.expires_at - now)),
            "q": None if b.q < 0 else b.q,
            "nat": b.nat,
            "permanent": b.permanent,
            "node": b.node,
        }

    def calls(self) -> list[dict[str, Any]]:
        return self.daemon.calls.active()

    def call_trace(self, args: Args) -> dict[str, Any]:
        call_id = needed(args, "call_id")
        ctx = self.daemon.calls.trace(call_id)
        if ctx is None:
            raise CommandError(f"no call {call_id} among the last {self.daemon.calls.settings.traces}", "not-found")
        fields = ctx.acc_fields()
        state = next((c["state"] for c in self.daemon.calls.active() if c["call_id"] == call_id), "ended")
        return {
            "call_id": call_id,
            "caller": f"{fields.src_user}@{fields.src_domain}",
            "callee": f"{fields.dst_user}@{fields.dst_domain}",
            "state": state,
            "stages": trace.render(ctx.trace),
        }

    def route(self, args: Args) -> Deferred[list[dict[str, object]]]:
        """What would happen to a call, without making it."""
        source = text(args, "source_ip", required=False) or ""
        return self.daemon.pipeline.explain(needed(args, "caller"), needed(args, "callee"), source_ip=source, time=self.daemon.world.clock.time())

    # ------------------------------------------------------------------------------------------------------------- CDRs
    def cdrs(self, args: Args) -> Any:
        last = args.get("last", 20)
        if not isinstance(last, int) or isinstance(last, bool) or not 0 <= last <= MAX_LAST:
            raise CommandError(f"argument last must be a number from 0 to {MAX_LAST}", "bad-request")
        if args.get("follow"):
            return Stream(lambda emit, end: self._follow(emit, end, last))
        return self._recent(last)

    def _recent(self, n: int) -> Deferred[list[dict[str, Any]]]:
        found = self.daemon.db.read(recent_cdrs, n)
        return found.addCallback(lambda rows: [cdr_row(row) for row in reversed(rows)])

    def _follow(self, emit: Emit, end: Emit, last: int) -> Callable[[], None]:
        """The last ones, then every new one, asked for twice a second."""
        clock = self.daemon.world.clock
        state: dict[str, Any] = {"seen": 0, "stopped": False, "timer": None}

        def show(rows: list[dict[str, Any]]) -> None:
            if state["stopped"]:
                return
            for row in rows:
                if row["id"] > state["seen"]:
                    state["seen"] = row["id"]
                    emit(row)
            state["timer"] = clock.call_later(FOLLOW, look, 200)

        def look(n: int) -> None:
            self._recent(n).addCallbacks(show, lambda failure: None if state["stopped"] else end({"error": failure.getErrorMessage()}))

        def stop() -> None:
            state["stopped"] = True
            if state["timer"] is not None:
                state["timer"].cancel()

        if last:
            look(last)
        else:
            self._recent(1).addCallback(lambda rows: state.update(seen=rows[-1]["id"] if rows else 0)).addCallback(lambda _: look(200))
        return stop


def cdr_row(row: dict[str, Any]) -> dict[str, Any]:
    """A CDR for the command line: the columns people look at first, then all others."""
    front = {
        "id": row["id"],
        "call_id": row["call_id"],
        "start_time": _number(row["start_time"]),
        "duration": _number(row["duration"]),
        "source": f"{row['source_user']}@{row['source_domain']}",
        "destination": f"{row['destination_user']}@{row['destination_domain']}",
        "call_status": row["call_status"],
        "call_code": row["call_code"],
    }
    return {**front, **{k: _number(v) if isinstance(v, Decimal) else v for k, v in row.items() if k not in front}}


def _number(value: Any) -> float:
    return float(value)
