"""`make fuzz MINUTES=n`: the coverage-guided fuzzers in turn and the barrage on the simulated daemon, and generated requests
to the REST interface of a real one, each for its share of the time.

    python -m fuzz.run MINUTES [TARGET...]

Corpora grow in var/fuzz/corpus. An input at fault is saved to tests/hostile/regressions, where the tests replay it. Prints a table; exit
status 1 when there was a finding.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import requests

from fuzz import rest, seeds
from fuzz.targets import TARGETS
from tests.hostile.regression import save
from tests.servers.daemon import running

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "fuzz"
BARRAGE = "calls"
PREFIXES = "prefixes"
REST = "rest"
SHARES = {"message": 3, "stream": 1, "sdp": 2, "digest": 1, "uri": 1, BARRAGE: 4, REST: 2, PREFIXES: 0}
MAX_LENGTH = 8192
RSS_MB = 1024


class Outcome(NamedTuple):
    """What became of one target."""

    target: str
    executions: int
    seconds: float
    corpus: int
    rss_mb: int
    findings: list[str]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def guided(target: str, seconds: float) -> Outcome:
    """Run one atheris harness."""
    corpus = STATE / "corpus" / target
    seeds.write(target, corpus)
    with tempfile.TemporaryDirectory() as artifacts:
        options = [
            f"-max_total_time={max(1, int(seconds))}",
            f"-max_len={MAX_LENGTH}",
            f"-rss_limit_mb={RSS_MB}",
            "-timeout=10",
            "-print_final_stats=1",
        ]
        command = [sys.executable, "-m", "fuzz.harness", target, f"-artifact_prefix={artifacts}/", *options, str(corpus)]
        begun = time.monotonic()
        with (STATE / f"{target}.log").open("w+b") as log:
            status = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds + 300).returncode
            log.seek(0)
            output = log.read().decode("utf-8", "replace")
        saved = [
            str(save(target, path.read_bytes()).relative_to(ROOT)) for path in sorted(Path(artifacts).iterdir()) if path.stat().st_size <= 1 << 17
        ]
    if status and not saved:
        saved = [f"exit status {status}, see {STATE / f'{target}.log'}"]
    if saved:
        say(output[-3000:])
    numbers = dict(re.findall(r"stat::(\w+):\s+(\d+)", output))
    executions = int(numbers.get("number_of_executed_units", 0)) or max((int(n) for n in re.findall(r"(?m)^#(\d+)", output)), default=0)
    return Outcome(target, executions, time.monotonic() - begun, len(list(corpus.iterdir())), int(numbers.get("peak_rss_mb", 0)), saved)


def barrage(seconds: float) -> Outcome:
    """Run the generated cases against the simulated daemon."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fuzz.barrage", str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds + 600
    )
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        figures = json.loads(lines[-1])
    except (IndexError, ValueError):
        return Outcome(BARRAGE, 0, time.monotonic() - begun, 0, 0, [f"exit status {done.returncode}: {lines[-3:]}"])
    for line in lines[:-1]:
        say(line)
    findings = [line for line in lines if line.startswith("FINDING")]
    return Outcome(BARRAGE, figures["executions"], time.monotonic() - begun, 0, 0, findings)


def prefixes() -> Outcome:
    """Every beginning of every message of the corpus; takes as long as it takes (a minute or two)."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "tests/hostile/test_prefixes.py"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "NGCPD_PREFIXES": "all"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        say(output[-3000:])
    passed = re.search(r"(\d+) passed", output)
    return Outcome(PREFIXES, int(passed.group(1)) if passed else 0, time.monotonic() - begun, 0, 0, ["see above"] if done.returncode else [])


def interface(seconds: float) -> Outcome:
    """Generated requests against the REST interface of a real daemon; the seed is another one each time."""
    begun, number = time.monotonic(), int(time.time())
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as daemon:
        base, certificate = f"https://{daemon.ip}:1443", str(daemon.directory / "var/web.crt")
        login = ("administrator", "administrator")
        with requests.Session() as session:
            session.trust_env = False
            document = session.get(f"{base}/api/openapi.json", auth=login, verify=certificate, timeout=20).json()
        result = rest.examine(document, base, login, certificate, seconds=seconds, number=number)
    for key, text in result.faults.items():
        say(f"{key} (seed {number})\n{text}")
    return Outcome(REST, result.requests, time.monotonic() - begun, 0, 0, list(result.faults))


def main(argv: list[str]) -> int:
    minutes = float(argv[0]) if argv else 10.0
    wanted = argv[1:] or list(SHARES)
    unknown = [name for name in wanted if name not in SHARES]
    if unknown:
        sys.stderr.write(f"no such target: {', '.join(unknown)}; there are {', '.join(SHARES)}\n")
        return 2
    STATE.mkdir(parents=True, exist_ok=True)
    total = sum(SHARES[name] for name in wanted) or 1
    outcomes = []
    for name in wanted:
        seconds = minutes * 60 * SHARES[name] / total
        say(f"{name}: {seconds:.0f} s")
        outcomes.append(
            guided(name, seconds)
            if name in TARGETS
            else barrage(seconds)
            if name == BARRAGE
            else interface(seconds)
            if name == REST
            else prefixes()
        )
    say(f"\n{'target':<10}{'executions':>12}{'seconds':>9}{'corpus':>8}{'RSS MB':>8}  findings")
    for o in outcomes:
        say(f"{o.target:<10}{o.executions:>12}{o.seconds:>9.0f}{o.corpus or '':>8}{o.rss_mb or '':>8}  {len(o.findings)}")
    for o in outcomes:
        for finding in o.findings:
            say(f"{o.target}: {finding[:300]}")
    return 1 if any(o.findings for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
