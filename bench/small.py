"""Memory of registrations and calls, and the start of the daemon."""

from __future__ import annotations

import socket
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.host import Unavailable, address, descendants, resident_bytes, whole_resident_bytes
from bench.ngcpd import Ngcpd
from bench.peers import callee, caller, secret

if TYPE_CHECKING:
    from bench.harness import Bench

# Finished transactions go at once (64*T1 = 1.3 s), and with them the free memory that would hide what is measured here.
BRIEF = {"ngcpd": {"sip": {"t1": 20, "t2": 200, "t4": 200, "linger": 500, "max_transactions": 2_000_000}}}


def names(path: Path, users: int) -> Path:
    """An injection file with every subscriber as caller, callers first."""
    with open(path, "w") as file:
        file.write("SEQUENTIAL\n")
        for name in (make(n) for make in (caller, callee) for n in range(users)):
            file.write(f"{name};{name};[authentication username={name} password={secret(name)}];x\n")
    return path


def memory(bench: Bench) -> None:
    registrations = 4_000 if bench.quick else 100_000
    server = Ngcpd(bench.processes, bench.directory, local=BRIEF, name="ngcpd-memory")
    server.make(registrations // 2)
    users = names(bench.directory / "names.csv", registrations // 2)
    server.start()
    try:
        pids = descendants(server.pid)
        idle = whole_resident_bytes(pids)
        bench.report.add(
            "memory.idle_mb",
            idle / 2**20,
            "MB",
            f"resident, signalling and relay process, embedded store with {registrations} subscribers, nobody registered",
            "none",
        )
        timeout = registrations / 1500 * 2 + 60
        bench.load.run("query", server.target, 1500, registrations, callee="", users=users, timeout=timeout)
        server.idle()
        before = resident_bytes(pids)
        made = bench.load.run("register", server.target, 1500, registrations, callee="", users=users, timeout=timeout)
        server.written(60)
        server.idle()
        found = server.counters()["registrar.bindings"]
        grown = resident_bytes(pids) - before
        bench.note("memory", "registrations", made)
        how = f"growth of anonymous resident memory for {found} registrations of as many subscribers, who were loaded before"
        bench.report.add("memory.registration_bytes", grown / found if found else None, "bytes", how, "none")
        _calls(bench, server, pids)
    finally:
        server.stop()


def _calls(bench: Bench, server: Ngcpd, pids: list[int]) -> None:
    calls = 500 if bench.quick else 5000
    rate = 150 if bench.quick else 200
    bench.register_callees(server)
    bench.load.run("call", server.target, rate, calls // 2)
    server.written()
    server.idle()
    before = resident_bytes(pids)
    seen: dict[str, int] = {}

    def look() -> None:
        """When all are established and the transactions of their set-up are over."""
        end = time.monotonic() + calls / rate + 25
        while time.monotonic() < end:
            found = server.counters()
            if found["calls.calls"] >= calls and not found["sip.server"] and not found["sip.invite_server"] and not found["sip.invite_client"]:
                break
            time.sleep(0.5)
        seen["calls"] = server.counters()["calls.calls"]
        seen["bytes"] = resident_bytes(pids) - before

    made = bench.load.run("longcall", server.target, rate, calls, during=look, timeout=140)
    bench.note("memory", "calls", made)
    count = seen.get("calls", 0)
    how = f"growth of anonymous resident memory, signalling and relay process, for {count} established calls with relayed media"
    if count < 0.9 * calls:
        bench.report.add("memory.call_bytes", None, "bytes", f"only {count} of {calls} calls were established at the same time", "none")
    else:
        bench.report.add("memory.call_bytes", seen["bytes"] / count, "bytes", how, "none")
    server.written()


def start(bench: Bench) -> None:
    server = Ngcpd(bench.processes, bench.directory, name="ngcpd-start")
    server.make(5000)
    found = []
    for _ in range(2 if bench.quick else 5):
        found.append(_until_answered(server))
        server.stop()
    how = f"process start to first OPTIONS answered 200, embedded store with 10,000 subscribers, median of {len(found)}"
    bench.report.add("start.seconds", statistics.median(found), "s", how, "none")


def _until_answered(server: Ngcpd) -> float:
    host, port = server.target.split(":")
    local = address(20)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((local, 0))
        sock.settimeout(0.01)
        mine = f"{local}:{sock.getsockname()[1]}"
        begun = time.monotonic()
        server.launch()
        n = 0
        while time.monotonic() < begun + 60:
            n += 1
            sock.sendto(
                f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {mine};branch=z9hG4bK{n}\r\nMax-Forwards: 9\r\nFrom: <sip:x@{mine}>;tag=1\r\n"
                f"To: <sip:{host}:{port}>\r\nCall-ID: {n}@{mine}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n".encode(),
                (host, int(port)),
            )
            try:
                while True:
                    if sock.recv(4096).startswith(b"SIP/2.0 200"):
                        return time.monotonic() - begun
            except OSError:  # nothing yet, or nobody listens there yet
                time.sleep(0.003)
    raise Unavailable("no answer to OPTIONS within a minute")
