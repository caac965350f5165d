"""The whole of `afterglow up` through kills, full disks and a second user: real processes, real signals.

What these tests have in common: rows that were committed are there afterwards, and a job that is submitted is run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlmodel import Session

from db.embedded import EmbeddedPostgres, running_url
from db.engine import make_engine
from db.processes import is_alive, process_commands, wait_until_gone
from db.shared_service import EmbeddedServiceError
from tests.conftest import close_engines, environment, short_directory
from tests.served import NotHere, find_postgres, free_port, version_of
from worker.embedded import EmbeddedRedis
from worker.queue import submit
from worker.up_lock import is_up

pytestmark = [pytest.mark.embedded, pytest.mark.faults]
ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0
CHILDREN = {
    "api": "uvicorn api.main:app",
    "dispatcher": "-m worker.dispatch",
    "worker": "-Q default",
    "train-worker": "-Q train",
    "beat": "celery -A worker.app beat",
}
"""Process of `up` -> what its command line has in it."""


class Up:
    """An `afterglow up` on a data directory, and what it says."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.said = ""
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.url = f"http://127.0.0.1:{free_port()}"
        unset = ("DATABASE_URL", "REDIS_URL", "STORE_URL")
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        self.said = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli.main", "up", "--port", self.url.rpartition(":")[2]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=environment | {"AFTERGLOW_DATA_DIR": str(self.data_dir)},
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()
        wait_for(lambda: "Next" in self.said or not self.is_running(), "up to serve", lambda: self.said)
        assert self.is_running(), self.said

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.said += line

    def is_running(self) -> bool:
        """Whether the process itself lives."""
        return self._process is not None and self._process.poll() is None

    def end(self, sent: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        assert self._process is not None and self._reader is not None and self._process.stdout is not None
        self._process.send_signal(sent)
        self._process.wait(60)
        self._reader.join(60)
        self._process.stdout.close()
        self._process = None

    def pids(self) -> dict[str, int]:
        """Process ids of what it runs."""
        assert self._process is not None
        found: dict[str, int] = {}
        for pid, command in process_commands().items():
            for name, sign in CHILDREN.items():
                if sign in command and "prctl" not in command and is_child(pid, self._process.pid):
                    found[name] = pid
        found["redis"] = EmbeddedRedis(self.data_dir)._server_pids()[0]
        found["postgres"] = EmbeddedPostgres(self.data_dir)._server_pids()[0]
        return found

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement on its database, once that answers."""
        wait_for(lambda: running_url(self.data_dir) is not None, "Postgres", lambda: self.said)
        with psycopg.connect(
            EmbeddedPostgres(self.data_dir).url.replace("+psycopg", ""), autocommit=True
        ) as connection:
            cursor = connection.execute(sql)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def prove(self, num_kept: int) -> None:
        """It serves, the rows are there, one more is kept, and a job that is submitted is run."""
        wait_for(self.is_healthy, "the API", lambda: self.said)
        assert self.ask("SELECT count(*) FROM kept") == [(num_kept,)]
        self.ask("INSERT INTO kept VALUES (1)")
        job = self.submit()
        wait_for(
            lambda: self.ask(f"SELECT state FROM jobs WHERE id = {job}") not in ([("queued",)], [("running",)]),
            f"job {job}",
            lambda: f"{self.said}\n{self.ask(f'SELECT * FROM jobs WHERE id = {job}')}",
        )

    def submit(self) -> int:
        """A job that soon fails, since there is nothing to export."""
        engine = make_engine(EmbeddedPostgres(self.data_dir).url)
        with Session(engine) as session:
            job, _ = submit(session, "export_dataset", {})
            session.commit()
            number = job.id
        engine.dispose()
        assert number is not None
        return number

    def is_healthy(self) -> bool:
        """Whether the API answers."""
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def started_up(**settings: str) -> Iterator[Up]:
    """An `up` on a short directory of its own with these settings, which this process has too; ended with all it started."""
    with short_directory() as place, environment(AFTERGLOW_DATA_DIR=str(place), **settings):
        up = Up(place)
        try:
            up.start()
            yield up
        finally:
            close_engines()
            if up.is_running():
                up.end(signal.SIGTERM)
            EmbeddedPostgres(place)._stop()
            EmbeddedRedis(place)._stop()


def is_child(pid: int, parent: int) -> bool:
    """Whether `parent` started `pid`."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == parent
    except OSError:
        return False


def wait_for(condition: Callable[[], object], what: str, facts: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}\n{facts()}"
        time.sleep(0.1)


@contextmanager
def up_on(data_dir: Path) -> Iterator[Up]:
    """A running `up` with one row in a table of ours."""
    up = Up(data_dir)
    try:
        up.start()
        up.ask("CREATE TABLE kept AS SELECT 0 AS n")
        yield up
    finally:
        if up.is_running():
            up.end(signal.SIGTERM)
        EmbeddedPostgres(data_dir)._stop()
        EmbeddedRedis(data_dir)._stop()


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_up_survives_a_kill_of_each_part_and_of_all(place: Path) -> None:
    with up_on(place) as up:
        up.prove(1)
        for name in (*CHILDREN, "redis", "postgres"):
            killed = up.pids()[name]
            os.kill(killed, signal.SIGKILL)
            assert wait_until_gone([killed], 10.0)
            wait_for(lambda name=name: _comes_back(up, name), f"{name} to come back", lambda: up.said)
        up.prove(2)

        children = [pid for name, pid in up.pids().items() if name in CHILDREN]
        up.end(signal.SIGKILL)
        assert wait_until_gone(children, 30.0), "they end with who looked after them"
        assert not is_up(place)
        up.start()
        up.prove(3)

        everything = list(up.pids().values())
        marker = EmbeddedPostgres(place)._marker(place / "postgres")
        everything += [pid for pid, said in process_commands().items() if said.startswith(f"postgres: {marker}:")]
        up.end(signal.SIGKILL)
        for pid in everything:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        assert wait_until_gone(everything, 30.0)
        assert running_url(place) is None
        up.start()
        up.prove(4)


def _comes_back(up: Up, name: str) -> bool:
    try:
        return is_alive(up.pids()[name])
    except (KeyError, IndexError):
        return False


def test_up_says_that_the_disk_is_full_and_goes_on_when_there_is_space(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        with up_on(disk) as up:
            filler = disk / "filler"
            fill(filler)
            with pytest.raises(psycopg.Error):
                up.ask("INSERT INTO kept SELECT 2 FROM generate_series(1, 3000000)")
            with EmbeddedPostgresGone(disk):
                wait_for(
                    lambda: "is full" in up.said or "was started again" in up.said, "a word on it", lambda: up.said
                )
            filler.unlink()
            up.prove(1)
            up.end(signal.SIGTERM)

            fill(filler)
            refused = subprocess.run(
                [sys.executable, "-m", "worker.cli.main", "up"],
                capture_output=True, text=True, cwd=ROOT, env=os.environ | {"AFTERGLOW_DATA_DIR": str(disk)},
            )  # fmt: skip
            assert refused.returncode == 1
            assert "disk" in refused.stdout and "full" in refused.stdout, refused.stdout + refused.stderr
            assert str(disk) in refused.stdout
            filler.unlink()
            up.start()
            up.prove(2)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@contextmanager
def EmbeddedPostgresGone(data_dir: Path) -> Iterator[None]:  # noqa: N802  reads as a state
    """Kill the server at the start of the block."""
    for pid in EmbeddedPostgres(data_dir)._server_pids():
        os.kill(pid, signal.SIGKILL)
    yield


def fill(filler: Path) -> None:
    """Write until the disk is full."""
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(b"\0" * 4096)


USER = """
import os, sys
from pathlib import Path
from db.embedded import EmbeddedPostgres, running_url
from worker.embedded import EmbeddedRedis
uid, gid, place = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
if uid:
    # Whatever is imported late is imported now: this Python may lie where only root can read it.
    with EmbeddedPostgres(place / "warm"), EmbeddedRedis(place / "warm"):
        pass
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    place = place / "own"
with EmbeddedPostgres(place) as postgres, EmbeddedRedis(place) as redis:
    print("runs", postgres._server_pids()[0], redis._server_pids()[0], flush=True)
    sys.stdin.readline()
"""


def test_two_users_run_their_own_services_at_once(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start something as another user")
    user = next((entry for entry in pwd.getpwall() if entry.pw_name in ("daemon", "games", "bin")), None)
    if user is None:
        pytest.skip("no ordinary account is here")
    (place / "root").mkdir()
    (place / "other" / "own").mkdir(parents=True)
    os.chown(place / "other" / "own", user.pw_uid, user.pw_gid)
    before = set(Path("/tmp").iterdir())
    running = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(uid), str(gid), str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for uid, gid, home in ((0, 0, place / "root"), (user.pw_uid, user.pw_gid, place / "other"))
    ]  # fmt: skip
    servers: list[list[int]] = []
    for one in running:
        assert one.stdout is not None
        line = one.stdout.readline()
        assert line.startswith("runs "), line
        servers.append([int(pid) for pid in line.split()[1:]])
    assert len({pid for pids in servers for pid in pids}) == 4
    assert {os.stat(f"/proc/{pid}").st_uid for pid in servers[1]} == {user.pw_uid}
    assert 0 not in {os.stat(f"/proc/{pid}").st_uid for pid in servers[0]}, "nothing of root's runs as root"
    for one in running:
        one.communicate("\n", timeout=60)
        assert one.returncode == 0
    new = {entry.name for entry in set(Path("/tmp").iterdir()) - before if "afterglow" in entry.name}
    assert not new, "nothing is left in a place that they share"


def test_rows_of_an_older_postgres_are_carried_over_by_the_commands_that_its_refusal_tells(place: Path) -> None:
    try:
        old = find_postgres()
    except NotHere as error:
        pytest.skip(str(error))
    version = version_of(old)
    service = EmbeddedPostgres(place)
    account = service._account(place / "postgres")
    who: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    (place / "postgres.password").write_text("s3cret\n")
    (place / "postgres.password").chmod(0o644)
    (place / "postgres").mkdir(mode=0o700)
    if account:
        account.own(place / "postgres")
    run = {"check": True, "cwd": "/", "stdout": subprocess.DEVNULL, **who}
    make = [old / "initdb", "-D", place / "postgres", "-U", "afterglow", f"--pwfile={place}/postgres.password"]
    subprocess.run([*make, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"], **run)
    single = [old / "postgres", "--single", "-D", place / "postgres"]
    subprocess.run([*single, "postgres"], input=b"CREATE DATABASE afterglow\n", **run)
    subprocess.run([*single, "afterglow"], input=b"CREATE TABLE kept AS SELECT 7 AS n\n", **run)
    with pytest.raises(EmbeddedServiceError, match=f"was made by Postgres {version}, the installed one is") as told:
        service.acquire()
    before, _, after = str(told.value).partition("Then start `afterglow up`")
    environment = os.environ | {"PATH": f"{old}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-ec", commands_in(before)], check=True, env=environment, stdout=subprocess.DEVNULL)
    with service:
        subprocess.run(["bash", "-ec", commands_in(after)], check=True, env=environment)
        with psycopg.connect(service.url.replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(7,)]


def commands_in(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("  "))
