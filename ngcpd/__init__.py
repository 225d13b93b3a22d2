"""ngcpd: a carrier-grade voice platform in one Twisted daemon."""

import os

__version__ = "0.1.0"

if os.environ.get("NGCPD_COMPILED"):
    from ngcpd.runtime.compiled import use

    use(os.environ["NGCPD_COMPILED"])
