"""The commands that write: each is one unit of work of functions in `provisioning`, so the rules are the same as everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ngcpd.app.queries import find_subscriber, reseller_of, some_customer
from ngcpd.ops.control import Command, CommandError
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.numbers import of
from ngcpd.provisioning.preferences import list_preferences, set_preference
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscriber, set_lock, set_password, terminate_subscriber
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain

if TYPE_CHECKING:
    from ngcpd.app.daemon import Daemon

Args = dict[str, Any]
DEFAULT_RESELLER = 1


def _text(args: Args, name: str) -> str:
    value = args.get(name)
    if not isinstance(value, str) or not value:
        raise CommandError(f"argument {name} must be a text", "bad-request")
    return value


def _e164(value: object, name: str) -> E164:
    if not isinstance(value, dict):
        raise CommandError(f"argument {name} must be an object with cc, ac and sn", "bad-request")
    return E164.parse(f"{value.get('cc', '')}-{value.get('ac', '') or ''}-{value.get('sn', '')}")


def customer_for(conn: sa.Connection, env: Env, reseller_id: int) -> int:
    """The reseller's oldest active customer, made when it has none."""
    found = some_customer(conn, reseller_id)
    if found is not None:
        return found
    contact_id = create_contact(conn, env, reseller_id=reseller_id, email="default-customer@default.invalid")
    return create_customer(conn, env, contact_id=contact_id)


def domain_add(conn: sa.Connection, env: Env, name: str) -> dict[str, Any]:
    return {"id": create_domain(conn, env, name=name, reseller_id=DEFAULT_RESELLER), "domain": name.lower()}


def subscriber_add(conn: sa.Connection, env: Env, user: str, password: str, number: E164 | None, aliases: tuple[E164, ...]) -> dict[str, Any]:
    username, _, name = user.removeprefix("sip:").rpartition("@")
    if not username:
        raise ProvisioningError("user", "write it as user@domain")
    _, reseller_id = reseller_of(conn, name)
    new = NewSubscriber(
        customer_id=customer_for(conn, env, reseller_id), domain=name.lower(), username=username, password=password, number=number, aliases=aliases
    )
    made = create_subscriber(conn, env, new)
    return {"id": made.id, "uuid": made.uuid, "user": f"{made.username}@{made.domain}"}


def subscriber_show(conn: sa.Connection, env: Env, user: str) -> dict[str, Any]:
    found = find_subscriber(conn, user)
    numbers = of(conn, found.id)
    prefs = _prefs(conn, env, found.id)
    return {
        "id": found.id,
        "uuid": found.uuid,
        "user": f"{found.username}@{found.domain}",
        "status": found.status,
        "number": next((n["e164"] for n in numbers if n["is_primary"]), None),
        "aliases": [n["e164"] for n in numbers if not n["is_primary"]],
        "lock": prefs.get("lock", ["0"])[0],
        "prefs": prefs,
    }


def _prefs(conn: sa.Connection, env: Env, subscriber_id: int) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in list_preferences(conn, env, level="usr", owner_id=subscriber_id).items():
        values = value if isinstance(value, list) else [value]
        found[name] = [("1" if v else "0") if isinstance(v, bool) else str(v) for v in values]
    return found


def subscriber_delete(conn: sa.Connection, env: Env, user: str) -> dict[str, Any]:
    found = find_subscriber(conn, user)
    terminate_subscriber(conn, env, subscriber_id=found.id)
    return {"user": f"{found.username}@{found.domain}"}


def password_set(conn: sa.Connection, env: Env, user: str, password: str) -> dict[str, Any]:
    found = find_subscriber(conn, user)
    set_password(conn, env, subscriber_id=found.id, password=password)
    return {"user": f"{found.username}@{found.domain}"}


def pref_get(conn: sa.Connection, env: Env, user: str, name: str | None) -> dict[str, list[str]]:
    found = find_subscriber(conn, user)
    prefs = _prefs(conn, env, found.id)
    if name is None:
        return prefs
    if env.catalogue.get(name) is None:
        raise ProvisioningError("name", f"there is no preference {name}", "unknown")
    return {name: prefs.get(name, [])}


