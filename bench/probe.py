"""The daemon with a watch on its reactor: `python -m bench.probe --config-dir DIR`, NGCPD_BENCH_PROBE names the file for the result.

Every 20 ms a timer is set and it is noted how much too late it came. At SIGUSR1 the list begins anew, at the end it is written as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from ngcpd.cli import exit as exits
from ngcpd.cli import ngcpd as starter

STEP = 0.02


class Probe:
    def __init__(self) -> None:
        self.late: list[float] = []
        self.due = 0.0

    def start(self) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: self.late.clear())
        self.set()

    def set(self) -> None:
        self.due = time.monotonic() + STEP
        exits.reactor().callLater(STEP, self.tick)

    def tick(self) -> None:
        self.late.append(time.monotonic() - self.due)
        self.set()


def main() -> int:
    probe = Probe()
    begin = starter._hang_up_stops

    def running() -> None:
        begin()
        probe.start()

    starter._hang_up_stops = running
    status = starter.main(sys.argv[1:])
    with open(os.environ["NGCPD_BENCH_PROBE"], "w") as file:
        json.dump(sorted(probe.late), file)
    return status


if __name__ == "__main__":
    sys.exit(main())
