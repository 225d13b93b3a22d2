"""The REST interface, generated from the declarations in `ngcpd.provisioning`."""
