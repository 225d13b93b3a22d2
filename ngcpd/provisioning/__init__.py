"""Writes: every change of what the operator owns goes through these functions.

Each is a unit of work `fn(conn, env, ...)` for `Database.run`: it checks everything, raises `ProvisioningError` (nothing is changed then), writes
its change notices in the same transaction and has no other effect.
"""

from ngcpd.provisioning.check import E164
from ngcpd.provisioning.demo import DemoAccount, demo
from ngcpd.provisioning.env import Env, Rules
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.numbers import set_numbers
from ngcpd.provisioning.preferences import list_preferences, set_preference, set_preferences, unset_preference
from ngcpd.provisioning.routing import (
    create_peer_group,
    create_peer_host,
    create_peer_rule,
    create_rewrite_rule,
    create_rewrite_rule_set,
    create_trusted_source,
    delete_rewrite_rule_set,
)
from ngcpd.provisioning.subscribers import (
    Created,
    NewSubscriber,
    create_subscriber,
    create_subscribers,
    get_password,
    set_lock,
    set_password,
    set_status,
    set_web_password,
    terminate_subscriber,
)
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain, create_reseller, delete_domain

__all__ = [
    "E164",
    "Created",
    "DemoAccount",
    "Env",
    "NewSubscriber",
    "ProvisioningError",
    "Rules",
    "create_contact",
    "create_customer",
    "create_domain",
    "create_peer_group",
    "create_peer_host",
    "create_peer_rule",
    "create_reseller",
    "create_rewrite_rule",
    "create_rewrite_rule_set",
    "create_subscriber",
    "create_subscribers",
    "create_trusted_source",
    "delete_domain",
    "delete_rewrite_rule_set",
    "demo",
    "get_password",
    "list_preferences",
    "set_lock",
    "set_numbers",
    "set_password",
    "set_preference",
    "set_preferences",
    "set_status",
    "set_web_password",
    "terminate_subscriber",
    "unset_preference",
]
