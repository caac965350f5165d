"""The supervisor: real services and signals, small stand-ins for the processes that it runs."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL, make_url, text

from db.embedded import EmbeddedPostgres, running_url
from db.engine import engine, forget_engine
from db.processes import wait_until_gone
from db.settings import state_settings
from tests.conftest import administer, drop_database, text_of
from worker import services, up
from worker.embedded import EmbeddedRedis
from worker.services import OtherDatabase, open_services, running_services
from worker.settings import worker_settings
from worker.supervisor import ChildProcess, Supervisor
from worker.up import EXIT_ALREADY_RUNS, CannotStart, choose_port, serving_processes
from worker.up_lock import AlreadyRuns, announced, is_up, only_up, read_announcement

pytestmark = pytest.mark.embedded
UP = """
import sys
from worker.supervisor import ChildProcess
from worker.up import run_up

API = '''
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Answer).serve_forever()
'''

def processes(host, port, data_dir):
    return [
        ChildProcess("api", (sys.executable, "-c", API, host, str(port))),
        ChildProcess("sleeper", ("sh", "-c", "echo $$ $DATABASE_URL $REDIS_URL; exec sleep 1000")),
    ]

sys.exit(run_up(int(sys.argv[1]), processes=processes))
"""


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data directory that the settings name."""
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    monkeypatch.setenv("AFTERGLOW_DATA_DIR", str(directory))
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    state_settings.cache_clear()
    worker_settings.cache_clear()
    forget_engine()
    yield directory
    EmbeddedPostgres(directory)._stop()
    EmbeddedRedis(directory)._stop()
    shutil.rmtree(directory)
    state_settings.cache_clear()
    worker_settings.cache_clear()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestSupervisor:
    def test_a_dead_child_is_started_again_and_said_so(self, data_dir: Path) -> None:
        said: list[str] = []
        mortal = ChildProcess("mortal", ("sh", "-c", f"echo started >> {data_dir}/starts; exit 3"))
        supervisor = Supervisor([mortal], data_dir / "logs", report=said.append)
        supervisor.start()

        def was_started_twice() -> bool:
            supervisor.check()
            return (data_dir / "starts").exists() and (data_dir / "starts").read_text().count("started") >= 2

        wait_for(was_started_twice, "the second start")
        supervisor.stop()
        assert said[0].startswith("mortal ended with 3; starting it again in 1 s")

    def test_stop_ends_the_stubborn_and_what_they_started(self, data_dir: Path) -> None:
        script = "trap '' TERM; sleep 1000 & echo $! > $0; while :; do sleep 0.1; done"
        supervisor = Supervisor([ChildProcess("stubborn", ("sh", "-c", script, f"{data_dir}/pid"))], data_dir / "logs")
        supervisor.start()
        wait_for(lambda: bool((data_dir / "pid").exists() and (data_dir / "pid").read_text().strip()), "the grandchild")
        pids = [*supervisor.pids().values(), int((data_dir / "pid").read_text())]
        supervisor.stop(grace_s=0.3)
        assert wait_until_gone(pids, 5.0)

    def test_in_background_children_live_as_long_as_the_block(self, data_dir: Path) -> None:
        supervisor = Supervisor([ChildProcess("sleeper", ("sleep", "1000"))], data_dir / "logs")
        with supervisor.in_background():
            wait_for(lambda: bool(supervisor.pids()), "the child")
            pids = list(supervisor.pids().values())
        assert wait_until_gone(pids, 0.0)

    @pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells a child that its parent died")
    def test_children_end_when_their_supervisor_is_killed(self, data_dir: Path) -> None:
        script = (
            "import sys, time; from pathlib import Path; from worker.supervisor import *\n"
            "one = ChildProcess('one', ('sh', '-c', 'echo $$ > $0; exec sleep 1000', sys.argv[1] + '/pid'))\n"
            "Supervisor([one], Path(sys.argv[1])).start(); time.sleep(1000)"
        )
        parent = subprocess.Popen([sys.executable, "-c", script, str(data_dir)])
        wait_for(lambda: bool((data_dir / "pid").exists() and (data_dir / "pid").read_text().strip()), "the child")
        parent.kill()
        parent.wait()
        assert wait_until_gone([int((data_dir / "pid").read_text())], 5.0)


