"""Compiles the hot rooms with mypyc into build/compiled, one extension module for each source.

    python scripts/compile.py            build it (nothing is done when it is up to date)
    python scripts/compile.py --check    say whether it is up to date (exit status 1: it is not)
    NGCPD_COMPILED=build/compiled ...    use it

The source tree stays as it is. Needs mypy (requirements/test.txt), setuptools, gcc and Python's headers.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "compiled"
WORK = ROOT / "build" / "compiling"
STAMP = TARGET / "sources.sha256"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
ROOMS = ("sip", "calls", "routing", "edge", "registrar", "media")
# Modules that stay Python, and why.
PURE: dict[str, str] = {
    "ngcpd/media/__init__.py": "loads its names on first use by a module __getattr__",
    "ngcpd/media/process.py": "run with -m, which needs a source",
    "ngcpd/media/wire.py": "msgspec has to make the classes of its records",
    "ngcpd/registrar/sharing.py": "as media/wire.py",
}


def hot() -> list[str]:
    """The modules to compile, as paths from the root."""
    found = [path.relative_to(ROOT).as_posix() for room in ROOMS for path in sorted((ROOT / "ngcpd" / room).rglob("*.py"))]
    return [path for path in found if path not in PURE and (ROOT / path).read_text().strip()]


def fingerprint() -> str:
    """What the build depends on: the text of every compiled module and of this script, and the interpreter."""
    digest = hashlib.sha256(f"{sys.version}{SUFFIX}".encode())
    for path in [*hot(), "scripts/compile.py"]:
        digest.update(path.encode() + b"\0" + (ROOT / path).read_bytes() + b"\0")
    return digest.hexdigest()


def fresh() -> bool:
    return STAMP.exists() and STAMP.read_text() == fingerprint()


def build() -> None:
    from mypyc.build import mypycify
    from setuptools import setup

    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir(parents=True)
    WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    sources = fingerprint()
    made = mypycify(hot(), opt_level="2", debug_level="0", multi_file=True, target_dir=str(WORK), group_name="ngcpd_hot")
    arguments = ["-q", "build_ext", "--build-lib", str(TARGET), "--build-temp", str(WORK)]
    setup(name="ngcpd_hot", packages=[], py_modules=[], ext_modules=made, script_args=arguments)
    STAMP.write_text(sources)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compiles the hot rooms with mypyc into build/compiled.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    options = parser.parse_args()
    if fresh():
        print(f"{TARGET.relative_to(ROOT)} is up to date")
        return 0
    if options.check:
        print(f"{TARGET.relative_to(ROOT)} is not up to date (make compiled)")
        return 1
    print(f"compiling {len(hot())} modules of {', '.join(ROOMS)}; this takes some minutes", flush=True)
    build()
    return 0


if __name__ == "__main__":
    sys.exit(main())
