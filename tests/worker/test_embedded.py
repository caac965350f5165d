"""The private Redis: real binary, real processes."""

import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import Connection

from db.processes import wait_until_gone
from db.shared_service import EmbeddedServiceError
from worker import embedded
from worker.embedded import EmbeddedRedis

pytestmark = pytest.mark.embedded


@pytest.fixture
def data_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    yield directory
    EmbeddedRedis(directory)._stop()
    shutil.rmtree(directory)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(data_dir) as service:
        yield service


def test_it_listens_on_a_private_socket_only_and_never_evicts(server: EmbeddedRedis) -> None:
    with redis.Redis.from_url(server.redis_py_url, decode_responses=True) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
    assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700


def test_celerys_transport_sends_and_receives_over_the_url(server: EmbeddedRedis) -> None:
    with Connection(server.url) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put({"id": 1})
        assert queue.get(timeout=5).payload == {"id": 1}
        queue.close()


def test_it_is_shared_and_the_last_release_stops_it(data_dir: Path) -> None:
    first, second = EmbeddedRedis(data_dir), EmbeddedRedis(data_dir)
    assert first.acquire() == second.acquire()
    [pid] = first._server_pids()
    first.release()
    assert second.is_healthy()
    second.release()
    assert not second.is_healthy()
    assert wait_until_gone([pid], 0.0)


def test_what_was_written_survives_a_stop(data_dir: Path) -> None:
    for expected in (None, "kept"):
        with (
            EmbeddedRedis(data_dir) as service,
            redis.Redis.from_url(service.redis_py_url, decode_responses=True) as client,
        ):
            assert client.get("key") == expected
            client.set("key", "kept")


def test_ensure_starts_a_killed_server_again(server: EmbeddedRedis) -> None:
    [pid] = server._server_pids()
    os.kill(pid, signal.SIGKILL)
    assert wait_until_gone([pid], 5.0)
    assert not server.is_healthy()
    server.ensure()
    assert server.is_healthy()
    assert server._server_pids() != [pid]


def test_a_server_that_is_stuck_gets_no_second_one_beside_it(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    [pid] = server._server_pids()
    os.kill(pid, signal.SIGSTOP)
    try:
        monkeypatch.setattr(EmbeddedRedis, "_probe", lambda self: "no answer")  # the real one waits seconds for it
        with pytest.raises(EmbeddedServiceError, match=f"process {pid} gave no answer"):
            server.ensure(timeout_s=0.1)
        assert server._server_pids() == [pid]
    finally:
        os.kill(pid, signal.SIGCONT)


def test_paths_with_spaces_quotes_and_great_length_work(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir / ('it\'s "my" data ' + "x" * 80)) as service:
        assert service.socket_path.parent.parent == Path("/tmp")
        assert service.is_healthy()
    shutil.rmtree(service.socket_path.parent)


def test_an_old_server_on_the_path_is_passed_over(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, said in (
        ("redis-server", "Redis server v=6.0.16 sha=0"),
        ("valkey-server", "Valkey server v=8.0.1 sha=0"),
    ):
        program = data_dir / name
        program.write_text(f"#!/bin/sh\necho '{said}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{data_dir}:/usr/bin:/bin")
    assert embedded.find_server() == data_dir / "valkey-server"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
class TestAsRoot:
    def test_it_runs_as_an_unprivileged_user_also_on_files_that_root_left(self, data_dir: Path) -> None:
        data_dir.chmod(0o755)
        (data_dir / "redis" / "appendonlydir").mkdir(parents=True)
        with EmbeddedRedis(data_dir) as service, redis.Redis.from_url(service.redis_py_url) as client:
            client.set("key", "kept")
            [pid] = service._server_pids()
            assert os.stat(f"/proc/{pid}").st_uid == pwd.getpwnam("nobody").pw_uid
            assert {path.stat().st_uid for path in (data_dir / "redis").rglob("*")} == {os.stat(f"/proc/{pid}").st_uid}

    def test_under_a_closed_home_it_stays_roots(self, data_dir: Path) -> None:
        data_dir.chmod(0o700)
        with EmbeddedRedis(data_dir / "var") as service:
            [pid] = service._server_pids()
            assert os.stat(f"/proc/{pid}").st_uid == 0
            assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


def test_a_log_that_a_kill_cut_short_is_read_as_far_as_it_goes(data_dir: Path) -> None:
    with EmbeddedRedis(data_dir) as service, redis.Redis.from_url(service.redis_py_url) as client:
        client.set("first", "kept")
        client.set("second", "x" * 100)
    [log] = [path for path in (data_dir / "redis").rglob("*.aof") if path.stat().st_size > 100]
    os.truncate(log, log.stat().st_size - 50)
    with EmbeddedRedis(data_dir) as service, redis.Redis.from_url(service.redis_py_url) as client:
        assert client.get("first") == b"kept"
        assert client.get("second") is None
