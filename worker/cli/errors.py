"""Exit codes, and which errors are for people: their message says what was wrong and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

INTERRUPTED = 130


class Ending(IntEnum):
    """How a command ends, as its exit code."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    REFUSED = 3
    NOT_FOUND = 4
    INTERRUPTED = INTERRUPTED

    @property
    def word(self) -> str:
        """Its name in JSON."""
        return self.name.lower().replace("_", "-")


MEANING = {
    Ending.DONE: "done",
    Ending.FAILED: "failed: the work itself, or a service that it needs",
    Ending.WRONG_INPUT: "wrong usage, option, setting or file; nothing was started",
    Ending.REFUSED: "refused as things stand: it runs already, has ended already, or the gate says no",
    Ending.NOT_FOUND: "there is no such job, model version, dataset, webcam, key or login",
    Ending.INTERRUPTED: "interrupted with Ctrl-C",
}
"""The table of exit codes, as `afterglow --help` prints it."""


class WrongInput(Exception):
    """What was given on the command line cannot be used; the message says why and what to do."""


class NotDone(Exception):
    """The command could not do its work; the message says why and what to do."""


@dataclass(frozen=True)
class Told:
    """An error in plain words."""

    message: str
    ending: Ending


def told(error: BaseException) -> Told | None:
    """An error that people can mend, in plain words; None for a fault of ours."""
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, ValidationError) and error.title.endswith("Settings"):
        return Told(setting_error(error), Ending.WRONG_INPUT)
    for ending, classes in _classes().items():
        if isinstance(error, classes):
            text = str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error)
            return Told(text, ending)
    if isinstance(error, DBAPIError):
        return Told(f"the database does not answer: {reason_of(error.orig)}. See `afterglow doctor`.", Ending.FAILED)
    if isinstance(error, OSError) and error.strerror:
        about = f"{error.filename}: " if error.filename else ""
        return Told(f"{about}{error.strerror}", Ending.FAILED)
    return None


def explain(error: Exception) -> str | None:
    """The line to print for an error that people can mend; None for a fault of ours, which keeps its trace."""
    found = told(error)
    return found.message if found else None


def _classes() -> dict[Ending, tuple[type[BaseException], ...]]:
    """Ending -> errors that end so; the first that fits counts."""
    from db.errors import Conflict, DatabaseError, NotFound
    from ml.bundle import BundleError
    from ml.images.fetch import FetchError
    from ml.images.store import StoreError
    from ml.judgements import UnknownKind
    from ml.judgements.base import JudgementError
    from ml.manifest import ManifestError
    from ml.thresholds import ThresholdError
    from ml.training.recipe import RecipeError
    from worker.cli.follow import JobEndedBadly
    from worker.importers.snapshots import ImportRefused
    from worker.jobs import JobFailed

    return {
        Ending.NOT_FOUND: (NotFound,),
        Ending.REFUSED: (Conflict,),
        Ending.WRONG_INPUT: (WrongInput, UnknownKind, JudgementError, RecipeError, ImportRefused),
        Ending.FAILED: (
            NotDone, DatabaseError, BundleError, FetchError, StoreError, ManifestError, ThresholdError, JobFailed,
            JobEndedBadly,
        ),
    }  # fmt: skip


def setting_error(error: Exception) -> str:
    """What pydantic says of settings, as sentences that never repeat a value (it may be a password)."""
    from pydantic import ValidationError

    assert isinstance(error, ValidationError)
    return "; ".join(
        f"the setting {'.'.join(str(part) for part in each['loc'])} cannot be used: {each['msg']}"
        for each in error.errors(include_input=False, include_url=False)
    )


def reason_of(error: object) -> str:
    """The first line of what an error says, without passwords and without its full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return without_password(lines[0] if lines else "no reason given").rstrip(".")


def without_password(text: str) -> str:
    """A text with the passwords of URLs and connection strings taken out."""
    text = re.sub(r"(//[^\s:/@\"']*):[^\s@\"']+@", r"\1:***@", text)
    return re.sub(r"(?i)(password\s*=\s*)\S+", r"\1***", text)
