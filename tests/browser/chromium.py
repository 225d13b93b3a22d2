"""Headless Chromium, driven over its DevTools pipe (no port, no other program), and the server of the test pages.

Every wait has a deadline; a page that does not answer is an AssertionError.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIBRARY = HERE / "node_modules" / "sip.js" / "lib"
SECONDS = 20.0
START_SECONDS = 30.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-breakpad",
    "--metrics-recording-only",
    "--no-pings",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*, EXCLUDE localhost",  # nothing outside of this machine can be asked for
    "--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter,OptimizationHints,Translate,DialMediaRouteProvider",  # no multicast
    "--allow-loopback-in-peer-connection",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--ignore-certificate-errors",
    "--remote-debugging-pipe",
)


class PageFailed(Exception):
    """What a page threw."""


class Pages(http.server.SimpleHTTPRequestHandler):
    """The pages of this directory, and the library under /sip.js/. Nothing else."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        path = path.partition("?")[0]
        if path.startswith("/sip.js/") and ".." not in path:
            return str(LIBRARY / path.removeprefix("/sip.js/"))
        return str(HERE / {"/": "page.html", "/page.js": "page.js"}.get(path, "missing"))

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextlib.contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[int]:
    """The port the pages are served on."""
    server = http.server.ThreadingHTTPServer((host, 0), functools.partial(Pages))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class Browser:
    """One Chromium with a profile of its own in `directory`."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("chromium")
        assert program, "chromium is not installed; run scripts/setup packages-test"
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._buffer = b""
        self._ids = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self._log = open(directory / "chromium.log", "wb")  # noqa: SIM115 - closed by `close`
        self.log_path = directory / "chromium.log"
        # DevTools reads from descriptor 3 and writes to 4. A process group of its own, so that no child of it can be left.
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "chromium", program, *FLAGS, f"--user-data-dir={directory / 'profile'}"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "HOME": str(directory), "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self.command("Browser.getVersion", seconds=START_SECONDS)

    def command(self, method: str, session: str = "", seconds: float = SECONDS, **params: Any) -> dict[str, Any]:
        """The result of one DevTools command."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            answer = self._read(end, method)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _read(self, end: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no answer to {what}"
            part = os.read(self._from, 1 << 20)
            assert part, f"chromium ended:\n{self.log_path.read_text(errors='replace')[-3000:]}"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(line)

    def page(self, url: str) -> Page:
        """A page in a tab of its own, loaded."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        self.command("Page.navigate", session, url=url)
        page.until("document.readyState === 'complete' && typeof phone === 'object'")
        return page

    def close(self) -> None:
        """End it and every process of it."""
        with contextlib.suppress(AssertionError, OSError):
            self.command("Browser.close", seconds=5.0)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            for descriptor in (self._to, self._from):
                os.close(descriptor)
            self._log.close()


class Page:
    """One tab."""

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self.browser = browser
        self.target = target
        self.session = session

    def run(self, expression: str, seconds: float = SECONDS) -> Any:
        """The value of a JavaScript expression, awaited when it is a promise. Raises PageFailed."""
        found = self.browser.command(
            "Runtime.evaluate", self.session, seconds, expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in found:
            details = found["exceptionDetails"]
            raise PageFailed(details.get("exception", {}).get("description") or details["text"])
        return found["result"].get("value")

    def call(self, name: str, *args: Any, seconds: float = SECONDS) -> Any:
        """`phone.name(...)`."""
        return self.run(f"phone.{name}({', '.join(json.dumps(a) for a in args)})", seconds)

    def begin(self, name: str, *args: Any) -> None:
        """`phone.name(...)` without waiting; `finish` waits."""
        self.run(f"window.pending = phone.{name}({', '.join(json.dumps(a) for a in args)}); window.pending.catch(() => 0); 0")

    def finish(self) -> Any:
        return self.run("window.pending")

    def until(self, expression: str, seconds: float = SECONDS) -> Any:
        """Ask until the value is true."""
        end = time.monotonic() + seconds
        while True:
            found = self.run(expression)
            if found:
                return found
            assert time.monotonic() < end, f"not within {seconds} s: {expression}; {self.run('window.phone && JSON.stringify(phone.state())')}"
            time.sleep(0.02)

    def state(self) -> dict[str, Any]:
        return self.call("state")

    def close(self) -> None:
        """Close the tab, as a user would."""
        self.browser.command("Target.closeTarget", targetId=self.target)
