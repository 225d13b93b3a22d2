"""The commands that every declared resource has at the command line."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from ngcpd.app.resources import commands
from ngcpd.cli import ngcpctl, resources
from ngcpd.ops.control import CommandError
from ngcpd.provisioning import NewSubscriber, ProvisioningError, create_domain, create_subscriber
from tests.provisioning.conftest import World


class Client:
    """What the command line speaks to, without the socket."""

    def __init__(self, world: World) -> None:
        self.known = commands(SimpleNamespace(db=world.database, env=world.env))  # type: ignore[arg-type]

    def call(self, cmd: str, args: dict[str, Any] | None = None) -> Any:
        found = self.known[cmd](args or {})
        if not hasattr(found, "addCallbacks"):
            return found
        results: list[Any] = []
        found.addBoth(results.append)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]


def run(client: Client, *argv: str) -> str:
    args = ngcpctl.parser().parse_args(resources.expand(argv, ngcpctl.COMMANDS))
    return str(args.show(args.run(client, args), args))


def test_life_of_an_object(world: World) -> None:
    client = Client(world)
    made = run(client, "billingprofiles", "create", "reseller_id=1", "handle=gold", "name=Gold", "prepaid=true")
    name, key = made.splitlines()[0].split()
    assert name == "id"
    assert "gold" in run(client, "billingprofiles", "list", "handle=g*") and "gold" not in run(client, "billingprofiles", "list", "handle=x")
    assert "1 of 2" in run(client, "billingprofiles", "list", "rows=1")
    run(client, "billingprofiles", "set", key, "name=Golden", 'peaktime_weekdays=[{"weekday":1,"start":"18:00:00","stop":"23:00:00"}]')
    shown = run(client, "resource", "billingprofiles", "show", key)
    assert "Golden" in shown and "18:00:00" in shown and "gold" in shown
    contact = run(client, "systemcontacts", "create", "email=a@b.example").split()[1]
    assert "deleted" in run(client, "systemcontacts", "delete", contact)
    assert "billingprofiles" in run(client, "resource", "names", "list")
    assert "clir" in str(client.call("resource.list", {"resource": "subscriberpreferencedefs"}))


def test_files_are_not_for_the_command_line(world: World) -> None:
    client = Client(world)
    key = run(client, "soundsets", "create", "reseller_id=1", "name=english").split()[1]
    for words in (("soundfiles", "create", f"set_id={key}", "handle=cf_loop", "filename=a.wav"), ("soundfilerecordings", "show", "1")):
        with pytest.raises(CommandError, match="use the REST interface"):
            run(client, *words)
    assert "music_on_hold" in run(client, "soundhandles", "list", "group=music_on_hold")
    with pytest.raises(CommandError, match="subscriber_id or customer_id is required"):
        run(client, "calllists", "list")
    assert "no calllists" in run(client, "calllists", "list", f"customer_id={world.customer()}")


def test_money(world: World) -> None:
    """What a POST does without making an object, what has parents, and what is kept of a refusal."""
    client = Client(world)
    customer = world.customer()
    world.do(create_domain, name="example.org")
    who = world.do(create_subscriber, NewSubscriber(customer_id=customer, domain="example.org", username="ada", password="secret1")).id
    assert "done" in run(client, "topupcash", "create", f"subscriber_id={who}", "amount=250", "request_token=t1")
    assert "2.5" in run(client, "customerbalances", "show", str(customer))
    with pytest.raises(ProvisioningError, match="already used or expired"):
        run(client, "topupvouchers", "create", f"subscriber_id={who}", "code=none", "request_token=t2")
    listed = client.call("resource.list", {"resource": "topuplogs", "query": {}})["items"]
    told = [(entry["outcome"], entry["request_token"], entry["username"]) for entry in listed]
    assert told == [("ok", "t1", "operator"), ("failed", "t2", "operator")]
    assert "43123" in run(client, "applyrewrites", "create", f"subscriber_id={who}", "number=43123", "direction=callee_in")
    world.clock.advance(92 * 86400)
    listed = client.call("resource.list", {"resource": "balanceintervals", "query": {"contract_id": str(customer)}})
    assert listed["total"] == 4 and "2.5" in run(client, "balanceintervals", "list", f"contract_id={customer}")
    assert client.call("resource.show", {"resource": "balanceintervals", "id": listed["items"][3]["id"]})["is_actual"] is True
    assert client.call("resource.list", {"resource": "balanceintervals", "query": {}})["total"] == 2


def test_what_is_refused(world: World) -> None:
    client = Client(world)
    for argv, code in (
        (("nosuch", "list"), "not-found"),
        (("domains", "show", "99"), "not-found"),
        (("domains", "create", "domain=x y", "reseller_id=1"), "invalid"),
        (("domains", "set", "1", "domain=x"), "bad-request"),
        (("subscriberregistrations", "list"), "not-found"),
        (("customers", "delete", "1"), "bad-request"),
    ):
        with pytest.raises(CommandError) as error:
            run(client, *argv)
        assert error.value.code == code, argv
    with pytest.raises(argparse.ArgumentTypeError):
        resources.value("novalue")


def test_words_that_are_commands_stay_commands() -> None:
    known = ngcpctl.COMMANDS
    assert resources.expand(["domain", "list"], known) == ["domain", "list"]
    assert resources.expand(["--json", "domains", "list"], known) == ["--json", "resource", "domains", "list"]
    assert resources.expand(["pref", "set", "a@b", "x"], known) == ["pref", "set", "a@b", "x"]
    group = next(a for a in ngcpctl.parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert set(group.choices) == set(known)
