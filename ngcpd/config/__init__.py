"""Configuration: the YAML files of a directory -> one typed, frozen `Settings` and this `Node`. See docs/settings.md for every key.

loaded = load(None, os.environ, None)
loaded.settings.kamailio.lb.port, loaded.settings.get("asterisk.sip.bindport"), loaded.node.addresses("sip_ext")
"""

from __future__ import annotations

from ngcpd.config.listeners import SipListener, sip_listeners
from ngcpd.config.loader import Loaded, find_directory, load, scan_conflicts, system_hostname
from ngcpd.config.node import Bound, Interface, Node
from ngcpd.config.problems import ConfigError, Mark, Problem
from ngcpd.config.secrets import Secrets, ensure_directory, load_or_create
from ngcpd.config.settings import Paths, Reject, Settings
from ngcpd.config.types import SocketAddress

__all__ = [
    "Bound",
    "ConfigError",
    "Interface",
    "Loaded",
    "Mark",
    "Node",
    "Paths",
    "Problem",
    "Reject",
    "Secrets",
    "Settings",
    "SipListener",
    "SocketAddress",
    "ensure_directory",
    "find_directory",
    "load",
    "load_or_create",
    "scan_conflicts",
    "sip_listeners",
    "system_hostname",
]