def test_up_serves_refuses_a_second_one_and_stops_everything_on_sigterm(data_dir: Path) -> None:
    port = free_port()
    start = [sys.executable, "-c", UP, str(port)]
    first = subprocess.Popen(start, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    said = ""
    while "Next" not in said:
        line = first.stdout.readline()
        assert line, f"it ended after saying: {said}"
        said += line
    url = f"http://127.0.0.1:{port}"
    for told in (url, f"{url}/docs", str(data_dir), f"kill {first.pid}", f"{url}/login?link=", "afterglow keys create"):
        assert told in said
    assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    assert json.loads((data_dir / "up.json").read_text()).keys() >= {"pid", "url", "version"}

    second = subprocess.run(start, stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    assert second.returncode == EXIT_ALREADY_RUNS
    assert url in second.stdout
    assert str(first.pid) in second.stdout

    pid, database_url, redis_url = (data_dir / "logs" / "sleeper.log").read_text().split()
    assert database_url == running_url(data_dir)
    assert redis_url == EmbeddedRedis(data_dir).url
    first.send_signal(signal.SIGTERM)
    rest, _ = first.communicate(timeout=30)
    assert first.returncode == 0
    assert "Stopped." in rest
    assert wait_until_gone([int(pid)], 0.0)
    assert running_url(data_dir) is None
    assert not EmbeddedRedis(data_dir).is_healthy()
    assert not (data_dir / "up.json").exists()
    assert not is_up(data_dir)


def test_a_command_gets_a_migrated_database_for_its_duration(data_dir: Path) -> None:
    with running_services() as used:
        assert state_settings().database_url == used.database_url == os.environ["DATABASE_URL"]
        assert used.redis_url is None
        with engine().connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() >= 1
    assert "DATABASE_URL" not in os.environ
    assert state_settings().database_url is None
    assert running_url(data_dir) is None


@pytest.mark.parametrize("is_served", [True, False])
def test_a_command_runs_its_jobs_itself_only_when_no_up_does(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, is_served: bool
) -> None:
    announce = ChildProcess("own", ("sh", "-c", "echo $REDIS_URL; exec sleep 1000"))
    monkeypatch.setattr(services, "job_processes", lambda: [announce])
    log = data_dir / "logs" / "own.log"
    if is_served:
        with only_up(data_dir), running_services(jobs=True):
            pass
        assert not log.exists()
    else:
        with running_services(jobs=True) as used:
            wait_for(lambda: log.exists() and used.redis_url in log.read_text().split(), "the process")


def test_the_process_list_has_each_process_once_with_its_queue(data_dir: Path) -> None:
    processes = serving_processes("127.0.0.1", 8123, data_dir)
    assert [process.name for process in processes] == ["api", "dispatcher", "worker", "train-worker", "beat"]
    queues = [process.argv[process.argv.index("-Q") + 1] for process in processes if "-Q" in process.argv]
    assert queues == ["default", "train"]


class TestPort:
    def test_a_named_port_that_is_taken_is_an_error_that_says_how_to_choose(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(CannotStart, match=rf"port {port}: .*--port"):
                choose_port("127.0.0.1", port)

    def test_without_a_named_port_the_next_free_one_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            monkeypatch.setattr(up, "DEFAULT_PORT", taken.getsockname()[1])
            assert up.DEFAULT_PORT < choose_port("127.0.0.1", None) < up.DEFAULT_PORT + up.NUM_PORTS_TRIED

    def test_when_all_that_are_tried_are_taken_the_error_says_which(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(up, "NUM_PORTS_TRIED", 3)
        with ExitStack() as stack:
            first = block_ports(stack, 3)
            monkeypatch.setattr(up, "DEFAULT_PORT", first)
            with pytest.raises(CannotStart, match=rf"No port from {first} to {first + 2} can be used .*--port"):
                choose_port("127.0.0.1", None)


def block_ports(stack: ExitStack, number: int) -> int:
    """Take so many TCP ports in a row; the first of them."""
    for first in range(21_000, 32_000, 7):
        with ExitStack() as taken, suppress(OSError):
            for port in range(first, first + number):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
            stack.push(taken.pop_all())
            return first
    raise AssertionError("no ports in a row are free")


class TestAnnouncement:
    @pytest.mark.parametrize("left", ["", "{", "[]", '{"pid": 1}', "null"])
    def test_what_a_killed_up_left_stops_nobody(self, data_dir: Path, left: str) -> None:
        (data_dir / "up.json").write_text(left)
        (data_dir / "up.json.new").write_text(left)
        (data_dir / "up.lock").touch()
        assert read_announcement(data_dir) is None
        with only_up(data_dir):
            assert read_announcement(data_dir) is None
            with pytest.raises(AlreadyRuns, match="is starting or stopping"), only_up(data_dir):
                pass
            with announced(data_dir, "http://here", None, None):
                assert stat.S_IMODE((data_dir / "up.json").stat().st_mode) == 0o600
                with pytest.raises(AlreadyRuns, match=rf"http://here \(process {os.getpid()}"), only_up(data_dir):
                    pass
        assert not (data_dir / "up.json").exists()

    def test_a_command_without_database_url_uses_the_database_of_the_up_that_runs(
        self, data_dir: Path, external_database: str
    ) -> None:
        with only_up(data_dir), announced(data_dir, "http://here", external_database, None), running_services() as used:
            assert used.database_url == external_database
            assert used.embedded == ()
        assert not (data_dir / "postgres").exists(), "no private one was made"

    def test_a_command_with_another_database_than_that_of_the_up_that_runs_is_refused(
        self, data_dir: Path, external_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3cret@db.example/other")
        state_settings.cache_clear()
        with (
            only_up(data_dir),
            announced(data_dir, "http://here", external_database, None),
            pytest.raises(OtherDatabase, match=r"is db\.example:5432/other, but .* uses .*/afterglow_up_") as told,
            running_services(),
        ):
            pass
        assert "s3cret" not in str(told.value)
        with (
            only_up(data_dir),
            announced(data_dir, "http://here", None, None),
            pytest.raises(OtherDatabase, match="uses its private database"),
            running_services(),
        ):
            pass

    def test_when_the_last_up_used_another_database_than_the_private_one_leaving_it_out_is_refused(
        self, data_dir: Path, external_database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DATABASE_URL", external_database)
        state_settings.cache_clear()
        with open_services(broker=False, for_up=True):
            pass
        monkeypatch.delenv("DATABASE_URL")
        state_settings.cache_clear()
        with pytest.raises(OtherDatabase, match="and now DATABASE_URL is not set") as told, running_services():
            pass
        password = make_url(external_database).password
        assert password
        assert password not in str(told.value)
        (data_dir / "external-database").unlink()
        with running_services() as used:
            assert used.database_url != external_database


@pytest.fixture
def external_database(postgres_url: URL) -> Iterator[str]:
    """A database that is not the private one of the data directory."""
    name = f"afterglow_up_{uuid.uuid4().hex[:8]}"
    administer(postgres_url, f"CREATE DATABASE {name}")
    yield text_of(postgres_url.set(database=name))
    drop_database(postgres_url, name)


def test_up_takes_the_next_free_port_and_says_so(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        start = [sys.executable, "-c", UP.replace("int(sys.argv[1])", "None"), str(port)]
        start[2] = f"import sys; from worker import up; up.DEFAULT_PORT = int(sys.argv[1])\n{start[2]}"
        with subprocess.Popen(start, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert running.stdout.readline().startswith(f"Port {port} is taken, so this one uses ")
            running.terminate()
            running.stdout.read()
        assert running.returncode == 0


def test_up_says_why_when_the_api_dies_again_and_again(data_dir: Path) -> None:
    dying = UP.replace("http.server.HTTPServer(", "sys.exit('somebody took my port') or (")
    done = subprocess.run(
        [sys.executable, "-c", dying, str(free_port())], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "It has now ended 3 times in a row. The last time it said:\nsomebody took my port" in done.stdout
    assert f"its log {data_dir}/logs/api.log has the reason" in done.stdout
    assert running_url(data_dir) is None, "and what was started is stopped"
