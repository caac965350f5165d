"""Processes of this machine: daemons started in the background or as another user, which processes live, their logs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAX_LOG_BYTES = 10_000_000
"""A log that is longer when its service starts is moved to `<name>.log.1` first."""

SERVICE_ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""All that a service sees of the environment: no secret of ours gets into it."""


@dataclass(frozen=True)
class Account:
    """The unprivileged system user that a service runs as when we are root."""

    uid: int
    gid: int
    name: str

    def reaches(self, path: Path) -> bool:
        """Whether this user can enter the directory `path`, asked of the kernel as that user."""
        return self.can_run(["/bin/sh", "-c", 'test -x "$0"', str(path)])

    def can_run(self, argv: Sequence[str]) -> bool:
        """Whether this user can run `argv` and it ends well."""
        try:
            tried = subprocess.run(
                argv,
                check=False,
                capture_output=True,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
                cwd="/",
                env=SERVICE_ENV,
            )
        except PermissionError:
            return False
        return tried.returncode == 0

    def own(self, directory: Path) -> None:
        """Give `directory` and all in it to this user; links are not followed."""
        os.chown(directory, self.uid, self.gid, follow_symlinks=False)
        for folder, folders, files in os.walk(directory):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, self.gid, follow_symlinks=False)


def private(path: str, flags: int) -> int:
    """Open a file that only its owner may read, as the `opener` of `open`."""
    return os.open(path, flags, 0o600)


def spawn_daemon(argv: Sequence[str], log: Path, env: Mapping[str, str], account: Account | None = None) -> int:
    """Start `argv` in a session of its own, its output appended to `log`; its process id.

    A shell in between hands the server to init at once, so that it outlives us and never becomes our zombie.
    """
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))
    with open(log, "ab", opener=private) as stream:
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


def tail_of(log: Path, num_lines: int = 15, from_byte: int = 0) -> str:
    """The last lines of a log, none from before `from_byte`, or an empty text when there are none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(from_byte, log.stat().st_size - 8192))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-num_lines:])
    except OSError:
        return ""
