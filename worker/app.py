"""The Celery application. Messages carry a job's id and are acknowledged at once: the job's row is the truth."""

from __future__ import annotations

from celery import Celery
from celery.schedules import crontab

from db.settings import state_settings
from worker.cron import Cron, read_cron
from worker.settings import worker_settings

CATCH_UP_S = 900.0
"""Seconds between two looks whether an evaluation cycle was due and nobody submitted it."""


def broker_url() -> str:
    """REDIS_URL, else the private Redis of the data directory."""
    configured = worker_settings().redis_url
    if configured:
        return configured
    from worker.embedded import EmbeddedRedis

    return EmbeddedRedis(state_settings().resolved_data_dir).url


def beat_of(cron: Cron) -> crontab:
    """The same moments as Celery's beat knows them, which asks for both kinds of day as `last_due` does."""
    return crontab(
        minute=cron.minutes, hour=cron.hours, day_of_month=cron.days, month_of_year=cron.months,
        day_of_week=cron.weekdays,
    )  # fmt: skip


app = Celery("afterglow", broker=broker_url(), include=["worker.tasks"])
app.conf.update(
    accept_content=["json"],
    task_serializer="json",
    task_ignore_result=True,
    task_acks_late=False,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # keep trying: Redis may be away for minutes
    broker_transport_options={
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
    task_default_queue="default",
    beat_schedule={},
    timezone="UTC",
    enable_utc=True,
)
if worker_settings().evaluates:
    # Now and then between as well: a missed tick is made up for, and the slot's key makes the others do nothing.
    cron = beat_of(read_cron(worker_settings().evaluate_cron))
    for name, schedule in (("due", cron), ("missed", CATCH_UP_S)):
        app.conf.beat_schedule[f"submit_cycles_{name}"] = {"task": "submit_cycles", "schedule": schedule}
if worker_settings().retain_every_h > 0:
    app.conf.beat_schedule["submit_retention"] = {
        "task": "submit_retention",
        "schedule": worker_settings().retain_every_h * 3600 / 4,
    }
if worker_settings().shadow_every_min > 0:
    app.conf.beat_schedule["submit_shadows"] = {
        "task": "submit_shadows",
        "schedule": worker_settings().shadow_every_min * 60 / 4,
    }
