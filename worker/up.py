"""Starts everything on one machine: `afterglow up`, and the services that a single command needs for itself."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from sqlalchemy.exc import OperationalError

from db.embedded import EmbeddedPostgres
from db.errors import DatabaseError
from db.settings import state_settings
from db.shared_service import EmbeddedServiceError, SharedService, tail_of
from worker.embedded import EmbeddedRedis
from worker.settings import worker_settings
from worker.supervisor import ChildProcess, Supervisor
from worker.up_lock import AlreadyRuns, announced, is_up, only_up

DEFAULT_PORT = 8000
NUM_PORTS_TRIED = 21
EXIT_ALREADY_RUNS = 3
API_START_TIMEOUT_S = 90.0
ENSURE_INTERVAL_S = 5.0


@dataclass(frozen=True)
class Services:
    """Where database and broker are, for as long as they are in use here."""

    data_dir: Path
    database_url: str
    redis_url: str | None
    embedded: tuple[SharedService, ...]
    """The private ones among them."""
    runs_jobs: bool = False
    """Whether this process started the workers, and stops them when it ends."""

    @property
    def env(self) -> dict[str, str]:
        """What a child process needs to find them."""
        found = {"AFTERGLOW_DATA_DIR": str(self.data_dir), "DATABASE_URL": self.database_url}
        return found | ({"REDIS_URL": self.redis_url} if self.redis_url else {})


class CannotStart(DatabaseError):
    """Afterglow cannot start."""


def serving_processes(host: str, port: int, data_dir: Path) -> list[ChildProcess]:
    """All processes of `afterglow up`."""
    api = ("-m", "uvicorn", "api.main:app", "--host", host, "--port", str(port), "--timeout-graceful-shutdown", "10")
    beat = ("beat", "--schedule", str(data_dir / "beat-schedule"), "--pidfile=", "--loglevel", "INFO")
    return [
        ChildProcess("api", (sys.executable, *api)),
        ChildProcess("dispatcher", (sys.executable, "-m", "worker.dispatch")),
        celery_worker("worker", queues="default", concurrency=2),
        celery_worker("train-worker", queues="train", concurrency=1),
        ChildProcess("beat", (sys.executable, "-m", "celery", "-A", "worker.app", *beat)),
    ]


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
    """
    with _services(broker=jobs) as services, ExitStack() as stack:
        runs_jobs = jobs and bool(services.embedded) and not is_up(services.data_dir)
        if runs_jobs:
            supervisor = Supervisor(job_processes(), services.data_dir / "logs", services.env)
            stack.enter_context(supervisor.in_background())
        yield replace(services, runs_jobs=runs_jobs)


@contextmanager
def _services(*, broker: bool) -> Iterator[Services]:
    state = state_settings()
    data_dir = state.resolved_data_dir
    with ExitStack() as stack:
        embedded: list[SharedService] = []

        def acquire(service: SharedService) -> str:
            url = service.acquire()
            stack.callback(service.release)
            embedded.append(service)
            return url

        database_url = state.database_url or acquire(EmbeddedPostgres(data_dir, run_as=state.postgres_user))
        redis_url = (worker_settings().redis_url or acquire(EmbeddedRedis(data_dir))) if broker else None
        services = Services(data_dir, database_url, redis_url, tuple(embedded))
        stack.enter_context(_environment(services.env))
        from db.engine import migrate

        migrate(database_url)
        yield services


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
    from db.engine import engine

    if engine.cache_info().currsize:
        engine().dispose()
    engine.cache_clear()
    state_settings.cache_clear()
    worker_settings.cache_clear()


