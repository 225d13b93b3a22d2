"""Reload of the settings on the whole daemon: what acts at once, what waits, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ngcpd.app import reload as reloading
from ngcpd.app.commands import commands
from ngcpd.app.reload import Reloader, is_live, is_used
from ngcpd.config import Loaded, load
from ngcpd.config.inuse import IN_USE
from ngcpd.config.schema import SCHEMA
from ngcpd.ops.control import CommandError
from ngcpd.runtime import log as logs
from ngcpd.runtime.fake import InlineExecutor
from tests.phones import sdp
from tests.world import World, outcome


class Editor:
    """A world whose configuration files can be written and read again."""

    def __init__(self, directory: Path) -> None:
        self.world = World()
        self.etc = directory / "etc"
        shutil.copytree(Path(self.world.directory) / "etc", self.etc)
        shutil.copytree(Path(self.world.directory) / "var", directory / "var", dirs_exist_ok=True)
        self.reloader = Reloader(self.world.daemon, InlineExecutor(), self._read)
        self.table = commands(self.world.daemon, lambda: None, self.reloader.reload)

    def _read(self) -> Loaded:
        return load(str(self.etc), {"NGCPD_NODE": "self"}, "self")

    def write(self, text: str, name: str = "config.local.yml") -> None:
        (self.etc / name).write_text(text)

    def reload(self) -> dict[str, Any]:
        found: dict[str, Any] = outcome(self.table["reload"]({}))
        return {**found, "restart": [key for key in found["restart"] if key != "ngcpd.state_dir"]}  # the files are a copy


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    made = Editor(tmp_path)
    yield made
    made.world.end()


def test_nothing_changed(editor: Editor) -> None:
    assert editor.reload() == {"live": [], "restart": [], "unused": [], "warnings": []}


def test_header_list_and_running_call(editor: Editor) -> None:
    """The list acts on the next call and on what is sent within a call that goes on."""
    world = editor.world
    a, b = world.registered(1002), world.registered(1003)
    fields = ["X-Test: 1", "Call-Info: <http://x.example/y>"]
    call = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000), fields)
    invite = b.take("INVITE")
    assert not invite.get("x-test") and invite.get("call-info")
    editor.write("both: [X-Test]\n", "headers.yml")
    assert editor.reload()["live"] == ["headers.yml"] and editor.reload()["live"] == []
    b.reply(invite, 200, "OK", sdp(b.address[0], 30000), fields=fields)
    world.run()
    ok = a.take(200)
    assert ok.get("x-test") and not ok.get("call-info")
    call.ack(ok)
    world.run()
    b.take("ACK")
    call.bye()
    world.run()
    b.reply(b.take("BYE"), 200, "OK")
    world.run()
    a.take(200)
    again = a.call("sip:testuser1003@spce.test", world.run, sdp(a.address[0], 20000), fields)
    second = next(m for m in b.inbox if m.method == "INVITE")
    assert second.get("x-test") and not second.get("call-info")
    again.cancel()
    world.run()
    editor.write("both: [X-Test, Via]\n", "headers.yml")
    with pytest.raises(CommandError, match=r"headers.yml:1:16: Via never crosses"):
        editor.reload()
    assert world.daemon.calls.settings.headers.passes("X-Test", True)


def test_limits_and_registrar(editor: Editor) -> None:
    world = editor.world
    world.registered(1003, host="127.8.0.1", name="d1")
    editor.write(
        "kamailio: {proxy: {max_registrations_per_subscriber: 1}}\nngcpd: {calls: {max_calls: 1}, sip: {server_header: other, names: [x.example]}}\n"
    )
    assert editor.reload() == {
        "live": ["kamailio.proxy.max_registrations_per_subscriber", "ngcpd.calls.max_calls", "ngcpd.sip.names", "ngcpd.sip.server_header"],
        "restart": [],
        "unused": [],
        "warnings": [],
    }
    second = world.phone(1003, host="127.8.0.2")
    refused = second.register(world.run)
    assert refused.status == 503 and refused["server"] == "other"
    assert world.daemon.calls.settings.max_calls == 1 and world.daemon.pipeline.settings.own_names >= {"x.example"}
    editor.write("")
    assert len(editor.reload()["live"]) == 4
    assert second.register(world.run).status == 200 and world.daemon.calls.settings.max_calls == 0


def test_what_waits_for_a_restart_is_named_until_then(editor: Editor) -> None:
    editor.write("ngcpd: {directory: {cache: 500}, log: {rooms: {edge: debug}}}\nvoisniff: {daemon: {start: yes}}\nnonsense: 1\n")
    answer = editor.reload()
    assert answer["live"] == ["ngcpd.log.rooms"] and answer["restart"] == ["ngcpd.directory.cache"]
    assert "unknown key nonsense" in " ".join(answer["warnings"]) and logs.levels()["edge"] == "debug"
    assert all(not is_live(key) and not is_used(key) for key in answer["unused"])
    answer = editor.reload()
    assert answer["live"] == [] and answer["restart"] == ["ngcpd.directory.cache"]
    editor.write("")
    assert editor.reload()["restart"] == [] and logs.levels()["edge"] == "info"
    network = (editor.etc / "network.yml").read_text()
    editor.write(network.replace("ip: 127.0.0.1", "ip: 127.0.0.2"), "network.yml")
    node = editor.world.daemon.loaded.node
    assert editor.reload()["restart"] == ["network.yml"] and editor.world.daemon.loaded.node is node


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kamailio:\n  proxy: {max_expires: 1\n", r"config.local.yml:\d+:\d+: "),
        ("kamailio:\n  proxy:\n    max_expires: many\n", r"config.local.yml:3:18: kamailio.proxy.max_expires"),
        ("ngcpd: {log: {level: debug}, sip: {t1: 5}}\n", r"config.local.yml:1:40: ngcpd.sip.t1"),
        ("kamailio: {lb: {tls: {enable: yes, sslcertfile: /nowhere}}}\n", r"sslcertfile: /nowhere cannot be read"),
    ],
)
def test_a_wrong_file_changes_nothing(editor: Editor, text: str, problem: str) -> None:
    before = (editor.world.daemon.calls.settings, editor.world.daemon.registrar.settings, editor.world.daemon.loaded, logs.levels())
    editor.write(text)
    for _ in range(2):
        with pytest.raises(CommandError, match=problem) as caught:
            editor.reload()
        assert caught.value.code == "invalid"
    assert before == (editor.world.daemon.calls.settings, editor.world.daemon.registrar.settings, editor.world.daemon.loaded, logs.levels())


def test_what_is_live_is_declared_and_used() -> None:
    """Each pattern names settings that this release acts on, none that is declared as needing a restart."""
    for pattern in reloading.LIVE:
        names = [key for key in SCHEMA.keys if reloading.fnmatchcase(key, pattern)]
        assert names and all(is_used(key) for key in names), pattern
        assert {SCHEMA.keys[key].reload for key in names} <= {"L", "B"}, pattern
    mine = tuple(f"{name}." for name in ("kamailio", "rtpproxy", "sems", "ngcpd", "www_admin", "ossbss", "api", "mediator"))
    declared = {key for key in IN_USE if key in SCHEMA.keys and SCHEMA.keys[key].reload == "L" and key.startswith(mine)}
    waiting = {key for key in declared if not is_live(key)}
    assert waiting == WAITING, "a setting said to be in force after a reload has to be taken over, or to be listed here"


WAITING = {
    "mediator.enabled",
    "ossbss.apache.restapi.sslcertfile",
    "ossbss.apache.restapi.sslcertkeyfile",
    "rtpproxy.maxport",
    "rtpproxy.minport",
}
"""Declared L (in force after a reload), in use, and still waiting for a restart."""
