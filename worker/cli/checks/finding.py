"""One line of the doctor's answer, and what all checks are told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Health(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARNING = "warning"
    """Afterglow works, with something missing or doubtful."""
    PROBLEM = "problem"
    """Afterglow cannot do its work before this is mended."""
    UNKNOWN = "unknown"
    """Cannot be known now, since something that it hangs on does not run; not a fault by itself."""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing: one sentence, and where it helps one cure."""

    about: str
    health: Health
    says: str
    cure: str | None = None
    """A command to run, or what else to do."""


@dataclass(frozen=True)
class Place:
    """Where to look."""

    data_dir: Path
    database_url: str | None
    """Of a database that runs now: DATABASE_URL, or the private one's; None when there is none to ask."""
    every_file: bool = False
    """Whether to read all stored files that must never change, or the newest of them."""


def ok(about: str, says: str, cure: str | None = None) -> Finding:
    """It is as it should be."""
    return Finding(about, Health.OK, says, cure)


def warning(about: str, says: str, cure: str | None = None) -> Finding:
    """It works, but."""
    return Finding(about, Health.WARNING, says, cure)


def problem(about: str, says: str, cure: str | None = None) -> Finding:
    """It does not work."""
    return Finding(about, Health.PROBLEM, says, cure)


def unknown(about: str, says: str, cure: str | None = None) -> Finding:
    """It cannot be known now."""
    return Finding(about, Health.UNKNOWN, says, cure)
