"""Outgoing mail: messages out of templates, the queue in the database, the way to the mail server (invoices and e-mails 8.5)."""
