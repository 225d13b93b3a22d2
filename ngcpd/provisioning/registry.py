"""All declared resources."""

from __future__ import annotations

from ngcpd.provisioning.resource import Registry
from ngcpd.provisioning.resources import (
    admins,
    billing,
    callforwards,
    calllists,
    calls,
    contacts,
    contracts,
    domains,
    fax,
    faxes,
    features,
    networks,
    numbering,
    packages,
    peering,
    preferences,
    profiles,
    registrations,
    rewrite,
    sounds,
    subscribers,
    templates,
    voicemails,
)

MODULES = (
    admins,
    billing,
    callforwards,
    calllists,
    calls,
    contacts,
    contracts,
    domains,
    fax,
    faxes,
    features,
    networks,
    numbering,
    packages,
    peering,
    preferences,
    profiles,
    registrations,
    rewrite,
    sounds,
    subscribers,
    templates,
    voicemails,
)


def standard() -> Registry:
    """The resources of the product."""
    return Registry([resource for module in MODULES for resource in module.RESOURCES])
