"""One coverage-guided fuzzer: `python -m fuzz.harness TARGET [libFuzzer options] CORPUS...`. `fuzz.run` starts it."""

from __future__ import annotations

import sys
import time

import atheris

with atheris.instrument_imports(include=["ngcpd"]):
    from fuzz.targets import TARGETS

LIMIT = 0.25  # seconds of CPU; the instrumented code is several times slower than what 50 ms are promised for


class TooSlow(Exception):
    """An input took too long three times."""


def main() -> None:
    target = TARGETS[sys.argv[1]]

    def one(data: bytes) -> None:
        begun = time.process_time()
        target(data)
        if time.process_time() - begun < LIMIT:
            return
        for _ in range(2):
            begun = time.process_time()
            target(data)
            if time.process_time() - begun < LIMIT:
                return
        raise TooSlow(f"{len(data)} octets took more than {LIMIT} s")

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
