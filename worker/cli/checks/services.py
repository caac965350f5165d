"""Postgres with its schema, Redis, and the file store: the private ones, or those that the settings name."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from db.settings import state_settings
from worker.cli.checks.finding import Finding, Place, ok, problem, unknown, warning
from worker.cli.errors import reason_of, without_password
from worker.settings import worker_settings

MIN_POSTGRES = 15
MIN_REDIS = 7
EXAMPLE_POSTGRES = "postgresql://user:password@host/name"
NOT_RUNNING = "The database does not run now, so this cannot be known."


def check_postgres(place: Place) -> Iterator[Finding]:
    """The database: reachable and new enough, or the programs of the private one."""
    configured = state_settings().database_url
    if configured and not configured.startswith(("postgresql", "postgres:")):
        yield problem("Postgres", "DATABASE_URL is no URL of a Postgres.", f"DATABASE_URL={EXAMPLE_POSTGRES}")
    elif configured or place.database_url:
        yield _reached(str(configured or place.database_url), private=not configured)
    else:
        yield _private_postgres(place.data_dir)


def _reached(url: str, *, private: bool) -> Finding:
    import psycopg

    named = "The private Postgres" if private else f"Postgres at {_host(url)}"
    try:
        with psycopg.connect(plain_url(url), connect_timeout=5) as connection:
            number = connection.info.server_version
    except psycopg.Error as error:
        return problem("Postgres", f"{named} does not answer: {reason_of(error)}.",
                       f"start it, or mend DATABASE_URL ({EXAMPLE_POSTGRES})")  # fmt: skip
    major = number // 10000
    if major < MIN_POSTGRES:
        return problem("Postgres", f"{named} is version {major}; {MIN_POSTGRES} or newer is needed.",
                       f"use a Postgres {MIN_POSTGRES} or newer, or unset DATABASE_URL for the private one")  # fmt: skip
    return ok("Postgres", f"{named} answers, version {major}.{number % 10000}.")


def plain_url(url: str) -> str:
    """A URL as psycopg takes it, whatever driver SQLAlchemy's spelling of it names."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or 'a local socket'}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "the host of the URL"


