"""The tables, by subject, on one `metadata` (data model 17.2)."""

from ngcpd.store.tables import accounting, billing, features, identity, numbering, packages, preferences, routing, runtime, tenancy
from ngcpd.store.tables._base import metadata

__all__ = ["accounting", "billing", "features", "identity", "metadata", "numbering", "packages", "preferences", "routing", "runtime", "tenancy"]
