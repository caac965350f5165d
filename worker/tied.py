"""Child processes that do not outlive their parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

# Runs in the child before the real program. Asking the kernel here and not in a `preexec_fn` keeps Python code out of
# the moment between fork and exec, which is not safe in a process with threads.
_LAUNCHER = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]), 0, 0, 0)  # PR_SET_PDEATHSIG: what we get when the parent dies
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[3], sys.argv[3:])
"""


def tied(argv: Sequence[str], with_signal: signal.Signals) -> list[str]:
    """The command line that runs `argv` and, on Linux, gets `with_signal` when the thread that started it dies."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(int(with_signal)), *argv]
