"""At most one `afterglow up` on a data directory: the lock that says so, and the file that says where it runs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from db.errors import DatabaseError


class AlreadyRuns(DatabaseError):
    """Another `afterglow up` runs on this data directory."""


@dataclass(frozen=True)
class Announcement:
    """Who runs on a data directory, and where."""

    pid: int
    url: str
    started_at: str
    version: str
    database_url: str | None = field(repr=False)
    """None for the private database of the data directory."""
    redis_url: str | None = field(repr=False)
    """None for the private Redis."""


def is_up(data_dir: Path) -> bool:
    """Whether an `afterglow up` runs on `data_dir`."""
    try:
        fd = os.open(data_dir / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def only_up(data_dir: Path) -> Iterator[None]:
    """Be the only `up` of the data directory for the duration.

    Raises:
        AlreadyRuns: There is one; the message says where.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(data_dir / "up.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for patience in range(10, -1, -1):  # `is_up` holds the lock for a moment
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not patience:
                    raise AlreadyRuns(_where_it_runs(data_dir)) from error
                time.sleep(0.05)
        yield
    finally:
        os.close(fd)


def read_announcement(data_dir: Path) -> Announcement | None:
    """What the `afterglow up` that runs on `data_dir` says of itself; None when there is none, or it does not say yet."""
    if not is_up(data_dir):
        return None
    try:
        return Announcement(**json.loads((data_dir / "up.json").read_text()))
    except (
        OSError,
        ValueError,
        TypeError,
    ):  # a killed `up` may leave anything, and what runs now is about to replace it
        return None


def _where_it_runs(data_dir: Path) -> str:
    facts = read_announcement(data_dir)
    if facts is None:
        return f"Afterglow is starting or stopping on {data_dir} already."
    return (
        f"Afterglow {facts.version} already runs on {data_dir}: {facts.url} (process {facts.pid}, "
        f"since {facts.started_at}). Stop it with `kill {facts.pid}`, or choose another AFTERGLOW_DATA_DIR."
    )


@contextmanager
def announced(data_dir: Path, url: str, database_url: str | None, redis_url: str | None) -> Iterator[None]:
    """Say in `up.json`, which only we may read, who runs, where, and on which services, for the duration.

    Args:
        data_dir: The data directory.
        url: Where the server will be.
        database_url: The database, None for the private one.
        redis_url: The broker, None for the private one.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    facts = Announcement(os.getpid(), url, started_at, version("afterglow"), database_url, redis_url)
    path = data_dir / "up.json"
    draft = data_dir / "up.json.new"
    draft.unlink(missing_ok=True)
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as stream:
            stream.write(json.dumps(asdict(facts)) + "\n")
        draft.replace(path)
        yield
    finally:
        draft.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
