"""Telephones in web pages: two pages in headless Chromium with a SIP library call each other over WebSocket, media untouched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import LIBRARY, Browser, Page, serving
from tests.runtime.certificates import make_certificate
from tests.servers.daemon import DOMAIN, DaemonProcess, free_network, password, running, until

pytestmark = pytest.mark.peer
A, B, C = 1002, 1003, 1004
PORTS = {"ws": 8088, "wss": 8443}  # browsers refuse to talk to ports 5060 and 5061


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that takes pages of 127.0.0.1 only."""
    directory = tmp_path_factory.mktemp("daemon")
    made = make_certificate(directory)
    network = free_network()
    lb = {
        "tls": {"enable": "yes", "sslcertfile": made.certificate, "sslcertkeyfile": made.key},
        "extra_sockets": {"web": f"tcp:{network}.1:{PORTS['ws']}", "webs": f"tls:{network}.1:{PORTS['wss']}"},
    }
    with running(directory, {"kamailio": {"lb": lb}, "ngcpd": {"sip": {"ws_origins": ["127.0.0.1"]}}}, network=network) as serves:
        serves.domain()
        serves.add(A, B, C)
        for n in (A, B):
            serves.prefer(n, use_rtpproxy="never")
        yield serves


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert LIBRARY.is_dir(), "the page's SIP library is not installed; run scripts/setup packages-test"
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def pages(browser: Browser, url: str) -> Iterator[list[Page]]:
    made = [browser.page(url) for _ in range(2)]
    yield made
    for page in made:
        page.close()


def server(daemon: DaemonProcess, kind: str) -> str:
    return f"{kind}://{daemon.ip}:{PORTS[kind]}/ws"


def register(daemon: DaemonProcess, page: Page, n: int, kind: str) -> dict[str, Any]:
    """The binding."""
    page.call("start", server(daemon, kind), f"testuser{n}", DOMAIN, password(n))
    assert page.call("register") == "Registered"
    (binding,) = daemon.registrations(n)
    return binding


def establish(caller: Page, callee: Page, n: int) -> None:
    caller.begin("call", f"testuser{n}")
    callee.until("phone.state().incoming")
    assert callee.call("answer") == "Established"
    assert caller.finish() == "Established"


def hears(page: Page) -> None:
    """Audio comes in, now."""
    before = page.call("heard")
    page.until(f"phone.heard().then((bytes) => bytes > {before} + 1000)")


def acknowledged(page: Page, n: int) -> None:
    """The n-th ACK has come: the page may send a re-INVITE of its own."""
    page.until(f"phone.seen.received.filter((m) => m.startsWith('ACK ')).length >= {n}")


def ended(*pages: Page) -> None:
    for page in pages:
        page.until("phone.state().session === 'Terminated'")


def right(daemon: DaemonProcess, source: int, destination: int) -> None:
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_status"], cdr["call_code"]) == ("ok", "200") and float(cdr["duration"]) > 0
    assert (cdr["source"], cdr["destination"]) == (f"testuser{source}@{DOMAIN}", f"testuser{destination}@{DOMAIN}")
    assert cdr["source_ip"].startswith("127.")


@pytest.mark.parametrize("kind", ["ws", "wss"])
def test_two_pages_call_each_other(daemon: DaemonProcess, pages: list[Page], kind: str) -> None:
    a, b = pages
    for n, page in ((A, a), (B, b)):
        binding = register(daemon, page, n, kind)
        assert binding["transport"] == kind and binding["socket"].startswith(f"{kind}:{daemon.ip}:") and ".invalid" in binding["contact"]
    daemon.skip_cdrs()

    establish(a, b, B)
    hears(a)
    hears(b)
    assert a.call("reinvite", True) == 200, "held by the caller"
    assert b.state()["reinvites"] == 1
    acknowledged(b, 2)
    assert a.call("reinvite", False) == 200
    acknowledged(b, 3)
    assert b.call("reinvite", False) == 200, "by the callee"
    assert (a.state()["reinvites"], b.state()["reinvites"]) == (1, 2)
    acknowledged(a, 1)
    hears(a)
    hears(b)
    assert a.call("bye") == 200
    ended(a, b)
    assert (a.state()["byes"], b.state()["byes"]) == (0, 1)
    right(daemon, A, B)
    untouched(a, b, daemon)

    a.run("phone.incoming = null")
    b.run("phone.incoming = null")
    establish(b, a, A)
    hears(a)
    hears(b)
    assert a.call("bye") == 200, "the callee hangs up"
    ended(a, b)
    assert (a.state()["byes"], b.state()["byes"]) == (0, 2)
    right(daemon, B, A)

    assert a.call("unregister") == "Unregistered" and daemon.registrations(A) == []


def untouched(a: Page, b: Page, daemon: DaemonProcess) -> None:
    """The session description of the first call is the page's own, and what is around it ours."""
    sent = next(m for m in a.state()["sent"] if m.startswith("INVITE") and "Proxy-Authorization" in m)
    came = next(m for m in b.state()["received"] if m.startswith("INVITE"))
    assert came.partition("\r\n\r\n")[2] == sent.partition("\r\n\r\n")[2] != "" and "UDP/TLS/RTP/SAVPF" in came
    host = f"{daemon.ip}:"
    vias = [line for line in came.split("\r\n") if line.lower().startswith("via:")]
    assert len(vias) == 1 and host in vias[0] and vias[0].split()[1] in ("SIP/2.0/WS", "SIP/2.0/WSS")


def test_a_page_that_is_closed_is_not_registered_any_more(daemon: DaemonProcess, browser: Browser, url: str) -> None:
    page = browser.page(url)
    register(daemon, page, C, "ws")
    page.close()
    until(lambda: daemon.registrations(C) == [], 1.0)


def test_a_call_to_a_page_that_is_closed_while_it_rings(daemon: DaemonProcess, pages: list[Page], browser: Browser, url: str) -> None:
    a, c = pages[0], browser.page(url)
    register(daemon, a, A, "ws")
    register(daemon, c, C, "ws")
    daemon.skip_cdrs()
    a.begin("call", f"testuser{C}")
    c.until("phone.state().incoming")
    c.close()
    ended(a)
    assert a.state()["rejected"] and a.state()["rejected"][0] >= 400
    (cdr,) = daemon.new_cdrs(1)
    assert cdr["call_status"] != "ok"


def test_wrong_password(daemon: DaemonProcess, pages: list[Page]) -> None:
    page = pages[0]
    page.call("start", server(daemon, "ws"), f"testuser{A}", DOMAIN, "wrong")
    page.run("phone.register().catch(() => 0); 0")
    page.until("phone.seen.received.filter((m) => m.startsWith('SIP/2.0 401')).length === 2")
    assert daemon.registrations(A) == []


def test_what_the_browser_is_told(daemon: DaemonProcess, browser: Browser, url: str, pages: list[Page]) -> None:
    """Pages of another origin, and without the subprotocol, do not get in; too large a message ends the connection with its code."""
    page = pages[0]
    knock = "knock({!r}, {!r})"
    assert page.run(knock.format(server(daemon, "ws"), "sip")) == "open"
    assert page.run(knock.format(server(daemon, "wss"), "sip")) == "open"
    assert page.run(knock.format(server(daemon, "ws"), "xmpp")) == 1006
    assert page.run(knock.format(server(daemon, "ws") + "/other", "sip")) == 1006
    assert page.run(f"shout({server(daemon, 'ws')!r}, 70000)") == 1009
    stranger = browser.page(url.replace("127.0.0.1", "localhost"))
    assert stranger.run(knock.format(server(daemon, "ws"), "sip")) == 1006
    stranger.close()
