"""Who would run a job: the Celery workers that are connected to the broker, and the queues that they serve."""

from __future__ import annotations

import logging
from pathlib import Path

from worker.cli.errors import reason_of

ANSWER_S = 1.0
"""Seconds that workers have to answer."""


class BrokerAway(Exception):
    """Redis does not answer; the message says which and why."""


def broker_in_use(data_dir: Path) -> str | None:
    """The URL of the broker, for Celery: REDIS_URL, else the private Redis if it runs now. Starts nothing."""
    from worker.embedded import EmbeddedRedis
    from worker.settings import worker_settings

    configured = worker_settings().redis_url
    if configured:
        return configured
    private = EmbeddedRedis(data_dir)
    return private.url if private.is_healthy() else None


def served_queues(broker_url: str) -> dict[str, list[str]]:
    """Name of each worker that answers -> the queues that it serves.

    Raises:
        BrokerAway: The broker does not answer.
    """
    from celery import Celery
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    logging.getLogger("kombu").setLevel(logging.CRITICAL)
    with Celery("afterglow-asks", broker=broker_url, set_as_current=False) as app:
        app.conf.broker_transport_options = {"socket_connect_timeout": 3, "socket_timeout": 5}
        control = app.control
        control.mailbox._producer_pool = (
            None  # kombu's pools live as long as the process: use one connection, closed here
        )
        try:
            with app.connection_for_read() as connection:
                answer = control.inspect(timeout=ANSWER_S, connection=connection).active_queues() or {}
        except (OperationalError, RedisError, OSError) as error:
            raise BrokerAway(reason_of(error)) from error
    return {name: sorted(queue["name"] for queue in queues) for name, queues in answer.items()}


def warn_if_nobody_works(data_dir: Path, queues: set[str]) -> None:
    """Say on stderr when no worker serves one of these queues: its jobs would wait for ever."""
    from worker.cli.output import remarks

    if not queues or remarks.quiet:
        return
    try:
        broker = broker_in_use(data_dir)
        workers = served_queues(broker) if broker else {}
    except BrokerAway as error:
        remarks.print(f"Redis does not answer ({error}), so queued jobs wait: see `afterglow doctor`", markup=False)
        return
    served = {queue for each in workers.values() for queue in each}
    if not workers:
        remarks.print("no worker is connected, so queued jobs wait: start `afterglow up`")
    elif missing := sorted(queues - served):
        remarks.print(f"no worker serves the queue {', '.join(missing)}, so its jobs wait: start `afterglow up`")
