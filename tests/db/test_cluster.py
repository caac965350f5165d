"""The files of the private Postgres: full disks, read-only ones, copies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from db import postgres_binaries
from db.embedded import EmbeddedPostgres
from db.processes import wait_until_gone
from db.shared_service import EmbeddedServiceError
from tests.db.conftest import run_sql, start_from

pytestmark = pytest.mark.embedded
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """An empty directory with a short path that every user can enter."""
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    EmbeddedPostgres(directory)._stop()
    shutil.rmtree(directory)


class TestCopies:
    def test_one_that_was_made_while_nothing_ran_works_beside_the_first(self, made: Path, data_dir: Path) -> None:
        first, second = data_dir / "first", data_dir / "second"
        first.mkdir()
        with start_from(made, first) as postgres:
            run_sql(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n")
        shutil.copytree(first, second, symlinks=True)  # as root, the copy's files are root's
        with EmbeddedPostgres(first) as one, EmbeddedPostgres(second) as other:
            run_sql(one.url, "DELETE FROM kept")
            assert run_sql(other.url, "SELECT n FROM kept") == [(7,)]

    def test_one_that_was_made_of_a_running_server_is_refused(self, made: Path, data_dir: Path) -> None:
        first, second = data_dir / "first", data_dir / "second"
        first.mkdir()
        with start_from(made, first) as postgres:
            subprocess.run(["cp", "-a", str(first), str(second)], check=False, stderr=subprocess.DEVNULL)
            try:
                with pytest.raises(EmbeddedServiceError, match=r"is a copy of .*/first/postgres that was made while"):
                    EmbeddedPostgres(second).acquire()
                assert postgres.is_healthy()
            finally:
                EmbeddedPostgres(second)._stop()
        # Moved after a kill, it is no copy: the original is gone.
        moved = data_dir / "moved"
        (first / "postgres").rename(first / "gone")
        shutil.rmtree(first)
        second.rename(moved)
        with EmbeddedPostgres(moved) as postgres:
            assert run_sql(postgres.url, "SELECT 1") == [(1,)]

    def test_one_of_another_version_is_refused_with_the_commands_that_carry_it_over(self, data_dir: Path) -> None:
        (data_dir / "postgres").mkdir()
        (data_dir / "postgres" / "PG_VERSION").write_text("15\n")
        with pytest.raises(EmbeddedServiceError, match="made by Postgres 15, the installed one is") as told:
            EmbeddedPostgres(data_dir).acquire()
        for command in ("pg_dump", "pg_restore", "pg_ctl", "mv"):
            # As root the server is run by the owner of its cluster.
            assert re.search(rf"^  (setpriv .* )?(/\S+/)?{command} ", str(told.value), re.MULTILINE), command
        assert list((data_dir / "postgres").iterdir()) == [data_dir / "postgres" / "PG_VERSION"]

    def test_a_cluster_without_its_version_file_is_called_damaged(self, data_dir: Path) -> None:
        (data_dir / "postgres").mkdir()
        with pytest.raises(EmbeddedServiceError, match="its file PG_VERSION is missing"):
            EmbeddedPostgres(data_dir).acquire()

    @needs_root
    def test_one_whose_rows_lie_outside_is_refused_until_it_has_rows_of_its_own(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(postgres_binaries, "RELOCATED_ROOT", data_dir / "elsewhere")
        first, second = data_dir / "home" / "first", data_dir / "home" / "second"
        first.mkdir(parents=True)
        (data_dir / "home").chmod(0o700)
        with EmbeddedPostgres(first):
            pass
        shutil.copytree(first, second, symlinks=True)
        with pytest.raises(EmbeddedServiceError, match=r"second is a copy of .*first, but the rows are in"):
            EmbeddedPostgres(second).acquire()
        shutil.rmtree(first)  # then it is not a copy any more, but moved
        with EmbeddedPostgres(second) as postgres:
            assert run_sql(postgres.url, "SELECT 1") == [(1,)]


class TestDisk:
    @pytest.fixture
    def small_disk(self, data_dir: Path) -> Iterator[Path]:
        """A file system of 128 MiB."""
        if os.geteuid() != 0:
            pytest.skip("only root may mount a small disk")
        place = data_dir / "disk"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=128m,mode=755", "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        yield place
        EmbeddedPostgres(place)._stop()
        subprocess.run(["umount", str(place)], check=True)

    def test_when_it_is_full_a_first_start_says_so_and_leaves_nothing_half_made(self, small_disk: Path) -> None:
        filler = fill(small_disk, leave_bytes=8 * 2**20)
        with pytest.raises(EmbeddedServiceError, match="No space left on device") as told:
            EmbeddedPostgres(small_disk).acquire()
        assert f"The disk of {small_disk} is full" in str(told.value)
        assert not (small_disk / "postgres").exists()
        assert not list(small_disk.glob("postgres.new-*"))
        filler.unlink()
        with EmbeddedPostgres(small_disk) as postgres:
            assert run_sql(postgres.url, "SELECT 1") == [(1,)]

    def test_when_it_fills_up_statements_fail_rows_stay_and_it_goes_on_when_there_is_space(
        self, made: Path, small_disk: Path
    ) -> None:
        with start_from(made, small_disk) as postgres:
            noise = "repeat(md5(random()::text), 100)"
            run_sql(postgres.url, "CREATE TABLE kept AS SELECT 7 AS n, ''::text AS filling")
            filler = fill(small_disk, leave_bytes=0)
            with pytest.raises(OperationalError, match=r"No space left on device|closed the connection"):
                run_sql(postgres.url, f"INSERT INTO kept SELECT 8, {noise} FROM generate_series(1, 20000)")
            for server in postgres._server_pids():
                os.kill(server, signal.SIGKILL)
                assert wait_until_gone([server], 5.0)
            filler.unlink()
            postgres.ensure()
            assert run_sql(postgres.url, "SELECT count(*) FROM kept WHERE n = 7") == [(1,)]
            assert run_sql(postgres.url, "SELECT count(*) FROM kept WHERE n = 8") == [(0,)]
            run_sql(postgres.url, "INSERT INTO kept VALUES (9, '')")
        filler = fill(small_disk, leave_bytes=0)
        with pytest.raises(EmbeddedServiceError, match=f"The disk of {small_disk}/postgres is full"):
            postgres.acquire()
        filler.unlink()
        with postgres:
            assert run_sql(postgres.url, "SELECT n FROM kept ORDER BY n") == [(7,), (9,)]

    def test_a_read_only_one_is_named(self, made: Path, small_disk: Path) -> None:
        with start_from(made, small_disk):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        try:
            with pytest.raises(EmbeddedServiceError, match=f"{small_disk}/.* is on a read-only file system"):
                EmbeddedPostgres(small_disk).acquire()
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_of_somebody_else_is_named(self, data_dir: Path) -> None:
        closed = data_dir / "closed"
        closed.mkdir(mode=0o500)
        with pytest.raises(EmbeddedServiceError, match=f"{closed}/.* may not be used by user {os.geteuid()}"):
            EmbeddedPostgres(closed).acquire()


def fill(disk: Path, leave_bytes: int) -> Path:
    """Fill up a file system but for `leave_bytes`; the file that does it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, suppress(OSError):
        while shutil.disk_usage(disk).free > leave_bytes:
            missing = shutil.disk_usage(disk).free - leave_bytes
            stream.write(b"\0" * min(missing, 2**20))
    return filler
