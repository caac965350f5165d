"""The files of a private Postgres: where they lie, how they are made whole or not at all, and which copies are refused."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from db import postgres_binaries
from db.postgres_binaries import major_version
from db.processes import SERVICE_ENV, Account, process_commands, wait_until_gone
from db.shared_service import EmbeddedServiceError, StartFailed, short_hash

logger = logging.getLogger(__name__)

OWNER_FILE = "afterglow_data_dir"
"""In a cluster that lies outside of its data directory: the path of the data directory that it belongs to."""


def settle(link: Path, account: Account | None) -> Path:
    """The directory of the cluster, which may not exist yet: `link`, or what it points to, or where `account` can reach.

    Raises:
        EmbeddedServiceError: The cluster is gone, cannot be reached, or belongs to another data directory.
    """
    if link.is_symlink():
        return _behind(link)
    if account is None or account.reaches(link.parent):
        return link
    if link.exists():
        raise EmbeddedServiceError(
            f"{account.name}, who owns the cluster {link}, cannot reach it: "
            f"give that user the right to enter every directory above it (chmod o+x)."
        )
    home = postgres_binaries.RELOCATED_ROOT / short_hash(link.parent)
    home.mkdir(parents=True, exist_ok=True)
    for directory in (home.parent, home):
        directory.chmod(0o755)
    cluster = home / "postgres"
    if cluster.exists():
        # Left by a data directory of this name that was removed: neither ours to use nor to delete.
        kept = home / f"postgres.left-{secrets.token_hex(4)}"
        cluster.rename(kept)
        logger.warning("a cluster of an earlier %s was found and kept as %s", link.parent, kept)
    logger.warning("user %s cannot reach %s, so the database is kept in %s", account.name, link.parent, cluster)
    return cluster


def _behind(link: Path) -> Path:
    if not link.exists():
        raise EmbeddedServiceError(
            f"{link} points to {os.readlink(link)}, which is gone. "
            "Restore it from a backup, or remove the link to start with an empty database."
        )
    cluster = link.resolve()
    with suppress(FileNotFoundError):
        owner = Path((cluster / OWNER_FILE).read_text().strip())
        if owner != link.parent and (owner / link.name).resolve() == cluster:
            raise EmbeddedServiceError(
                f"{link.parent} is a copy of {owner}, but the rows are in {cluster}, which was not copied: both would "
                f"write into one database. Stop Afterglow on {owner}, then give the copy its own rows:\n"
                f"  rm {link}\n  cp -a {cluster} {link}"
            )
    return cluster


def note_owner(link: Path, account: Account | None) -> None:
    """Write down in a cluster that lies elsewhere that it belongs to the data directory of `link`."""
    note = link / OWNER_FILE
    if link.is_symlink() and not (note.exists() and note.read_text().strip() == str(link.parent)):
        note.write_text(f"{link.parent}\n")
        if account is not None:
            os.chown(note, account.uid, account.gid)


def create(cluster: Path, password: str, binaries: Path, account: Account | None) -> None:
    """Make the cluster with its database beside its place, then rename it there: it is whole or absent."""
    for leftover in cluster.parent.glob("postgres.new-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=cluster.parent))
    password_copy = new.with_name(new.name + ".password")
    try:
        with open(os.open(password_copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(password)
        if account is not None:
            os.chown(new, account.uid, account.gid)
            os.chown(password_copy, account.uid, account.gid)
        locale = ["--locale=C"]
        if major_version(binaries) >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        _run(
            [str(binaries / "initdb"), "-D", str(new), "-U", "afterglow", f"--pwfile={password_copy}"]
            + ["--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", *locale],
            account,
        )
        _run(
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


def _run(argv: list[str], account: Account | None, typed: str = "") -> None:
    done = subprocess.run(
        argv,
        check=False,
        input=typed,
        capture_output=True,
        text=True,
        env=SERVICE_ENV,
        cwd="/",
        start_new_session=True,  # a Ctrl-C in the terminal is ours to handle
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
    # In single-user mode a refused statement is reported, and the exit code is 0 all the same.
    if done.returncode != 0 or "ERROR:" in done.stderr:
        raise StartFailed(f"{Path(argv[0]).name} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")


def clear_stale_locks(cluster: Path, marker: str) -> None:
    """Remove what a killed server left. Called when no server of ours runs on the cluster.

    Postgres itself takes any live process with the number in its lock file for a server.

    Args:
        cluster: The cluster's directory.
        marker: The word that the titles of our servers' processes carry.

    Raises:
        StartFailed: Somebody else's server runs on the cluster, or the cluster was copied from a running one.
    """
    title = f"postgres: {marker}:"
    orphans = [pid for pid, command in process_commands().items() if command.startswith(title)]
    if not wait_until_gone(orphans, 5.0):
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not wait_until_gone(orphans, 10.0):
            raise StartFailed(f"processes {orphans} of a server that was killed do not end")
    pid_file = cluster / "postmaster.pid"
    if pid_file.exists():
        lines = [line.strip() for line in pid_file.read_text(errors="replace").splitlines()] + [""] * 2
        if lines[0].isdigit() and _is_server_on(cluster, int(lines[0])):
            raise StartFailed(f"another Postgres (process {lines[0]}) was started on {cluster} by hand; stop it first")
        if lines[1] and lines[1] != str(cluster):
            _refuse_copy(cluster, Path(lines[1]))
        pid_file.unlink()


def _is_server_on(cluster: Path, pid: int) -> bool:
    command = process_commands().get(pid, "")
    if "postgres" not in command and "postmaster" not in command:
        return False
    if str(cluster) in command.split(" "):
        return True
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(cluster)  # every server works in its cluster's directory
    except OSError:
        return False


def _refuse_copy(cluster: Path, ran_at: Path) -> None:
    """Refuse a cluster whose last server ran at `ran_at` and did not stop, when that is there too: a torn copy."""
    identity = Path("global", "pg_control")  # its first eight bytes are unlike those of any other cluster
    try:
        is_copy = (ran_at / identity).read_bytes()[:8] == (cluster / identity).read_bytes()[:8]
    except (FileNotFoundError, NotADirectoryError):
        is_copy = False
    except PermissionError:
        is_copy = True
    if is_copy:
        raise StartFailed(
            f"{cluster} is a copy of {ran_at} that was made while its server ran, so files in it may not fit together. "
            f"Stop Afterglow there and copy again; or, if no server ran while it was copied, "
            f"remove {cluster / 'postmaster.pid'} and start again."
        )
    logger.warning("%s was moved from %s after its server was killed; its last rows are recovered now", cluster, ran_at)
