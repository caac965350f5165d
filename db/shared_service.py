"""A daemon that several processes of one machine share: how it is started once, found again, and stopped by its last user.

Nothing here keeps lists of process ids. Each user holds a shared `flock` on one file for as long as it uses the
service, and the kernel drops that lock however the user ends, so whoever can take it exclusively is the last one.
Postgres is in `db.embedded`, Redis in `worker.embedded`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from db.errors import DatabaseError

MAX_SOCKET_PATH_BYTES = 104
"""Paths of unix sockets must be shorter (macOS 104, Linux 108)."""

MAX_LOG_BYTES = 10_000_000
"""A log that is longer when its service starts is moved to `<name>.log.1` first."""

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")


class EmbeddedServiceError(DatabaseError):
    """A private service could not be started."""


@dataclass(frozen=True)
class Account:
    """The unprivileged system user that a service runs as when we are root."""

    uid: int
    gid: int
    name: str

    def reaches(self, path: Path) -> bool:
        """Whether this user can enter the directory `path`, asked of the kernel as that user."""
        asked = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', str(path)],
            check=False,
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            cwd="/",
            env={},
        )
        return asked.returncode == 0


class SharedService(ABC):
    """One daemon per data directory, shared by any number of processes."""

    name: ClassVar[str]
    """Short name, used for files: `postgres`."""

    title: ClassVar[str]
    """Name in messages: `Postgres`."""

    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    """What is sent to stop the server, each with the seconds to wait for its end before the next one."""

    cure: ClassVar[str]
    """What a person can do when the service does not start."""

    start_timeout_s: float = 300.0
    """How long `acquire` waits for an answer; recovery after a crash can take minutes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self._users_fd: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """How clients reach the service."""

    @abstractmethod
    def _probe(self) -> str | None:
        """Ask the server for a real answer: None if it gave one, else the reason. May raise EmbeddedServiceError."""

    @abstractmethod
    def _spawn(self) -> int:
        """Prepare and start the server in the background, when none runs; its process id."""

    @abstractmethod
    def _server_pids(self) -> list[int]:
        """Process ids of the live servers on this data directory."""

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self.data_dir / "logs" / f"{self.name}.log"

    def acquire(self) -> str:
        """Start the service unless it answers already, and use it until `release`. Calling it again is harmless.

        Returns:
            The URL for clients.

        Raises:
            EmbeddedServiceError: It did not start; the message has the reason, the end of the log and what to do.
        """
        with self._plain_errors(), self._start_lock():
            fd = self._users_fd
            if fd is None:
                fd = os.open(self._lock_path("users"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
                # Only a stopping user takes this exclusively, and only under the start lock, so this never waits.
                fcntl.flock(fd, fcntl.LOCK_SH)
            try:
                if not self.is_healthy():
                    self._start(self.start_timeout_s)
            except BaseException:
                if self._users_fd is None:
                    os.close(fd)
                raise
            self._users_fd = fd
            return self.url

    def ensure(self, timeout_s: float = 10.0) -> None:
        """Start the service again if it does not answer; for the supervisor, which calls this every few seconds.

        Raises:
            EmbeddedServiceError: It does not answer after `timeout_s` seconds either. A later call goes on waiting.
        """
        if self.is_healthy():
            return
        with self._plain_errors(), self._start_lock():
            if not self.is_healthy():
                self._start(timeout_s)

    def release(self) -> None:
        """Stop using the service; the last user stops the server. Harmless when it was not acquired."""
        fd, self._users_fd = self._users_fd, None
        if fd is None:
            return
        try:
            with self._start_lock():
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                self._stop()
        finally:
            os.close(fd)

    def is_healthy(self) -> bool:
        """Whether the server gives a real answer now."""
        try:
            return self._probe() is None
        except EmbeddedServiceError:
            return False

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _start(self, timeout_s: float) -> None:
        running = self._server_pids()
        # A live server that does not answer is starting up or in trouble; a second one on its files would do harm.
        pid = running[0] if running else self._spawn()
        deadline = time.monotonic() + timeout_s
        while (reason := self._probe()) is not None:
            if not is_alive(pid):
                raise self._failure("the server ended right after its start")
            if time.monotonic() > deadline:
                raise self._failure(f"process {pid} gave no answer in {timeout_s:.0f} s ({reason})")
            time.sleep(0.03)

    def _stop(self) -> None:
        for sent, patience_s in self.stop_signals:
            pids = self._server_pids()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, sent)
            if wait_until_gone(pids, patience_s):
                return
        raise EmbeddedServiceError(f"The private {self.title} does not stop (process ids {self._server_pids()}).")

    def _lock_path(self, purpose: str) -> Path:
        return self.data_dir / "locks" / f"{self.name}.{purpose}.lock"

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        """Held only while the service is started or stopped."""
        for directory in ("locks", "logs"):
            (self.data_dir / directory).mkdir(parents=True, exist_ok=True)
        fd = os.open(self._lock_path("start"), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(str(error)) from error

    def _failure(self, reason: str) -> EmbeddedServiceError:
        lines = [f"The private {self.title} under {self.data_dir} did not start: {reason}"]
        if tail := tail_of(self.log_path):
            lines += [f"Last lines of {self.log_path}:", tail]
        return EmbeddedServiceError("\n".join([*lines, self.cure]))


def short_hash(path: Path) -> str:
    """Twelve hexadecimal digits that stand for an absolute path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def socket_directory(data_dir: Path, service: str, socket_name: str) -> Path:
    """Where a service's unix socket lives: in the data directory, or under /tmp when that path cannot be used.

    It cannot when it is too long for a socket, or holds characters that URLs and lists of hosts give a meaning to.
    Creates nothing; the same answer in every process, whatever its TMPDIR.
    """
    directory = data_dir / "run" / service
    socket = directory / socket_name
    if len(os.fsencode(socket)) < MAX_SOCKET_PATH_BYTES and _PLAIN_PATH.fullmatch(str(socket)):
        return directory
    owner = data_dir.stat().st_uid if data_dir.exists() else os.geteuid()
    return Path("/tmp") / f"afterglow-{owner}-{short_hash(data_dir)}-{service}"  # noqa: S108  checked to be ours


def make_private(directory: Path, account: Account | None = None) -> None:
    """Make `directory` (0700) for `account`, or for us.

    Raises:
        EmbeddedServiceError: It exists and belongs to somebody else, or is a link.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    facts = directory.lstat()
    uid = account.uid if account else os.geteuid()
    if directory.is_symlink() or facts.st_uid not in (uid, os.geteuid()):
        raise EmbeddedServiceError(
            f"{directory} belongs to user {facts.st_uid} or is a link, so it is not safe for private sockets. "
            "Remove it, or choose another AFTERGLOW_DATA_DIR."
        )
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    directory.chmod(0o700)


def spawn_daemon(argv: Sequence[str], log: Path, env: Mapping[str, str], account: Account | None = None) -> int:
    """Start `argv` in a session of its own, its output appended to `log`; its process id.

    A shell in between hands the server to init at once, so that it outlives us and never becomes our zombie.
    """
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    with log.open("ab") as stream:
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=dict(env),
            cwd="/",
            start_new_session=True,
            check=True,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
        )
    return int(done.stdout)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return not Path("/proc/self/stat").exists()  # without /proc a signal is all there is to go by
    return state not in ("Z", "X")


def wait_until_gone(pids: Sequence[int], patience_s: float) -> bool:
    """Wait for all of `pids` to end; whether they did."""
    deadline = time.monotonic() + patience_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def process_commands() -> dict[int, str]:
    """The command line of every process that we may see, words separated by spaces; zombies have none."""
    commands: dict[int, str] = {}
    if not Path("/proc/self/cmdline").exists():
        listing = subprocess.run(["ps", "-axo", "pid=,command="], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            pid, _, command = line.strip().partition(" ")
            commands[int(pid)] = command
        return commands
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                if raw := Path(f"/proc/{entry}/cmdline").read_bytes():
                    commands[int(entry)] = os.fsdecode(raw).replace("\0", " ").strip()
    return commands


def tail_of(log: Path, num_lines: int = 15) -> str:
    """The last lines of a log, or an empty text when there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8192))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-num_lines:])
    except OSError:
        return ""
