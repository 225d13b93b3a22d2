"""The daemon under test: a configuration and a state directory of its own, started on the server core."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.host import COMPILED, NGCPD, PYTHON, ROOT, TRUSTED, Processes, Unavailable, descendants, pinned, tail, tree_seconds

Tree = dict[str, Any]
START_SECONDS = 60.0
LOCAL: Tree = {
    "kamailio": {"lb": {"security": {"dos_ban_enable": "no", "failed_auth_ban_enable": "no"}}},
    "rtpproxy": {"minport": 16384, "maxport": 65534},
    # As long as Kamailio keeps finished transactions (tm wt_timer, 5 s); everything else as it is shipped.
    "ngcpd": {"sip": {"linger": 5000, "max_transactions": 2_000_000}},
}


class Ngcpd:
    """One daemon. `make` fills its store, then `start`, `stop`, `start` ... `database`: a URL, none = the embedded SQLite store."""

    def __init__(self, processes: Processes, directory: Path, *, database: str | None = None, local: Tree | None = None, name: str = "ngcpd") -> None:
        self.processes = processes
        self.name = name
        self.directory = directory / name
        self.etc = self.directory / "etc"
        self.state = self.directory / "var"
        self.log = self.directory / "log"
        self.target = f"{NGCPD}:5060"
        self.database = database
        self.compiled = False  # from the next start on: the compiled rooms (make compiled)
        self.process: subprocess.Popen[bytes] | None = None
        shutil.copytree(ROOT / "etc", self.etc)
        (self.etc / "config.local.yml").write_text(json.dumps(merged(LOCAL, local or {}), indent=1))
        if database:
            constants = (self.etc / "constants.yml").read_text()
            added = f'  database: {{url: "{database}"}}'
            (self.etc / "constants.yml").write_text(re.sub(r"(?m)^(  state_dir: .*)$", lambda m: f"{m[1]}\n{added}", constants))
        types = ["sip_ext", "sip_int", "rtp_ext", "web_ext", "web_int", "ha_int", "ssh_ext", "mon_ext", "aux_ext"]
        host = {"interfaces": ["lo"], "lo": {"ip": NGCPD, "netmask": "255.0.0.0", "type": types}, "role": ["proxy", "lb", "mgmt", "rtp", "db"]}
        (self.etc / "network.yml").write_text(json.dumps({"hosts": {"self": host}}, indent=1))

    def _environment(self, **more: str) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NGCPD_")}
        if self.compiled:
            kept["NGCPD_COMPILED"] = str(COMPILED)
        return {**kept, "NGCPD_NODE": "self", "PYTHONPATH": str(ROOT), **more}

    def make(self, users: int) -> None:
        """Fill the store with callers and callees; the first caller is trusted by its address and goes without media relay."""
        done = subprocess.run(
            [PYTHON, "-m", "bench.provision", str(self.etc), str(users), TRUSTED],
            capture_output=True,
            text=True,
            env=self._environment(),
            cwd=ROOT,
            preexec_fn=pinned(0),
        )
        if done.returncode:
            raise Unavailable("provisioning failed: " + done.stderr[-600:])

    def start(self, *command: str, **environ: str) -> float:
        """Start it (or what `command` says) and wait until it serves; seconds that took."""
        inside, outside = os.pipe()
        begun = time.monotonic()
        try:
            self.process = self.processes.start(
                [PYTHON, *(command or ("-m", "ngcpd.cli.ngcpd")), "--config-dir", str(self.etc)],
                self.log,
                pass_fds=(outside,),
                env=self._environment(NGCPD_READY_FD=str(outside), **environ),
                cwd=self.directory,
            )
            os.close(outside)
            outside = -1
            readable, _, _ = select.select([inside], [], [], START_SECONDS)
            word = os.read(inside, 100) if readable else b""
        finally:
            os.close(inside)
            if outside >= 0:
                os.close(outside)
        if word != b"ready\n":
            raise Unavailable("ngcpd did not start: " + tail(self.log))
        return time.monotonic() - begun

    def launch(self) -> None:
        """Start it without waiting."""
        self.process = self.processes.start(
            [PYTHON, "-m", "ngcpd.cli.ngcpd", "--config-dir", str(self.etc)], self.log, env=self._environment(), cwd=self.directory
        )

    def stop(self) -> None:
        if self.process is not None:
            self.processes.end(self.process)
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def groups(self) -> dict[str, int]:
        return {"ngcpd": self.pid}

    @property
    def relay_pids(self) -> list[int]:
        return descendants(self.pid)[1:]

    def parts(self) -> dict[str, float]:
        """CPU seconds so far of the signalling process and of the relay."""
        relay = sum(tree_seconds(pid) for pid in self.relay_pids)
        return {"signalling": tree_seconds(self.pid) - relay, "relay": relay}

    def control(self, cmd: str, **args: Any) -> Any:
        """The result of a command on the control socket."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.state / "ngcpd.ctl"))
            s.sendall(json.dumps({"id": 1, "cmd": cmd, "args": args}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                part = s.recv(65536)
                if not part:
                    raise Unavailable(f"ngcpd hung up during {cmd}")
                data += part
        reply = json.loads(data)
        if not reply["ok"]:
            raise Unavailable(f"{cmd}: {reply['error']}")
        return reply["result"]

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = self.control("status")["counters"]
        return found

    def written(self, seconds: float = 30.0) -> None:
        """Wait until nothing is left on its way to the store: no accounting or binding record in the journal, no row of `acc` without its CDR."""
        end = time.monotonic() + seconds
        last = -1
        while time.monotonic() < end:
            found = self.counters()
            newest = self.control("cdrs", last=1)
            number = newest[-1]["id"] if newest else 0
            if not found["journal.acc_backlog"] and not found["journal.binding_backlog"] and not found["calls.calls"] and number == last:
                return
            last = number
            time.sleep(0.8)

    def idle(self, seconds: float = 60.0) -> None:
        """Wait until no transaction and no call is left."""
        names = ("sip.invite_server", "sip.server", "sip.invite_client", "sip.client", "calls.calls", "calls.dialogs")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.counters()
            if not any(found[name] for name in names):
                return
            time.sleep(0.5)


def merged(base: Tree, over: Tree) -> Tree:
    """Both trees, the second one winning."""
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out
