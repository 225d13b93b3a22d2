"""All declared resources."""

from __future__ import annotations

from ngcpd.provisioning.resource import Registry
from ngcpd.provisioning.resources import admins, contacts, contracts, domains, subscribers

MODULES = (admins, contacts, contracts, domains, subscribers)


def standard() -> Registry:
    """The resources of the product."""
    return Registry([resource for module in MODULES for resource in module.RESOURCES])
