"""The mail to a new subscriber (REST API 2.4, invoices and e-mails 8.2): to its own address, else to that of its customer's contact, when the
customer has a mail template for it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ngcpd.mail.queue import put
from ngcpd.provisioning.env import Env
from ngcpd.store.tables.billing import email_template
from ngcpd.store.tables.tenancy import contact, contract


def greet(conn: sa.Connection, env: Env, created: Iterable[tuple[int, str, str | None]]) -> None:
    """Queue mails. `created`: (customer, `user@domain`, own mail address) each."""
    people = list(created)
    columns = (contract.c.id, contact.c.email, email_template.c.from_email, email_template.c.subject, email_template.c.body)
    query = (
        sa.select(*columns)
        .join(contact, contact.c.id == contract.c.contact_id)
        .join(email_template, email_template.c.id == contract.c.subscriber_email_template_id)
        .where(contract.c.id.in_({customer for customer, _, _ in people}))
    )
    templates = {row.id: row for row in conn.execute(query)}
    for customer, name, mail in people:
        template = templates.get(customer)
        if template is not None:
            # There is no link for a first password as long as there are no self-care pages; the template leaves its paragraph out.
            put(
                conn,
                env.clock,
                env.rng,
                sender=template.from_email,
                recipient=mail or template.email,
                subject=template.subject,
                body=template.body,
                variables={"subscriber": name, "url": "", "adminmail": env.rules.adminmail},
            )
