"""Holds the rule "passed in, never imported" (docs/architecture.md): time, randomness, sockets, threads and the reactor reach logic only
through ngcpd.runtime.ports. Prints each breach as file:line: what, and exits 1 when there is one."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Whole modules that are the implementation of what is passed in, or run before or outside of the reactor.
EXEMPT = {
    "ngcpd/runtime/real.py": "the real clock, randomness, network, disk and threads",
    "ngcpd/runtime/real_net.py": "the socket half of the real network",
    "ngcpd/runtime/real_dns.py": "the real resolver",
    "ngcpd/runtime/fake.py": "the seeded ones",
    "ngcpd/runtime/simnet.py": "the simulated network",
}
EXEMPT_DIRS = {"ngcpd/cli/": "command line: runs before or outside of the reactor"}
# Module -> names it may use all the same, with the reason kept beside the rule.
ALLOWED: dict[str, set[str]] = {
    "ngcpd/media/process.py": {"socket", "os", "time", "select"},  # the relay process: own loop, no reactor
    "ngcpd/media/child.py": {"socket", "os", "subprocess"},  # starts the relay process
    "ngcpd/media/sockets.py": {"socket", "select", "resource"},  # socket factory of the relay process
    "ngcpd/store/kv_redis.py": {"reactor"},  # txredisapi touches the reactor at import
    "ngcpd/ops/control.py": {"socket", "os"},  # peer credentials of the control socket
    "ngcpd/config/secrets.py": {"os"},
    "ngcpd/app/service.py": {"reactor", "os"},  # the one place that takes the process's reactor
}
BANNED_MODULES = {"time", "random", "secrets", "uuid", "socket", "threading", "select", "subprocess", "multiprocessing"}
BANNED_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("func", "now"),
    ("func", "current_timestamp"),
    ("os", "urandom"),
    ("os", "getrandom"),
}
BANNED_WORDS = ("CURRENT_TIMESTAMP", "onupdate")
# `socket` is allowed for its constants and address helpers only.
SOCKET_OK = {"AF_INET", "AF_INET6", "inet_pton", "inet_ntop", "inet_aton", "error", "gaierror"}


def check(path: Path) -> list[str]:
    rel = path.relative_to(ROOT).as_posix()
    if rel in EXEMPT or any(rel.startswith(d) for d in EXEMPT_DIRS):
        return []
    allowed = ALLOWED.get(rel, set())
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text, rel)
    found: list[tuple[int, str]] = []
    imports_socket = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name.split(".")[0]
                if name == "socket" and "socket" not in allowed:
                    imports_socket = True
                elif name in BANNED_MODULES and name not in allowed:
                    found.append((node.lineno, f"import of {name}"))
        elif isinstance(node, ast.ImportFrom) and node.module:
            name = node.module.split(".")[0]
            if name == "socket":
                bad = [a.name for a in node.names if a.name not in SOCKET_OK]
                if bad and "socket" not in allowed:
                    found.append((node.lineno, f"import of socket.{bad[0]}"))
            elif name in BANNED_MODULES and name not in allowed:
                found.append((node.lineno, f"import from {name}"))
            if node.module == "twisted.internet" and any(a.name == "reactor" for a in node.names) and "reactor" not in allowed:
                found.append((node.lineno, "import of the reactor"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            owner_name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if (owner_name, node.func.attr) in BANNED_CALLS and "os" not in allowed:
                found.append((node.lineno, f"call of {owner_name}.{node.func.attr}"))
        elif isinstance(node, ast.keyword) and node.arg == "onupdate":
            found.append((node.lineno if hasattr(node, "lineno") else 0, "onupdate"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "CURRENT_TIMESTAMP" in node.value and len(node.value) < 60:
            found.append((node.lineno, "CURRENT_TIMESTAMP"))
        if not imports_socket or not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name) and node.value.id == "socket" and node.attr not in SOCKET_OK:
            found.append((node.lineno, f"use of socket.{node.attr}"))
    return [f"{rel}:{line}: {what}; it is passed in (ngcpd.runtime.ports)" for line, what in sorted(set(found))]


def main() -> int:
    breaches = [b for p in sorted((ROOT / "ngcpd").rglob("*.py")) for b in check(p)]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
