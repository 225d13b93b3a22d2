"""The leg strings of accounting rows, for the rooms that may not know the store."""

from ngcpd.store.legs import DestinationLeg, LegError, SourceLeg

__all__ = ["DestinationLeg", "LegError", "SourceLeg"]
