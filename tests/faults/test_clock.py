"""The clock as `afterglow up` starts it: real beats, a real Redis, a real worker, killed and doubled in mid schedule.

What is claimed is the slot's key: whichever beat ticks, and however often, a slot has one evaluation cycle.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from db.engine import session_scope
from db.queries import jobs, models
from tests.builders import make_version
from tests.conftest import environment
from worker.services import celery_worker, open_services
from worker.supervisor import ChildProcess
from worker.up import serving_processes

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]  # three slots of a minute, and a busy machine
PATIENCE_S = 150.0
SLOT = re.compile(r"slot=\S*?(\d{4}-\d\d-\d\dT\d\d:\d\dZ)")


class Processes:
    """Those that a test starts and kills, each with its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, what: ChildProcess) -> None:
        """Start it; the words of an earlier one of its name stay in the log."""
        with self.log(what.name).open("ab") as said:
            self._running[what.name] = subprocess.Popen(what.argv, stdout=said, stderr=said)

    def kill(self, name: str) -> None:
        """SIGKILL: it has no time to write anything."""
        process = self._running.pop(name)
        assert process.poll() is None, self.log(name).read_text()
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def stop(self) -> None:
        """End whatever still runs."""
        for name in list(self._running):
            self.kill(name)

    def log(self, name: str) -> Path:
        """What it said."""
        return self._folder / f"{name}.log"


@pytest.fixture
def processes(database: str, redis_url: str | None, tmp_path: Path) -> Iterator[Processes]:
    """A worker without a dispatcher: jobs are submitted by it, and none is run."""
    with ExitStack() as stack:
        stack.enter_context(environment(AFTERGLOW_EVALUATE_CRON="* * * * *", NO_COLOR="1"))
        if redis_url:
            stack.enter_context(environment(REDIS_URL=redis_url))
        services = stack.enter_context(open_services(broker=True))
        stack.enter_context(environment(**services.env))
        found = Processes(tmp_path)
        stack.callback(found.stop)
        found.start(celery_worker("worker", queues="default", concurrency=2))
        yield found


def _beat(name: str, folder: Path) -> ChildProcess:
    """The beat of an `up` whose data directory is `folder`: as it would be on another machine."""
    folder.mkdir(exist_ok=True)
    (beat,) = (each for each in serving_processes("127.0.0.1", 1, folder) if each.name == "beat")
    return ChildProcess(name, beat.argv)


def _slots() -> list[str]:
    with session_scope() as session:
        found = jobs.list_jobs(session, kind="evaluate_cycle")
    return sorted(job.params["slot"] for job in found)


def _wait_for(condition: Callable[[], object], facts: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, facts()
        time.sleep(0.2)


def test_beats_that_are_killed_and_doubled_submit_one_cycle_for_each_slot(processes: Processes, tmp_path: Path) -> None:
    with session_scope() as session:
        name = make_version(session).model_version
        models.add_activation(
            session, kind="rating", model_version=name, action="promote", verdict={}, activated_by="test"
        )
    first, second = (_beat(name, tmp_path / name) for name in ("first", "second"))

    def said() -> str:
        logs = (processes.log(name) for name in ("worker", "first", "second"))
        return "\n".join(log.read_text() for log in logs if log.exists())

    def ticks() -> list[str]:
        return SLOT.findall(processes.log("worker").read_text())

    processes.start(first)
    processes.start(second)
    _wait_for(lambda: len(ticks()) >= 2, said)  # whoever ticked last before a minute began has both told of it
    processes.kill("first")
    processes.start(first)  # it does not know whether it ticked
    _wait_for(lambda: len(_slots()) >= 2, said)
    processes.kill("second")
    processes.kill("first")
    processes.start(first)
    processes.start(second)
    _wait_for(lambda: len(_slots()) >= 3, said)
    time.sleep(2)  # the other beat's tick of the last slot
    slots, seen = _slots(), ticks()
    moments = [datetime.fromisoformat(slot) for slot in slots]
    assert {late - early for early, late in pairwise(moments)} == {timedelta(minutes=1)}, said()
    assert len(set(slots)) == len(slots)
    assert set(seen) == set(slots)
    assert len(seen) > len(slots), "no slot was ticked twice, so nothing was proved"
