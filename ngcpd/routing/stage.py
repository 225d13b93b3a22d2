"""What a stage is: a pure decision on one call.

A stage reads the context, the directory's snapshot and what it was made with; it never waits and does no I/O. What it needs loaded it declares
in `needs`; the runner (`routing.pipeline`) fetches that before. It returns None to go on, or the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred

from ngcpd.directory.model import Snapshot
from ngcpd.routing.model import CallContext, Verdict

Outcome = Verdict | None
Result = Outcome | Deferred[Outcome]
Needs = Callable[[CallContext, Snapshot], Sequence[int]]
"""Ids of the subscribers that have to be loaded. Called right before the stage, once more when there was something to wait for: what it finds it
may leave in the context for the stage."""
Run = Callable[[CallContext, Snapshot], Result]


class Stage(NamedTuple):
    """One line of the table. `name` begins with its step of call processing 3.1. Only the authentication may give a Deferred."""

    name: str
    run: Run
    needs: Needs | None = None
