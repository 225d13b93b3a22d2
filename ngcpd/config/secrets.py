"""secrets.yml: the keys of this installation. Made at the first start, readable by its owner only, part of every backup."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path

from ngcpd.config.problems import ConfigError, Mark, Problem, Report
from ngcpd.config.tree import Map, Scalar
from ngcpd.config.yamlfile import parse, read_plain
from ngcpd.runtime.ports import Rng

KEY_BYTES = 32
_HEADER = """# Keys of this installation, made at the first start. Keep a copy with every backup of the database:
# without sip_password_key the stored SIP passwords cannot be read again. Never show this file to anybody.
"""


@dataclass(frozen=True, repr=False)
class Secrets:
    """Keys of 32 bytes: reversible encryption of SIP passwords, HMAC of digest nonces, HMAC of web sessions."""

    sip_password_key: bytes
    nonce_key: bytes
    web_session_key: bytes

    def __repr__(self) -> str:
        return "Secrets(***)"


_NAMES = tuple(f.name for f in fields(Secrets))


def ensure_directory(path: str) -> None:
    """Make a directory of the daemon's own (0700) when it is missing. ConfigError when that is impossible."""
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError([Problem(Mark(path), f"cannot make this directory: {error.strerror}")]) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigError([Problem(Mark(path), "this directory is not writable for the user the daemon runs as")])


def load_or_create(path: str, rng: Rng) -> Secrets:
    """The keys in the file, made first when there is none. Raises ConfigError, also when others can read the file."""
    if not os.path.lexists(path):
        ensure_directory(str(Path(path).parent))
        _create(path, rng)
    return _load(path)


def _create(path: str, rng: Rng) -> None:
    """Write the file whole and under its name at once; a file that somebody else made meanwhile stays."""
    text = _HEADER + "".join(f"{name}: '{rng.bytes(KEY_BYTES).hex()}'\n" for name in _NAMES)
    temporary = f"{path}.{os.getpid()}.{rng.token(4)}.tmp"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return
        finally:
            os.unlink(temporary)
        directory = os.open(str(Path(path).parent), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise ConfigError([Problem(Mark(path), f"cannot be made: {error.strerror}")]) from error


def _load(path: str) -> Secrets:
    report = Report()
    whole = Mark(path)

    def private(found: os.stat_result) -> None:
        if found.st_mode & 0o077:
            raise ConfigError([Problem(whole, f"can be read by others (mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 600 {path}")])

    try:
        data = read_plain(path, private)
    except OSError as error:
        raise ConfigError([Problem(whole, f"cannot be read: {error.strerror}")]) from error
    tree = parse(data, path, report)
    report.check()
    values: dict[str, bytes] = {}
    for name in _NAMES:
        node = (tree or Map({}, whole)).items.get(name)
        if node is None:
            report.error(whole, f"key {name} is missing; take the file from a backup (a new key cannot read what the old one wrote)")
            continue
        try:
            value = bytes.fromhex(node.value or "") if isinstance(node, Scalar) else b""
        except ValueError:
            value = b""
        if len(value) != KEY_BYTES:
            report.error(node.mark, f"{name} must be {2 * KEY_BYTES} hexadecimal digits")
        values[name] = value
    report.check()
    return Secrets(**values)
