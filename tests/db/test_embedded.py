"""The private Postgres: real binaries, real processes, real signals."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db import postgres_binaries
from db.embedded import EmbeddedPostgres, running_url
from db.postgres_binaries import WHEEL_PACKAGE, find_binaries
from db.processes import SERVICE_ENV, Account, process_commands, wait_until_gone
from db.shared_service import EmbeddedServiceError
from tests.db.conftest import run_sql, start_from

pytestmark = pytest.mark.embedded
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")

USER = """
import sys
from pathlib import Path
from db.embedded import EmbeddedPostgres
service = EmbeddedPostgres(Path(sys.argv[1]))
service.acquire()
print(service._server_pids()[0], flush=True)
sys.stdin.readline()
service.release()
"""
"""Another process that uses the service until it is told to stop."""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty directory with a short path that every user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    EmbeddedPostgres(directory)._stop()
    shutil.rmtree(directory)


def start_user(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def server_pid_seen_by(user: subprocess.Popen[str]) -> int:
    assert user.stdout is not None
    return int(user.stdout.readline())


def let_go(user: subprocess.Popen[str]) -> None:
    user.communicate("\n", timeout=30)
    assert user.returncode == 0


def test_first_start_makes_a_private_server_that_the_last_release_stops(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "s3cret")
    assert running_url(data_dir) is None
    assert list(data_dir.iterdir()) == [], "asking whether it runs creates nothing"
    with EmbeddedPostgres(data_dir) as postgres:
        assert running_url(data_dir) == postgres.url
        sql = (
            "SELECT current_setting('server_encoding'), current_setting('TimeZone'), current_setting('data_checksums'), "
            "current_setting('listen_addresses'), current_setting('max_connections'), current_setting('fsync')"
        )
        assert run_sql(postgres.url, sql) == [("UTF8", "UTC", "on", "", "100", "on")]
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(
                host=str(postgres._socket_dir()), port=5432, user="afterglow", password="wrong", dbname="afterglow"
            )
        assert stat.S_IMODE((data_dir / "postgres.password").stat().st_mode) == 0o600
        assert stat.S_IMODE(postgres._socket_dir().stat().st_mode) == 0o700
        server = postgres._server_pids()
        if Path("/proc/self/environ").exists():
            [(environ,)] = run_sql(postgres.url, f"SELECT pg_read_binary_file('/proc/{server[0]}/environ')")
            assert b"PATH=" in bytes(environ)
            assert b"A_SECRET" not in bytes(environ), "nothing of our environment reaches the server"
    assert running_url(data_dir) is None
    assert wait_until_gone(server, 0.0)
    assert not list(data_dir.glob("postgres.new-*"))


def test_a_second_process_reuses_the_server_and_the_last_one_stops_it(made: Path, data_dir: Path) -> None:
    postgres = start_from(made, data_dir)
    postgres.acquire()
    [server] = postgres._server_pids()
    other = start_user(data_dir)
    assert server_pid_seen_by(other) == server
    postgres.release()
    assert running_url(data_dir) is not None, "the other process still uses it"
    let_go(other)
    assert running_url(data_dir) is None


def test_a_killed_user_does_not_keep_the_server_from_being_stopped(made: Path, data_dir: Path) -> None:
    start_from(made, data_dir)
    other = start_user(data_dir)
    server = server_pid_seen_by(other)
    other.kill()
    other.communicate()
    with EmbeddedPostgres(data_dir) as postgres:
        assert postgres._server_pids() == [server], "the server outlived its killed user"
    assert running_url(data_dir) is None


def test_four_processes_on_an_empty_directory_make_one_cluster_and_one_server(data_dir: Path) -> None:
    users = [start_user(data_dir) for _ in range(4)]
    assert len({server_pid_seen_by(user) for user in users}) == 1
    for user in users:
        let_go(user)
    log = (data_dir / "logs" / "postgres.log").read_text()
    assert log.count("database system is ready to accept connections") == 1
    assert running_url(data_dir) is None


def test_after_the_server_was_killed_it_starts_again_with_its_rows(made: Path, data_dir: Path) -> None:
    with start_from(made, data_dir) as postgres:
        run_sql(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        for start_again in (postgres.acquire, postgres.ensure):
            [server] = postgres._server_pids()
            os.kill(server, signal.SIGKILL)
            assert wait_until_gone([server], 5.0)
            assert not postgres.is_healthy()
            start_again()
            assert run_sql(postgres.url, "SELECT n FROM kept") == [(7,)]


def test_lock_files_that_name_a_foreign_process_do_not_stop_the_start(made: Path, data_dir: Path) -> None:
    with start_from(made, data_dir) as postgres:
        [server] = postgres._server_pids()
        os.kill(server, signal.SIGKILL)
        assert wait_until_gone([server], 5.0)
        pid_file = data_dir / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        for content in ("\n".join([str(os.getpid()), *lines[1:]]) + "\n", "\n".join(lines[:5]) + "\n", "12", ""):
            pid_file.write_text(content)
            socket_lock = postgres._socket_dir() / ".s.PGSQL.5432.lock"
            socket_lock.write_text(f"{os.getpid()}\n")
            postgres.acquire()
            assert postgres.is_healthy()
            postgres._stop()


def test_a_failed_start_tells_the_reason_the_log_and_the_cure(made: Path, data_dir: Path) -> None:
    with start_from(made, data_dir):
        pass
    with (data_dir / "postgres" / "postgresql.auto.conf").open("a") as settings:
        settings.write("work_mem = 'a lot'\n")
    postgres = EmbeddedPostgres(data_dir)
    with pytest.raises(EmbeddedServiceError, match="work_mem") as told:
        postgres.acquire()
    assert "ended right after its start" in str(told.value)
    assert "DATABASE_URL" in str(told.value)
    assert postgres._users_fd is None, "a failed start does not count as use"


def test_what_an_interrupted_first_start_left_is_cleared(data_dir: Path) -> None:
    (data_dir / "postgres.new-killed").mkdir()
    (data_dir / "postgres.new-killed" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data_dir) as postgres:
        assert postgres.is_healthy()
    assert not list(data_dir.glob("postgres.new-*"))


def test_a_long_or_strange_path_gets_its_socket_elsewhere(data_dir: Path) -> None:
    deep = data_dir / ("a, b:" + "x" * 80)
    with EmbeddedPostgres(deep) as postgres:
        sockets = postgres._socket_dir()
        assert sockets.parent == Path("/tmp")
        assert len(os.fsencode(sockets / ".s.PGSQL.5432")) < 104
        assert run_sql(postgres.url, "SELECT 1") == [(1,)]
    shutil.rmtree(sockets)


@needs_root
def test_under_a_closed_home_the_cluster_moves_and_no_mode_changes(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_binaries, "RELOCATED_ROOT", data_dir / "elsewhere")
    home = data_dir / "home"
    inside = home / "checkout" / "var"
    inside.mkdir(parents=True)
    home.chmod(0o700)
    with EmbeddedPostgres(inside) as postgres:
        run_sql(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        assert (inside / "postgres").resolve().is_relative_to(data_dir / "elsewhere")
        assert running_url(inside) == postgres.url
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with EmbeddedPostgres(inside) as postgres:
        assert run_sql(postgres.url, "SELECT n FROM kept") == [(7,)]


@needs_root
def test_programs_that_the_user_cannot_reach_are_copied_to_where_it_can(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = find_binaries(data_dir / "none", None).parents[2]
    closed = data_dir / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(wheel / WHEEL_PACKAGE / "pginstall18", closed / WHEEL_PACKAGE / "pginstall18")
    shutil.copytree(wheel / f"{WHEEL_PACKAGE}.libs", closed / f"{WHEEL_PACKAGE}.libs")
    (closed / WHEEL_PACKAGE / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(closed))
    monkeypatch.setattr(postgres_binaries, "RELOCATED_ROOT", data_dir / "elsewhere")
    nobody = Account(65534, 65534, "nobody")
    copied = find_binaries(data_dir / "none", nobody)
    assert copied.is_relative_to(data_dir / "elsewhere")
    assert find_binaries(data_dir / "none", nobody) == copied, "copied once"
    with EmbeddedPostgres(data_dir) as postgres:
        assert run_sql(postgres.url, "SELECT 1") == [(1,)]


def test_a_missing_wheel_names_what_to_install(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "WHEEL_PACKAGE", "no_such_wheel")
    with pytest.raises(EmbeddedServiceError, match=r"afterglow\[embedded\]"):
        EmbeddedPostgres(data_dir).acquire()


def test_after_a_kill_of_the_server_and_all_its_processes_it_starts_with_its_rows(made: Path, data_dir: Path) -> None:
    with start_from(made, data_dir) as postgres:
        run_sql(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        busy = psycopg.connect(postgres.url.replace("+psycopg", ""))
        try:
            busy.execute("INSERT INTO kept VALUES (8)")
            [server] = postgres._server_pids()
            title = f"postgres: {postgres._marker(data_dir / 'postgres')}:"
            children = [pid for pid, command in process_commands().items() if command.startswith(title)]
            assert children
            for pid in (server, *children):
                os.kill(pid, signal.SIGKILL)
            postgres.ensure()
        finally:
            busy.close()
        assert run_sql(postgres.url, "SELECT n FROM kept") == [(7,)], "what was committed, and no more"


def test_a_server_that_somebody_started_by_hand_is_left_alone(made: Path, data_dir: Path) -> None:
    with start_from(made, data_dir) as postgres:
        binaries = find_binaries(data_dir / "none", None)
        account = postgres._account(data_dir / "postgres")
    argv = [str(binaries / "postgres"), "-D", ".", "-k", ".", "-h", ""]
    identity: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
    pid_file = data_dir / "postgres" / "postmaster.pid"
    with subprocess.Popen(
        argv, cwd=data_dir / "postgres", env=SERVICE_ENV, stderr=subprocess.DEVNULL, **identity
    ) as other:
        try:
            while not pid_file.exists() or len(pid_file.read_text().splitlines()) < 8:
                assert other.poll() is None
                time.sleep(0.02)
            with pytest.raises(EmbeddedServiceError, match=rf"another Postgres \(process {other.pid}\) was started"):
                EmbeddedPostgres(data_dir).acquire()
            assert pid_file.exists()
        finally:
            other.terminate()
