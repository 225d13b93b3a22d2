"""The tables, by subject, on one `metadata` (data model 17.2)."""

from ngcpd.store.tables import (
    accounting,
    billing,
    devices,
    features,
    identity,
    mail,
    media,
    numbering,
    packages,
    preferences,
    routing,
    runtime,
    special,
    tenancy,
)
from ngcpd.store.tables._base import metadata

__all__ = [
    "accounting",
    "billing",
    "devices",
    "features",
    "identity",
    "mail",
    "media",
    "metadata",
    "numbering",
    "packages",
    "preferences",
    "routing",
    "runtime",
    "special",
    "tenancy",
]