def pref_set(conn: sa.Connection, env: Env, user: str, name: str, values: list[str]) -> dict[str, list[str]]:
    found = find_subscriber(conn, user)
    attribute = env.catalogue.get(name)
    if attribute is None:
        raise ProvisioningError("name", f"there is no preference {name}", "unknown")
    value: Any = [v for v in values if v != ""]
    if not attribute.is_list:
        if len(value) > 1:
            raise ProvisioningError(name, "takes one value")
        value = value[0] if value else None
        if attribute.type == "boolean" and value is not None:
            if value not in ("1", "0", "true", "false", "yes", "no"):
                raise ProvisioningError(name, "is true or false")
            value = value in ("1", "true", "yes")
        elif attribute.type == "int" and value is not None:
            if not value.lstrip("-").isdigit():
                raise ProvisioningError(name, "is a whole number")
            value = int(value)
    set_preference(conn, env, level="usr", owner_id=found.id, attribute=name, value=value)
    return {name: _prefs(conn, env, found.id).get(name, [])}


def lock_set(conn: sa.Connection, env: Env, user: str, level: int) -> dict[str, Any]:
    found = find_subscriber(conn, user)
    set_lock(conn, env, subscriber_id=found.id, level=level)
    return {"user": f"{found.username}@{found.domain}", "level": level}


def commands(daemon: Daemon) -> dict[str, Command]:
    """Name -> function."""
    run, env = daemon.db.run, daemon.env

    def add(args: Args) -> Any:
        number = args.get("number")
        aliases = args.get("aliases") or []
        if not isinstance(aliases, list):
            raise CommandError("argument aliases must be a list", "bad-request")
        primary = None if number is None else _e164(number, "number")
        return run(subscriber_add, env, _text(args, "user"), _text(args, "password"), primary, tuple(_e164(a, "aliases") for a in aliases))

    def show(args: Args) -> Any:
        def count(result: dict[str, Any]) -> dict[str, Any]:
            return {**result, "registrations": len(daemon.registrar.bindings(result["id"]))}

        return daemon.db.read(subscriber_show, env, _text(args, "user")).addCallback(count)

    def preference(args: Args) -> Any:
        values = args.get("values")
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise CommandError("argument values must be a list of texts", "bad-request")
        return run(pref_set, env, _text(args, "user"), _text(args, "name"), values)

    def lock(args: Args) -> Any:
        level = args.get("level")
        if level is not None and (not isinstance(level, int) or isinstance(level, bool)):
            raise CommandError("argument level must be a number or null", "bad-request")
        return run(lock_set, env, _text(args, "user"), level or 0)

    def permanent(args: Args) -> Any:
        contact, q, nat, path = _text(args, "contact"), args.get("q", 1.0), args.get("nat", False), args.get("path", "")
        if not isinstance(q, int | float) or isinstance(q, bool) or not isinstance(nat, bool) or not isinstance(path, str):
            raise CommandError("q must be a number, nat true or false, path a text", "bad-request")

        def add_it(found: Any) -> dict[str, Any]:
            try:
                binding = daemon.registrar.add_permanent(found.id, contact, q=float(q), nat=nat, path=path)
            except ValueError as error:  # a ParseError is one
                raise CommandError(str(error)) from None
            return {"user": f"{found.username}@{found.domain}", "ruid": binding.ruid, "contact": binding.contact}

        return daemon.db.read(find_subscriber, _text(args, "user")).addCallback(add_it)

    def remove(args: Args) -> Any:
        contact = args.get("contact")

        def remove_it(found: Any) -> dict[str, Any]:
            known = daemon.location.known(found.id)
            wanted = [b.ruid for b in known if contact is None or b.contact == contact]
            if not wanted:
                raise CommandError("there is no such registration", "not-found")
            return {"user": f"{found.username}@{found.domain}", "removed": sum(daemon.registrar.remove(found.id, ruid) for ruid in wanted)}

        return daemon.db.read(find_subscriber, _text(args, "user")).addCallback(remove_it)

    return {
        "registration.add": permanent,
        "registration.remove": remove,
        "domain.add": lambda args: run(domain_add, env, _text(args, "domain")),
        "subscriber.add": add,
        "subscriber.show": show,
        "subscriber.delete": lambda args: run(subscriber_delete, env, _text(args, "user")),
        "subscriber.password": lambda args: run(password_set, env, _text(args, "user"), _text(args, "password")),
        "pref.get": lambda args: daemon.db.read(pref_get, env, _text(args, "user"), args.get("name")),
        "pref.set": preference,
        "lock.set": lock,
    }
