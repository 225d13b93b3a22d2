"""What is wrong with a configuration, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a file; line and column count from 1, 0 = the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One finding. Prints as `file:line:column: message`."""

    mark: Mark
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.message}"


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has at least one entry, sorted by place, without repetitions."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(set(problems))
        super().__init__("\n".join(str(p) for p in self.problems))


class Report:
    """Collects findings while a configuration is read.

    `errors` make it unusable; `warnings` are for the operator (unknown keys, switched-on features that do not exist);
    `notices` are for information (old spellings, settings without effect).
    """

    def __init__(self) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.notices: list[Problem] = []

    def error(self, mark: Mark, message: str) -> None:
        self.errors.append(Problem(mark, message))

    def warn(self, mark: Mark, message: str) -> None:
        self.warnings.append(Problem(mark, message))

    def note(self, mark: Mark, message: str) -> None:
        self.notices.append(Problem(mark, message))

    def check(self) -> None:
        """Raise ConfigError when there are errors."""
        if self.errors:
            raise ConfigError(self.errors)