class _StopRequest:
    """Ctrl-C, SIGTERM or the terminal's end, as a flag; a second one asks for haste."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.num_signals = 0

    def is_urgent(self) -> bool:
        return self.num_signals > 1

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        self.num_signals += 1
        self.event.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        before = {one: signal.signal(one, self._note) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def run_up(
    port: int | None = None,
    host: str = "127.0.0.1",
    *,
    processes: Callable[[str, int, Path], Sequence[ChildProcess]] = serving_processes,
) -> int:
    """Run everything until Ctrl-C or SIGTERM; to be called from the main thread.

    Args:
        port: TCP port of the API; None takes `DEFAULT_PORT` or the next free one.
        host: Address that the API listens on.
        processes: Makes the list of processes from host, port and data directory.

    Returns:
        The exit code: 0 after a stop that was asked for, 1 when it could not start, 3 when it runs already.
    """
    console = Console(soft_wrap=True, highlight=False)
    data_dir = state_settings().resolved_data_dir
    stop = _StopRequest()
    try:
        with stop.listening(), only_up(data_dir):
            chosen = choose_port(host, port)
            if port is None and chosen != DEFAULT_PORT:
                console.print(f"Port {DEFAULT_PORT} is taken, so this one uses {chosen}.", markup=False)
            url = _browser_url(host, chosen)
            with announced(data_dir, url), _services(broker=True) as services:
                return _serve(processes(host, chosen, data_dir), services, url, stop, console)
    except AlreadyRuns as error:
        console.print(str(error), markup=False)
        return EXIT_ALREADY_RUNS
    except (CannotStart, EmbeddedServiceError) as error:
        console.print(str(error), markup=False)
    except OperationalError as error:
        console.print(f"The database cannot be used: {error.orig}", markup=False)
    except OSError as error:
        console.print(f"Cannot start on {data_dir}: {error}", markup=False)
    return 1


def _serve(
    processes: Sequence[ChildProcess], services: Services, url: str, stop: _StopRequest, console: Console
) -> int:
    def report(text: str) -> None:
        console.print(text, markup=False)

    supervisor = Supervisor(processes, services.data_dir / "logs", services.env, report)
    try:
        supervisor.start()
        _await_api(url, supervisor, stop)
        if not stop.event.is_set():
            _greet(console, url, services, supervisor)
        last_ensured = time.monotonic()
        while not stop.event.wait(0.5):
            supervisor.check()
            if time.monotonic() - last_ensured > ENSURE_INTERVAL_S:
                for service in services.embedded:
                    try:
                        service.ensure()
                    except EmbeddedServiceError as error:
                        report(f"{error}\nTrying again.")
                last_ensured = time.monotonic()
        report("Stopping; press Ctrl-C again to stop at once.")
    finally:
        supervisor.stop(is_urgent=stop.is_urgent)
    report("Stopped.")
    return 0


def _await_api(url: str, supervisor: Supervisor, stop: _StopRequest) -> None:
    deadline = time.monotonic() + API_START_TIMEOUT_S
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while not stop.event.wait(0.1):
            supervisor.check()
            with suppress(httpx.HTTPError):
                if client.get(f"{url}/healthz").status_code == httpx.codes.OK:
                    return
            if time.monotonic() > deadline:
                log = supervisor.log_path("api")
                raise CannotStart(
                    f"The API did not answer at {url}/healthz in {API_START_TIMEOUT_S:.0f} s. "
                    f"Last lines of {log}:\n{tail_of(log)}"
                )


def choose_port(host: str, port: int | None) -> int:
    """A port that is free on `host`: `port` itself, or with None the first free one from `DEFAULT_PORT` on.

    Raises:
        CannotStart: `port`, or every one that was tried, is taken.
    """
    tried = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + NUM_PORTS_TRIED)
    for candidate in tried:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
                return candidate
            except OSError as error:
                reason = error.strerror
    if port is not None:
        raise CannotStart(f"Cannot listen on {host} port {port}: {reason}. Choose another with --port.")
    raise CannotStart(
        f"No port from {tried[0]} to {tried[-1]} can be used on {host} ({reason}). Choose one with --port."
    )


def _browser_url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{reachable}:{port}"


def _greet(console: Console, url: str, services: Services, supervisor: Supervisor) -> None:
    rows = [
        ("", f"Afterglow {version('afterglow')} runs"),
        ("URL", url),
        ("API docs", f"{url}/docs"),
        ("Data directory", str(services.data_dir)),
        ("Logs", str(supervisor.logs_dir)),
        ("To stop", f"Ctrl-C, or kill {os.getpid()}"),
        ("Next", "afterglow keys create --scopes score,rate"),
    ]
    for label, value in rows:
        console.print(f"{label:<15} {value}" if label else value, markup=False)
