"""The services that a command needs: a migrated database, a broker, and processes that run jobs, for as long as it lasts.

`afterglow up` is such a command too, see `worker.up`. Another command finds out what an `up` of its data directory uses,
and uses the same: jobs and rows must not end up in two databases.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from db.embedded import EmbeddedPostgres
from db.engine import place_of
from db.errors import DatabaseError
from db.settings import state_settings
from db.shared_service import EmbeddedServiceError, SharedService
from worker.embedded import EmbeddedRedis
from worker.settings import worker_settings
from worker.supervisor import ChildProcess, Supervisor
from worker.up_lock import Announcement, is_up, read_announcement

EXTERNAL_NOTE = "external-database"
"""File in the data directory: which database the last `up` used when that was not the private one."""


class OtherDatabase(DatabaseError):
    """This would use another database than the data directory's."""


@dataclass(frozen=True)
class Services:
    """Where database and broker are, for as long as they are in use here."""

    data_dir: Path
    database_url: str = field(repr=False)
    redis_url: str | None = field(repr=False)
    embedded: tuple[SharedService, ...]
    """The private ones among them."""
    runs_jobs: bool = False
    """Whether this process started the workers, and stops them when it ends."""

    @property
    def env(self) -> dict[str, str]:
        """What a child process needs to find them."""
        found = {"AFTERGLOW_DATA_DIR": str(self.data_dir), "DATABASE_URL": self.database_url}
        return found | ({"REDIS_URL": self.redis_url} if self.redis_url else {})


def job_processes() -> list[ChildProcess]:
    """The processes that run jobs for one command: a dispatcher, and one worker for all queues."""
    return [
        ChildProcess("command-dispatcher", (sys.executable, "-m", "worker.dispatch")),
        celery_worker("command-worker", queues="default,train", concurrency=2),
    ]


def celery_worker(name: str, queues: str, concurrency: int) -> ChildProcess:
    """A Celery worker. Threads, since a fork of a process that used torch may hang."""
    options = ("-P", "threads", "-c", str(concurrency), "-Q", queues, "-n", f"{name}@%h", "--loglevel", "INFO")
    quiet = ("--without-gossip", "--without-mingle")
    return ChildProcess(name, (sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options, *quiet))


@contextmanager
def running_services(*, jobs: bool = False) -> Iterator[Services]:
    """Make the migrated database usable for the duration, and with `jobs` also the processes that run jobs.

    Uses DATABASE_URL and REDIS_URL where they are set, else the private services of the data directory, which are
    started unless they run, and stopped when nobody else uses them. Sets both variables for this process meanwhile.
    When `afterglow up` runs on the data directory, jobs are left to its workers; when database and broker are both
    somebody else's, to the workers that serve them.

    Raises:
        EmbeddedServiceError: A private service did not start.
        OtherDatabase: The data directory's database is another one.
    """
    with open_services(broker=jobs) as services, ExitStack() as stack:
        runs_jobs = jobs and bool(services.embedded) and not is_up(services.data_dir)
        if runs_jobs:
            stack.enter_context(running_jobs(services))
        yield replace(services, runs_jobs=runs_jobs)


@contextmanager
def running_jobs(services: Services) -> Iterator[Supervisor]:
    """Run jobs on `services` for the duration, by processes of our own."""
    supervisor = Supervisor(job_processes(), services.data_dir / "logs", services.env)
    with supervisor.in_background():
        yield supervisor


@contextmanager
def open_services(*, broker: bool, for_up: bool = False) -> Iterator[Services]:
    """The migrated database, and with `broker` the broker, for the duration; both variables are set meanwhile.

    `for_up` is for `up` itself, whose announcement is its own.

    Raises:
        EmbeddedServiceError: A private service did not start.
        OtherDatabase: The data directory's database is another one.
    """
    state = state_settings()
    data_dir = state.resolved_data_dir
    with ExitStack() as stack:
        embedded: list[SharedService] = []

        def acquire(service: SharedService) -> str:
            url = service.acquire()
            stack.callback(service.release)
            embedded.append(service)
            return url

        of_up = None if for_up else read_announcement(data_dir)
        database_url = _database_url(data_dir, state.database_url, of_up)
        redis_url = worker_settings().redis_url or (of_up.redis_url if of_up else None)
        database_url = database_url or acquire(EmbeddedPostgres(data_dir, state.postgres_user))
        if broker:
            redis_url = redis_url or acquire(EmbeddedRedis(data_dir, state.postgres_user))
        services = Services(data_dir, database_url, redis_url if broker else None, tuple(embedded))
        stack.enter_context(_environment(services.env))
        from db.engine import migrate

        migrate(database_url)
        if for_up:
            _note_database(data_dir, state.database_url)
        yield services


def _database_url(data_dir: Path, given: str | None, of_up: Announcement | None) -> str | None:
    """The database to use, None for the private one of `data_dir`."""
    if given is None and of_up is not None:
        return of_up.database_url
    note = data_dir / EXTERNAL_NOTE
    if given is None and note.exists():
        raise OtherDatabase(
            f"The last `afterglow up` on {data_dir} used the database {note.read_text().strip()}, and now DATABASE_URL is "
            f"not set. Set it, or remove {note} to use the private database of {data_dir}."
        )
    if given is not None and of_up is not None:
        used = of_up.database_url or _private_url(data_dir)
        if used is None or place_of(given) != place_of(used):
            named = place_of(used) if of_up.database_url and used else "its private database"
            raise OtherDatabase(
                f"DATABASE_URL is {place_of(given)}, but the Afterglow that runs on {data_dir} uses {named}. "
                "Unset DATABASE_URL to use that too, or choose another AFTERGLOW_DATA_DIR."
            )
    return given


def _private_url(data_dir: Path) -> str | None:
    try:
        return EmbeddedPostgres(data_dir).url
    except EmbeddedServiceError:
        return None


def _note_database(data_dir: Path, external_url: str | None) -> None:
    note = data_dir / EXTERNAL_NOTE
    if external_url is None:
        note.unlink(missing_ok=True)
    else:
        note.write_text(f"{place_of(external_url)}\n")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables of this process for the duration, and have everything that was read from them read anew."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    _forget_settings()
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        _forget_settings()


def _forget_settings() -> None:
    from db.engine import forget_engine

    if (old := forget_engine()) is not None:
        old.dispose()
    state_settings.cache_clear()
    worker_settings.cache_clear()
