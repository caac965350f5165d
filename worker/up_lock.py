"""At most one `afterglow up` on a data directory: the lock that says so, and the file that says where it runs."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from db.errors import DatabaseError


class AlreadyRuns(DatabaseError):
    """Another `afterglow up` runs on this data directory."""


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


def _where_it_runs(data_dir: Path) -> str:
    try:
        facts: dict[str, Any] = json.loads((data_dir / "up.json").read_text())
    except (OSError, ValueError):
        return f"Afterglow is starting or stopping on {data_dir} already."
    return (
        f"Afterglow {facts['version']} already runs on {data_dir}: {facts['url']} (process {facts['pid']}, "
        f"since {facts['started_at']}). Stop it with `kill {facts['pid']}`, or choose another AFTERGLOW_DATA_DIR."
    )


@contextmanager
def announced(data_dir: Path, url: str) -> Iterator[None]:
    """Say in `up.json` who runs and where, for the duration."""
    facts = {
        "pid": os.getpid(),
        "url": url,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("afterglow"),
    }
    path = data_dir / "up.json"
    draft = data_dir / "up.json.new"
    draft.write_text(json.dumps(facts) + "\n")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
