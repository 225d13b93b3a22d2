"""secrets.yml."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ngcpd.config import ConfigError, load_or_create
from ngcpd.runtime.fake import SeededRng


def test_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "var" / "secrets.yml"
    old = os.umask(0)
    try:
        first = load_or_create(str(path), SeededRng(1))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len({first.sip_password_key, first.nonce_key, first.web_session_key}) == 3
    assert all(len(k) == 32 for k in (first.sip_password_key, first.nonce_key, first.web_session_key))
    assert load_or_create(str(path), SeededRng(2)) == first
    assert [p.name for p in path.parent.iterdir()] == ["secrets.yml"]


def test_keys_do_not_show_in_a_printed_value(tmp_path: Path) -> None:
    made = load_or_create(str(tmp_path / "s.yml"), SeededRng())
    assert repr(made) == "Secrets(***)" and made.nonce_key.hex() not in f"{made}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_refused_when_others_can_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "s.yml"
    load_or_create(str(path), SeededRng())
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"can be read by others .mode {mode:04o}.; run: chmod 600 {path}"):
        load_or_create(str(path), SeededRng())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("nonce_key", "nonce_kye"), "key nonce_key is missing"),
        (lambda text: "", "key sip_password_key is missing"),
        (lambda text: text.replace("nonce_key: '", "nonce_key: 'zz"), "nonce_key must be 64 hexadecimal digits"),
        (lambda text: text.replace("nonce_key: '", "nonce_key: 'aa"), "nonce_key must be 64 hexadecimal digits"),
        (lambda text: text + "a: [\n", "invalid file syntax"),
        (lambda text: text + "nonce_key: x\n", "given twice"),
    ],
)
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "s.yml"
    load_or_create(str(path), SeededRng())
    damaged = change(path.read_text())  # type: ignore[operator]
    path.write_text(damaged)
    with pytest.raises(ConfigError) as caught:
        load_or_create(str(path), SeededRng())
    assert says in str(caught.value)
    assert path.read_text() == damaged
    for secret in [line.split("'")[1] for line in damaged.splitlines() if "'" in line]:
        assert secret not in str(caught.value)


def test_unusable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make this directory"):
        load_or_create(str(tmp_path / "file" / "s.yml"), SeededRng())
    (tmp_path / "d.yml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_create(str(tmp_path / "d.yml"), SeededRng())
    os.symlink("/nowhere/at/all", tmp_path / "l.yml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_create(str(tmp_path / "l.yml"), SeededRng())


def test_a_file_made_by_somebody_else_meanwhile_counts(tmp_path: Path) -> None:
    path = tmp_path / "s.yml"

    class Slow(SeededRng):
        def token(self, nbytes: int = 8) -> str:
            if not path.exists():
                self.theirs = load_or_create(str(path), SeededRng(7))
            return super().token(nbytes)

    rng = Slow(1)
    assert load_or_create(str(path), rng) == rng.theirs
    assert [p.name for p in tmp_path.iterdir()] == ["s.yml"]
