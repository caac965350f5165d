"""A daemon that several processes of one machine share: how it is started once, found again, and stopped by its last user.

Nothing here keeps lists of process ids. Each user holds a shared `flock` on one file for as long as it uses the
service, and the kernel drops that lock however the user ends, so whoever can take it exclusively is the last one.
Postgres is in `db.embedded`, Redis in `worker.embedded`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Self

from db.disk import note_if_full, plain_reason
from db.errors import DatabaseError
from db.processes import Account, is_alive, tail_of, wait_until_gone

MAX_SOCKET_PATH_BYTES = 104
"""Paths of unix sockets must be shorter (macOS 104, Linux 108)."""

_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")


class EmbeddedServiceError(DatabaseError):
    """A private service could not be started."""


class StartFailed(Exception):
    """Why a service did not start. `SharedService` makes it an EmbeddedServiceError with the log's end and the cure."""


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

    def __init__(self, data_dir: Path, run_as: str = "nobody") -> None:
        """`run_as` is the system user that the server runs as when we are root."""
        self.data_dir = data_dir.expanduser().resolve()
        self.run_as = run_as
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
    @abstractmethod
    def _home(self) -> Path:
        """The directory of the server's files; it may not exist yet."""

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

    def ensure(self, timeout_s: float = 10.0) -> bool:
        """Start the service again if it does not answer; for the supervisor, which calls this every few seconds.

        Returns:
            Whether it answered by itself.

        Raises:
            EmbeddedServiceError: It does not answer after `timeout_s` seconds either. A later call goes on waiting.
        """
        if self.is_healthy():
            return True
        with self._plain_errors(), self._start_lock():
            if self.is_healthy():
                return True
            self._start(timeout_s)
            return False

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

    def _account(self, home: Path) -> Account | None:
        """Who the server runs as: us, or when we are root the owner of its files in `home`, else `run_as`."""
        if os.geteuid() != 0:
            return None
        if home.exists() and (owner := home.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid, f"uid {owner.st_uid}")
        try:
            entry = pwd.getpwnam(self.run_as)
        except KeyError as error:
            raise EmbeddedServiceError(
                f"{self.title} is not run as root, and there is no system user {self.run_as!r}: "
                "set AFTERGLOW_POSTGRES_USER to an unprivileged one."
            ) from error
        if entry.pw_uid == 0:
            raise EmbeddedServiceError(f"{self.title} is not run as root: set AFTERGLOW_POSTGRES_USER to another user.")
        return Account(entry.pw_uid, entry.pw_gid, entry.pw_name)

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(plain_reason(error)) from error
        except StartFailed as error:
            raise self._failure(str(error)) from error

    def _failure(self, reason: str) -> EmbeddedServiceError:
        lines = [f"The private {self.title} under {self.data_dir} did not start: {reason}"]
        if tail := tail_of(self.log_path):
            lines += [f"Last lines of {self.log_path}:", tail]
        return EmbeddedServiceError("\n".join([*lines, *note_if_full(self._home), self.cure]))


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
