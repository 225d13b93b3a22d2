"""`make run`: prepares the demo on the first start, says how to use it, then is the daemon in the foreground."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ngcpd import __version__
from ngcpd.cli import exit as exits
from ngcpd.config import ConfigError, Loaded, ensure_directory, load, sip_listeners
from ngcpd.config.secrets import load_or_create
from ngcpd.provisioning.demo import DemoAccount, demo
from ngcpd.provisioning.env import Env
from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.runtime.real import SystemRng
from ngcpd.store import migrations
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.errors import StoreError
from ngcpd.store.seed import seed

TONES = {"alice": 440, "bob": 880}
PORTS = {"alice": 5082, "bob": 5084}  # baresip takes the next port too, for TLS


def prepare(loaded: Loaded) -> list[DemoAccount]:
    """Make store and demo if they are not there yet; the demo's subscribers as they are now. Raises StoreError, ConfigError."""
    paths = loaded.settings.paths
    ensure_directory(paths.state_dir)
    rng = SystemRng()
    secrets = load_or_create(paths.secrets_file, rng)
    clock = SimClock(time.time())  # no reactor runs yet: a clock that stands still is enough for time stamps
    env = Env(clock, rng, Vault(secrets.sip_password_key, rng), Argon(rng))
    database = Database(paths.database_url, InlineExecutor(), clock, pool_size=1)
    try:
        database.lock()
        migrations.upgrade(database.engine.url)
        database.check_here()
        database.run_here(seed, rng, env.vault, env.argon)
        return database.run_here(demo, env)
    finally:
        database.close()


def phone_files(directory: Path, account: DemoAccount, server: str, local: str) -> None:
    """A baresip configuration that needs no sound card: it sends a tone and records what it says (dump-*-enc.wav) and hears
    (dump-*-dec.wav)."""
    name = account.username
    directory.mkdir(parents=True, exist_ok=True)
    host = f"[{local}]" if ":" in local else local
    lines = [
        "poll_method epoll",
        f"sip_listen {host}:{PORTS[name]}",
        "call_max_calls 4",
        "module_path /usr/lib/baresip/modules",
        "module stdio.so",
        "module g711.so",
        "module ausine.so",
        "module sndfile.so",
        "module_tmp account.so",
        "module_app menu.so",
        f"audio_source ausine,{TONES[name]}",
        f"snd_path {directory.resolve()}",
        "ausrc_srate 48000",
        "auplay_srate 8000",
        "ausrc_channels 2",
        "auplay_channels 1",
    ]
    (directory / "config").write_text("\n".join(lines) + "\n")
    answer = ";answermode=auto" if name == "bob" else ""
    entry = f'<sip:{name}@{account.domain}>;auth_pass={account.password};outbound="sip:{server}";regint=600{answer};audio_codecs=pcma\n'
    path = directory / "accounts"
    path.touch(mode=0o600)
    path.write_text(entry)
    (directory / "contacts").touch()


def rest(loaded: Loaded) -> list[str]:
    """Where the REST interface answers."""
    if not loaded.node.has_role("mgmt"):
        return []
    port = loaded.settings.get("www_admin.http_admin.port")
    hosts = [f"[{b.address}]" if b.family == 6 else b.address for b in loaded.node.addresses("web_int")]
    return [f"https://{host}:{port}/api/" for host in hosts]


def guide(loaded: Loaded, accounts: list[DemoAccount]) -> str:
    """What is printed before the daemon starts."""
    state = loaded.settings.paths.state_dir
    listeners = sip_listeners(loaded.settings, loaded.node)
    first = next((s for s in listeners if s.transport == "udp"), None)
    server = "-" if first is None else f"[{first.address}]:{first.port}" if ":" in first.address else f"{first.address}:{first.port}"
    local = first.address if first is not None else "127.0.0.1"
    rtp = loaded.settings.rtpproxy
    media = ", ".join(b.address for b in loaded.node.addresses("rtp_ext"))
    phones = Path(state) / "phones"
    for account in accounts:
        phone_files(phones / account.username, account, server, local)
    width = max((len(f"{a.username}@{a.domain}") for a in accounts), default=10)
    tool = Path(sys.executable).parent / "ngcpctl"
    shown = os.path.relpath(phones)
    lines = [
        f"ngcpd {__version__}, node {loaded.node.name}. Data is kept in {state}",
        "",
        f"  SIP      {', '.join(str(s) for s in listeners)}",
        *(f"  REST     {url}  login administrator / administrator" for url in rest(loaded)),
        f"  Media    RTP on {media}, ports {rtp.minport}-{rtp.maxport}",
        "  Domain   demo.test (phones reach it with the SIP address above as outbound proxy)",
        "",
        f"  {'Login':<{width}}  {'Password':<18}Numbers",
        *(f"  {f'{a.username}@{a.domain}':<{width}}  {a.password:<18}{', '.join(a.numbers)}" for a in accounts),
        "",
        "A first call with two phones that need no sound card; each in a terminal of its own, in this directory:",
        "",
        "  sudo apt-get install -y --no-install-recommends baresip-core",
        f"  baresip -f {shown}/bob",
        f"  baresip -f {shown}/alice -e '/dial {next((a.numbers[0] for a in accounts if a.username == 'bob'), 'bob')}'",
        "",
        f"Bob answers by himself. End the call with b and the phones with q; what each heard is in {shown}/*/dump-*-dec.wav.",
        f"  {os.path.relpath(tool)} registrations | calls | cdrs | call trace CALLID | --help",
        "",
        "Ctrl-C here stops the daemon.",
        "",
    ]
    return "\n".join(lines)


@contextmanager
def alone_on_terminal() -> Iterator[None]:
    """Ctrl-C reaches this process only, not the `make` that started it, which would report an interrupt where the daemon stops in good order."""
    try:
        before = os.tcgetpgrp(0)
    except OSError:  # no terminal
        yield
        return
    old = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        if before == os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgrp())
        yield
    finally:
        try:
            os.tcsetpgrp(0, before)
        except OSError:
            pass  # the terminal is gone
        signal.signal(signal.SIGTTOU, old)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="make run", description="Start the daemon in the foreground with a demo domain and two subscribers, and say how to call with two phones."
    )
    p.add_argument("-c", "--config-dir", metavar="DIR", help="directory of the configuration; default as for ngcpd")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status as `ngcpd`."""
    from ngcpd.cli.ngcpd import main as daemon
    from ngcpd.cli.tap import report

    options = parser().parse_args(argv)
    try:
        os.umask(0o077)
        loaded = load(options.config_dir)
        print(guide(loaded, prepare(loaded)), flush=True)
    except ConfigError as error:
        report(error)
        return exits.CONFIG
    except (StoreError, OSError) as error:
        exits.say(f"cannot start: {error}")
        return exits.FAILED
    with alone_on_terminal():
        return daemon(["--config-dir", loaded.directory])


if __name__ == "__main__":
    sys.exit(main())
