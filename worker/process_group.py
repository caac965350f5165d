"""A child process with all its descendants: whether it ended, what memory they hold, and their common end.

The child leads a session of its own, whose number is its process id. It is never reaped before its group was killed:
until then nobody else can get that number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_KILL_S = 5.0
"""How long killed processes are waited for; one that hangs in the kernel (a dead network disk) may stay longer."""


def has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether the child itself is dead, without reaping it where the system allows that."""
    if child.returncode is not None:
        return True
    if not hasattr(os, "waitid"):
        return child.poll() is not None
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the child and what it started, also when the child itself is dead already but not yet reaped."""
    if child.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
            os.killpg(child.pid, signal.SIGKILL)


def end_group(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """End the child and what it started: SIGTERM, a grace time for the child, SIGKILL; then reap it."""
    if child.returncode is not None:
        return
    if grace_s > 0 and not has_ended(child):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while not has_ended(child) and time.monotonic() < deadline:
            time.sleep(0.05)
    kill_group(child)
    deadline = time.monotonic() + _KILL_S
    while any(pid != child.pid for pid in _members(child.pid)) and time.monotonic() < deadline:
        time.sleep(0.005)
    child.wait()


def memory_mib(session_id: int) -> float:
    """MiB of memory that all processes of a session hold, shared pages counted for each; 0 where there is no /proc."""
    pages = 0
    for pid in _members(session_id):
        with suppress(OSError, IndexError, ValueError):  # it may end while we read
            pages += int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def num_memory_kills() -> int:
    """How many processes the kernel has killed for memory since it started; 0 where it does not tell."""
    with suppress(OSError):
        for line in (_PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _members(session_id: int) -> Iterator[int]:
    """The live processes of a session."""
    for entry in os.listdir(_PROC) if _PROC.is_dir() else []:
        if entry.isdigit():
            with suppress(OSError, IndexError, ValueError):
                state, _, _, session = (
                    (_PROC / entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:4]
                )
                if int(session) == session_id and state not in ("Z", "X"):
                    yield int(entry)
