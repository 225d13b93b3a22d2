"""ngcpd: a carrier-grade voice platform in one Twisted daemon."""

__version__ = "0.1.0"
