"""What runs: `afterglow up`, workers and the queues that they serve, the dispatcher, the clock, and jobs that wait."""

from __future__ import annotations

import json
from collections.abc import Iterator

from db.settings import state_settings
from worker.cli.checks.finding import Finding, Place, ok, problem, unknown, warning
from worker.cli.checks.services import NOT_RUNNING, plain_url
from worker.cli.errors import reason_of

UP = "afterglow up"


def check_up(place: Place) -> Iterator[Finding]:
    """Whether `afterglow up` runs on the data directory, and where."""
    from worker.up_lock import is_up

    if not is_up(place.data_dir):
        yield ok("up", "`afterglow up` does not run on this data directory; commands start what they need.", UP)
        return
    try:
        facts = json.loads((place.data_dir / "up.json").read_text())
        yield ok("up", f"`afterglow up` runs at {facts['url']} (process {facts['pid']}, since {facts['started_at']}).")
    except (OSError, ValueError, KeyError):
        yield warning("up", "`afterglow up` is starting or stopping on this data directory.", "afterglow doctor")


def _expects_workers(place: Place) -> bool:
    """Whether somebody relies on processes that run all the time: `up`, or services that are shared by hosts."""
    from worker.settings import worker_settings
    from worker.up_lock import is_up

    return is_up(place.data_dir) or bool(worker_settings().redis_url and state_settings().database_url)


def check_workers(place: Place) -> Iterator[Finding]:
    """Celery workers that answer, and queues that none of them serves."""
    from worker.cli.workers import BrokerAway, broker_in_use, served_queues
    from worker.queue import QUEUES

    try:
        broker = broker_in_use(place.data_dir)
        if broker is None:
            yield unknown("workers", "Redis does not run now, so no worker is connected.", UP)
            return
        workers = served_queues(broker)
    except BrokerAway as error:
        yield unknown("workers", f"Redis does not answer: {reason_of(error)}.")
        return
    missing = sorted(set(QUEUES.values()) - {queue for queues in workers.values() for queue in queues})
    told = "; ".join(f"{name} serves {', '.join(queues)}" for name, queues in sorted(workers.items()))
    if not workers:
        tell = problem if _expects_workers(place) else ok
        yield tell("workers", "No worker is connected; queued jobs wait.", UP)
    elif missing:
        yield problem("workers", f"{told}; nobody serves the queue {', '.join(missing)}.",
                      f"celery -A worker.app worker -P threads -c 1 -Q {','.join(missing)}")  # fmt: skip
    else:
        yield ok("workers", f"{told}.")


def check_dispatcher(place: Place) -> Iterator[Finding]:
    """The dispatcher, known by its connection that listens for jobs, and what waits for it."""
    import psycopg

    from db.queries.job_workers import COUNT_DISPATCHERS

    if place.database_url is None:
        yield unknown("dispatcher", NOT_RUNNING, UP)
        return
    try:
        with psycopg.connect(plain_url(place.database_url), connect_timeout=5) as connection:
            row = connection.execute(COUNT_DISPATCHERS).fetchone()
            counted = connection.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
    except psycopg.Error as error:
        yield unknown("dispatcher", f"The database does not tell: {reason_of(error)}.")
        return
    states = {str(state): int(count) for state, count in counted}
    number = int(row[0]) if row else 0
    waiting = states.get("queued", 0)
    if number:
        yield ok("dispatcher", f"{number} of them {'is' if number == 1 else 'are'} connected.")
    elif _expects_workers(place) or waiting:
        yield (problem if _expects_workers(place) else warning)(
            "dispatcher", f"None is connected, so {waiting} queued jobs wait.", f"{UP}, or python -m worker.dispatch"
        )
    else:
        yield ok("dispatcher", "None is connected, and no job waits.", UP)
    if states:
        counts = ", ".join(
            f"{states[state]} {state}" for state in ("queued", "running", "failed", "dead") if states.get(state)
        )
        yield ok("jobs", f"{sum(states.values())} in all{': ' + counts if counts else ', none waits or has failed'}.",
                 "afterglow jobs" if counts else None)  # fmt: skip


def check_beat(place: Place) -> Iterator[Finding]:
    """The clock: a process of this machine, or what it submitted."""
    from worker.up_lock import is_up

    mine = str(place.data_dir / "beat-schedule")
    if any(" beat " in f"{command} " and mine in command for command in _commands().values()):
        yield ok("clock", "Celery beat runs for this data directory.")
    elif is_up(place.data_dir):
        yield problem("clock", "Celery beat does not run, though `afterglow up` does.",
                      f"see {place.data_dir / 'logs' / 'beat.log'}")  # fmt: skip
    else:
        yield unknown("clock", "Celery beat does not run here; another host's cannot be seen.", UP)


def _commands() -> dict[int, str]:
    from db.processes import process_commands

    return process_commands()
