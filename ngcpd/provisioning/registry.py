"""All declared resources."""

from __future__ import annotations

from ngcpd.provisioning.resource import Registry
from ngcpd.provisioning.resources import (
    admins,
    applyrewrites,
    balances,
    billing,
    callforwards,
    calllists,
    calls,
    contacts,
    contracts,
    costs,
    devicefiles,
    devicemodels,
    devices,
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
    special,
    subscribers,
    templates,
    topups,
    voicemails,
    vouchers,
)

MODULES = (
    admins,
    applyrewrites,
    balances,
    billing,
    callforwards,
    calllists,
    calls,
    contacts,
    contracts,
    costs,
    devicefiles,
    devicemodels,
    devices,
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
    special,
    subscribers,
    templates,
    topups,
    voicemails,
    vouchers,
)


def standard() -> Registry:
    """The resources of the product."""
    return Registry([resource for module in MODULES for resource in module.RESOURCES])
