"""A configuration directory for one test."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngcpd.config import ConfigError, Loaded, load

NETWORK = """
hosts:
  self:
    role: [proxy, lb, mgmt]
    interfaces: [lo, eth0]
    eth0: {ip: 198.51.100.10, netmask: 255.255.255.0, type: [sip_ext, rtp_ext, web_ext, web_int]}
    lo: {ip: 127.0.0.1, netmask: 255.0.0.0, type: [sip_int, ha_int]}
"""


class Room:
    """Files by name; `config.yml`, `network.yml` and `constants.yml` are there from the start."""

    def __init__(self, path: Path) -> None:
        self.path = path / "etc"
        self.path.mkdir(exist_ok=True)
        for name, text in (("config.yml", ""), ("network.yml", NETWORK), ("constants.yml", "ngcpd: {state_dir: ./var}\n")):
            self.write(name, text)

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def load(self, hostname: str = "somewhere", **environ: str) -> Loaded:
        return load(str(self.path), environ, hostname)

    def get(self, key: str) -> object:
        return self.load().settings.get(key)

    def problems(self, hostname: str = "somewhere", **environ: str) -> list[str]:
        """The problems as lines, with the directory taken off the names."""
        with pytest.raises(ConfigError) as caught:
            self.load(hostname, **environ)
        return [str(p).removeprefix(f"{self.path}/") for p in caught.value.problems]

    def warnings(self) -> list[str]:
        return [str(p).removeprefix(f"{self.path}/") for p in self.load().warnings]

    def notices(self) -> list[str]:
        return [str(p).removeprefix(f"{self.path}/") for p in self.load().notices]
