"""SIP: messages, transports, transactions (RFC 3261 and its extensions). Usable without the rest of the platform."""
