"""Runs tests on the machine's own Postgres and a Redis, over TCP with passwords: `python -m tests.served PYTEST-ARGUMENTS`.

What `make test` runs on are the private services: Postgres of one version, on a unix socket, as superuser. Here is what
a served Afterglow has instead: an older Postgres (15 is the oldest that is promised), a role that may do no more than
create databases, another time zone and locale than ours, and a Redis that asks for a password.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import redis

from worker.embedded import find_server

MIN_POSTGRES = 15
START_TIMEOUT_S = 60.0
ROLE = "afterglow_test"
PLACES = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "opt/homebrew/opt/postgresql@*/bin")
"""Where systems put the programs of Postgres, from / on."""


class NotHere(Exception):
    """This machine has not what the tests need."""


def find_postgres() -> Path:
    """The `bin` directory of the oldest Postgres of this machine that is new enough.

    Raises:
        NotHere: There is none; the message lists what was found.
    """
    candidates = [Path(program).resolve().parent for name in ("initdb", "postgres") if (program := shutil.which(name))]
    if asked := shutil.which("pg_config"):
        said = subprocess.run([asked, "--bindir"], check=False, capture_output=True, text=True).stdout.strip()
        candidates.append(Path(said))
    for pattern in PLACES:
        candidates += Path("/").glob(pattern)
    found = {place: version for place in candidates if (version := version_of(place))}
    fitting = {place: version for place, version in found.items() if version >= MIN_POSTGRES}
    if not fitting:
        here = ", ".join(f"{version} in {place}" for place, version in found.items()) or "none"
        raise NotHere(
            f"make test-served needs a Postgres {MIN_POSTGRES} or newer on this machine (its server programs, not only psql), "
            f"and found: {here}. Install one, such as the package postgresql-{MIN_POSTGRES}; it need not run."
        )
    return min(fitting, key=lambda place: fitting[place])


def version_of(place: Path) -> int | None:
    """The major version of the Postgres server in a `bin` directory, None when it is not whole."""
    if not all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres")):
        return None
    said = subprocess.run([place / "postgres", "--version"], check=False, capture_output=True, text=True).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found.group(1)) if found else None


@contextmanager
def served_postgres(home: Path) -> Iterator[str]:
    """A Postgres of this machine on a free TCP port; gives the URL of a role that may create databases and no more."""
    programs = find_postgres()
    # Postgres refuses root.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    cluster, port, password = home / "cluster", free_port(), secrets.token_hex(12)
    cluster.mkdir(mode=0o700)
    pwfile = home / "password"
    pwfile.write_text(password)
    if user:
        for path in (cluster, pwfile):
            os.chown(path, user.pw_uid, user.pw_gid)
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    subprocess.run(
        [programs / "initdb", "-D", cluster, "-U", "admin", f"--pwfile={pwfile}", "-A", "scram-sha-256"]
        + ["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **identity,
    )  # fmt: skip
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "timezone": "Asia/Kathmandu",
        "fsync": "off",
        "max_connections": "200",
    }
    server = [str(programs / "postgres"), "-D", str(cluster)]
    for key, value in settings.items():
        server += ["-c", f"{key}={value}"]
    admin = f"postgresql://admin:{password}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        try:
            with psycopg.connect(admin, autocommit=True, connect_timeout=5) as connection:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB NOSUPERUSER PASSWORD '{password}'")
                connection.execute(f"CREATE DATABASE {ROLE} OWNER {ROLE}")
        except psycopg.OperationalError:
            return False
        return True

    print(f"Postgres {version_of(programs)} ({programs}) on port {port}", flush=True)
    with running(server, home / "postgres.log", answers, **identity):
        yield f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{ROLE}"


@contextmanager
def served_redis(home: Path) -> Iterator[str]:
    """A Redis on a free TCP port that asks for a password; gives its URL."""
    port, password, program = free_port(), secrets.token_hex(12), find_server()
    conf = home / "redis.conf"
    conf.write_text(
        f'port {port}\nbind 127.0.0.1\nrequirepass {password}\ndatabases 64\nsave ""\ndir {home}\n'
        "maxmemory-policy noeviction\n"
    )
    url = f"redis://:{password}@127.0.0.1:{port}"

    def answers() -> bool:
        with redis.Redis.from_url(url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    print(f"Redis ({program}) on port {port}", flush=True)
    with running([str(program), str(conf)], home / "redis.log", answers):
        yield url


@contextmanager
def running(argv: list[str], log: Path, answers: Callable[[], bool], **identity: object) -> Iterator[None]:
    """Run a server for the duration of the block, which begins when it answers."""
    with log.open("wb") as stream:
        server = subprocess.Popen(argv, stdout=stream, stderr=stream, cwd="/", **identity)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise NotHere(f"{argv[0]} does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(30)


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main(pytest_arguments: list[str]) -> int:
    """Run pytest with the arguments on services that are started for it; its exit code."""
    home = Path(tempfile.mkdtemp(prefix="ag-served-", dir="/tmp"))
    home.chmod(0o755)
    try:
        with ExitStack() as stack:
            services = {
                "AFTERGLOW_TEST_DATABASE_URL": stack.enter_context(served_postgres(home)),
                "AFTERGLOW_TEST_REDIS_URL": stack.enter_context(served_redis(home)),
            }
            tests = [sys.executable, "-m", "pytest", "-m", "not embedded and not faults", *pytest_arguments]
            return subprocess.run(tests, check=False, env=os.environ | services).returncode
    except NotHere as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