def _private_postgres(data_dir: Path) -> Finding:
    from importlib.util import find_spec

    from db.postgres_binaries import WHEEL_PACKAGE, major_version

    cure = "pip install 'afterglow[embedded]', or set DATABASE_URL to a Postgres 15 or newer"
    spec = find_spec(WHEEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return problem("Postgres", "DATABASE_URL is not set, and the private Postgres is not installed.", cure)
    majors = {
        major_version(found.parent) for found in Path(spec.submodule_search_locations[0]).glob("pginstall*/bin/initdb")
    }
    if not majors:
        return problem("Postgres", "The package of the private Postgres holds no programs.",
                       f"pip install --force-reinstall {WHEEL_PACKAGE.replace('_', '-')}")  # fmt: skip
    cluster = data_dir / "postgres"
    try:
        made_by = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        made_by = None
    except OSError as error:
        return problem("Postgres", f"{cluster} cannot be read: {error.strerror}.", f"run as the owner of {data_dir}")
    if made_by is not None and made_by not in {str(major) for major in majors}:
        return problem("Postgres", f"{cluster} was made by Postgres {made_by}, and installed is {max(majors)}.",
                       "install the version of afterglow that made it, or choose another AFTERGLOW_DATA_DIR")  # fmt: skip
    user = state_settings().postgres_user
    if os.geteuid() == 0 and not _is_unprivileged(user):
        return problem("Postgres", f"Postgres refuses to run as root, and {user!r} is no unprivileged user.",
                       "set AFTERGLOW_POSTGRES_USER to one, e.g. nobody")  # fmt: skip
    return ok("Postgres", f"The private Postgres {max(majors)} is installed and does not run now; commands start it.")


def _is_unprivileged(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid != 0
    except KeyError:
        return False


def check_migrations(place: Place) -> Iterator[Finding]:
    """The schema: as this version of Afterglow expects it."""
    import psycopg
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from db.engine import alembic_directory

    if place.database_url is None:
        yield unknown("schema", NOT_RUNNING, "afterglow migrate")
        return
    config = Config()
    config.set_main_option("script_location", str(alembic_directory()))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    try:
        with psycopg.connect(plain_url(place.database_url), connect_timeout=5) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.Error as error:
        yield unknown("schema", f"It cannot be read: {reason_of(error)}.")
        return
    if row is None:
        yield warning("schema", "The database is empty; the first command makes the tables.", "afterglow migrate")
    elif row[0] == head:
        yield ok("schema", f"It is up to date (revision {head}).")
    elif row[0] in {script.revision for script in scripts.walk_revisions()}:
        yield warning("schema", f"It is at revision {row[0]}, and {head} is the newest.", "afterglow migrate")
    else:
        yield problem("schema", f"It is at revision {row[0]}, which this version of Afterglow does not know.",
                      "install the version of Afterglow that migrated it")  # fmt: skip


def check_redis(place: Place) -> Iterator[Finding]:
    """The broker: reachable and new enough, or the program of the private one."""
    import redis

    from db.shared_service import EmbeddedServiceError
    from worker.embedded import EmbeddedRedis, find_server

    private = EmbeddedRedis(place.data_dir)
    configured = worker_settings().redis_url
    if configured == private.url:  # as `afterglow up` tells its own processes
        configured = None
    if not configured and not private.is_healthy():
        try:
            binary = find_server()
        except EmbeddedServiceError as error:
            yield problem("Redis", str(error), "pip install 'afterglow[embedded]'")
            return
        yield ok("Redis", f"The private Redis is installed ({binary}, {_version_of(binary)}) and does not run now; "
                 "commands start it.")  # fmt: skip
        return
    named = f"Redis at {_host(configured)}" if configured else "The private Redis"
    try:
        url = (configured or private.redis_py_url).replace("redis+socket://", "unix://")
        with redis.Redis.from_url(url, socket_connect_timeout=5, socket_timeout=5) as client:
            number = str(client.info("server")["redis_version"])
    except (redis.RedisError, ValueError) as error:
        yield problem("Redis", f"{named} does not answer: {reason_of(error)}.",
                      "start it, or mend REDIS_URL (redis://:password@host:6379/0)")  # fmt: skip
        return
    if configured and int(number.split(".", maxsplit=1)[0]) < MIN_REDIS:
        yield warning(
            "Redis",
            f"{named} is version {number}; Afterglow is tested with {MIN_REDIS} or newer.",
            "use a newer one, or unset REDIS_URL for the private one",
        )
    else:
        yield ok("Redis", f"{named} answers, version {number}.")


def _version_of(binary: Path) -> str:
    import re
    import subprocess

    said = subprocess.run([str(binary), "--version"], check=False, capture_output=True, text=True, timeout=10).stdout
    found = re.search(r"v=([\d.]+)", said)
    return f"version {found[1]}" if found else "version not told"


def check_store(_place: Place) -> Iterator[Finding]:
    """Where images and artifacts are kept."""
    from importlib.util import find_spec

    url = state_settings().resolved_store_url
    if "://" in url and not url.startswith("file://"):
        if url.startswith("s3://") and find_spec("s3fs") is None:
            yield problem(
                "store", "STORE_URL names S3, and its library is not installed.", "pip install 'afterglow[s3]'"
            )
        else:
            yield ok("store", f"Images and artifacts are kept at {without_password(url)} (not asked).")
        return
    path = Path(url.removeprefix("file://"))
    if path.exists() and not os.access(path, os.W_OK | os.X_OK):
        yield problem("store", f"{path} cannot be written by user {os.geteuid()}.", f"sudo chown -R $(id -u) {path}")
    else:
        yield ok("store", f"Images and artifacts are kept in {path}{'' if path.exists() else ', not there yet'}.")
