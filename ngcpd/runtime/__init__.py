"""What logic may not import and therefore gets passed in: time, randomness, sockets, disk, threads; and the log.

`ports` names the interfaces, `real` implements them on a Twisted reactor and the operating system, `fake` for tests and
simulation. Every other room may know this one; it knows none (docs/architecture.md, "Passed in, never imported").
"""
