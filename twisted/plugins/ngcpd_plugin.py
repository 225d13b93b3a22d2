"""Makes `twistd ngcpd` known."""

from twisted.application.service import ServiceMaker

ngcpd = ServiceMaker("ngcpd", "ngcpd.cli.tap", "The voice platform (needs --reactor=asyncio)", "ngcpd")
