"""`afterglow up`: starts everything on one machine, keeps it running, and stops it again."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from sqlalchemy.exc import OperationalError

from db.disk import plain_reason
from db.errors import DatabaseError
from db.processes import tail_of
from db.settings import state_settings
from db.shared_service import EmbeddedServiceError, SharedService
from worker.login_links import owners_link
from worker.services import Services, celery_worker, open_services
from worker.settings import worker_settings
from worker.supervisor import NUM_FAILURES_EXPLAINED, ChildProcess, Supervisor
from worker.up_lock import AlreadyRuns, announced, only_up

DEFAULT_PORT = 8000
NUM_PORTS_TRIED = 21
EXIT_ALREADY_RUNS = 3
API_START_TIMEOUT_S = 90.0
ENSURE_INTERVAL_S = 5.0
REPEAT_INTERVAL_S = 60.0
"""The same trouble with a service is told again after so many seconds."""


class CannotStart(DatabaseError):
    """Afterglow cannot start."""


def serving_processes(host: str, port: int, data_dir: Path) -> list[ChildProcess]:
    """All processes of `afterglow up`."""
    api = ("-m", "uvicorn", "api.main:app", "--host", host, "--port", str(port), "--timeout-graceful-shutdown", "10",
           "--no-access-log", "--no-server-header")  # fmt: skip
    beat = ("beat", "--schedule", str(data_dir / "beat-schedule"), "--pidfile=", "--loglevel", "INFO")
    return [
        ChildProcess("api", (sys.executable, *api)),
        ChildProcess("dispatcher", (sys.executable, "-m", "worker.dispatch")),
        celery_worker("worker", queues="default", concurrency=2),
        celery_worker("train-worker", queues="train", concurrency=1),
        ChildProcess("beat", (sys.executable, "-m", "celery", "-A", "worker.app", *beat)),
    ]


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
            database_url, redis_url = state_settings().database_url, worker_settings().redis_url
            with (
                announced(data_dir, url, database_url, redis_url),
                open_services(broker=True, for_up=True) as services,
            ):
                return _serve(processes(host, chosen, data_dir), services, url, stop, console)
    except AlreadyRuns as error:
        console.print(str(error), markup=False)
        return EXIT_ALREADY_RUNS
    except DatabaseError as error:
        console.print(str(error), markup=False)
    except OperationalError as error:
        console.print(f"The database cannot be used: {error.orig}", markup=False)
    except OSError as error:
        console.print(f"Cannot start on {data_dir}: {plain_reason(error)}", markup=False)
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
        watch = _Watch(services.embedded, report)
        while not stop.event.wait(0.5):
            supervisor.check()
            watch.look()
        report("Stopping; press Ctrl-C again to stop at once.")
    finally:
        supervisor.stop(is_urgent=stop.is_urgent)
    report("Stopped.")
    return 0


class _Watch:
    """Looks after the private services: starts again what died, and says so once in a while."""

    def __init__(self, services: Sequence[SharedService], report: Callable[[str], None]) -> None:
        self._services = services
        self._report = report
        self._last_look = time.monotonic()
        self._told_at: dict[str, float] = {}

    def look(self) -> None:
        """Ask every service for an answer, unless that was done just now."""
        if time.monotonic() - self._last_look < ENSURE_INTERVAL_S:
            return
        for service in self._services:
            try:
                was_healthy = service.ensure()
            except EmbeddedServiceError as error:
                if time.monotonic() - self._told_at.get(service.name, -REPEAT_INTERVAL_S) >= REPEAT_INTERVAL_S:
                    self._told_at[service.name] = time.monotonic()
                    self._report(f"{error}\nTrying again every {ENSURE_INTERVAL_S:.0f} s.")
            else:
                if not was_healthy:
                    self._report(f"{service.title} had gone and was started again (see {service.log_path}).")
                self._told_at.pop(service.name, None)
        self._last_look = time.monotonic()


def _await_api(url: str, supervisor: Supervisor, stop: _StopRequest) -> None:
    deadline = time.monotonic() + API_START_TIMEOUT_S
    with httpx.Client(trust_env=False, timeout=2.0) as client:
        while not stop.event.wait(0.1):
            supervisor.check()
            with suppress(httpx.HTTPError):
                if client.get(f"{url}/healthz").status_code == httpx.codes.OK:
                    return
            log = supervisor.log_path("api")
            if supervisor.num_failures("api") >= NUM_FAILURES_EXPLAINED:
                raise CannotStart(f"The API ends again and again; its log {log} has the reason.")
            if time.monotonic() > deadline:
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
        ("Log in (once)", owners_link(url)),
        ("API docs", f"{url}/docs"),
        ("Data directory", str(services.data_dir)),
        ("Logs", str(supervisor.logs_dir)),
        ("To stop", f"Ctrl-C, or kill {os.getpid()}"),
        ("Next", "afterglow keys create --scopes score,rate"),
    ]
    for label, value in rows:
        console.print(f"{label:<15} {value}" if label else value, markup=False)
