"""The machine: Python, libraries, torch and its device, the data directory, the port."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from worker.cli.checks.finding import Finding, Place, ok, problem, warning

MIN_PYTHON = (3, 11)
LITTLE_SPACE, NO_SPACE = 5 << 30, 1 << 29
"""Free bytes of the data directory's disk below which to warn, and below which nothing useful can be done."""
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "9p", "afs", "ceph", "glusterfs")
SHOWN = ("fastapi", "sqlmodel", "celery", "onnxruntime", "numpy", "pillow")
TORCH_TIMEOUT_S = 120.0
TORCH_PROBE = """
import json, torch
mps = getattr(torch.backends, "mps", None)
cuda = torch.cuda.is_available()
print(json.dumps({
    "version": torch.__version__, "cuda": cuda, "mps": bool(mps and mps.is_available()),
    "name": torch.cuda.get_device_name(0) if cuda else None,
    "memory": torch.cuda.get_device_properties(0).total_memory if cuda else None,
}))
"""
"""Run in a process of its own: torch takes seconds to import, and a broken one may take the process with it."""


def check_python(_place: Place) -> Iterator[Finding]:
    """Python and the libraries that Afterglow asks for, by their installed versions; nothing is imported."""
    from packaging.requirements import Requirement

    here = platform.python_version()
    if sys.version_info < MIN_PYTHON:
        yield problem("Python", f"Python {here} is too old.", "install Python 3.11 or newer")
    else:
        yield ok("Python", f"Python {here} at {sys.executable}.")
    wrong = []
    for line in requires("afterglow") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            wrong.append(f"{wanted.name} is {found}, not {wanted.specifier}")
    if wrong:
        yield problem("libraries", "; ".join(wrong) + ".", "pip install -e . -c constraints.txt")
    else:
        yield ok("libraries", ", ".join(f"{name} {version(name)}" for name in SHOWN) + ".")


def check_torch(_place: Place) -> Iterator[Finding]:
    """torch, and the device that a training here would use."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        yield warning("torch", "torch is not installed: this machine scores, but cannot train.",
                      "pip install 'afterglow[train]'")  # fmt: skip
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", TORCH_PROBE], check=False, capture_output=True, text=True, timeout=TORCH_TIMEOUT_S
        )
        facts = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        yield problem("torch", f"torch {installed} was not imported within {TORCH_TIMEOUT_S:.0f} s.",
                      "pip install --force-reinstall torch torchvision -c constraints.txt")  # fmt: skip
        return
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        yield problem("torch", f"torch {installed} cannot be imported: {last}.",
                      "pip install --force-reinstall torch torchvision -c constraints.txt")  # fmt: skip
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if facts["cuda"]:
        says = f"torch {facts['version']} trains on CUDA: {facts['name']}, {facts['memory'] / 2**30:.0f} GiB."
    elif facts["mps"]:
        says = f"torch {facts['version']} trains on MPS (this Mac's GPU)."
    else:
        says = f"torch {facts['version']} trains on the CPU ({cores} cores); no GPU was found."
    yield ok("torch", says)


def check_data_dir(place: Place) -> Iterator[Finding]:
    """The data directory: there, writable, with space, on a disk that a database may live on."""
    directory = place.data_dir
    other = "choose another with --data-dir or AFTERGLOW_DATA_DIR"
    if directory.exists() and not directory.is_dir():
        yield problem("data directory", f"{directory} is not a directory.", other)
        return
    near = directory
    while not near.exists() and near != near.parent:
        near = near.parent
    if not os.access(near, os.W_OK | os.X_OK):
        what = f"{directory} cannot be written" if near == directory else f"{directory} cannot be made below {near}"
        yield problem("data directory", f"{what} by user {os.geteuid()}.", f"sudo chown -R $(id -u) {near}, or {other}")
        return
    free = shutil.disk_usage(near).free
    kind = file_system(near)
    facts = f"{free / 2**30:.1f} GiB free{f', file system {kind}' if kind else ''}"
    if free < NO_SPACE:
        yield problem("data directory", f"{directory}: the disk is full ({facts}).", f"make space, or {other}")
    elif free < LITTLE_SPACE:
        yield warning("data directory", f"{directory}: little space is left ({facts}).", f"make space, or {other}")
    elif kind and kind.startswith(NETWORK_FILE_SYSTEMS):
        yield warning("data directory", f"{directory} is on a network ({facts}), where a database is slow and at risk.",
                      other)  # fmt: skip
    elif near != directory:
        yield ok("data directory", f"{directory} is not there yet; the first command makes it ({facts}).")
    else:
        yield ok("data directory", f"{directory} ({facts}).")


def file_system(directory: Path) -> str | None:
    """The type of the file system that a directory is on, e.g. `ext4`; None where the system has no /proc."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return None
    mounts = [line.split(" ") for line in lines]
    found = [(part[1].replace("\\040", " "), part[2]) for part in mounts if len(part) > 2]
    resolved = directory.resolve()
    inside = [(mount, kind) for mount, kind in found if resolved.is_relative_to(mount)]
    return max(inside, key=lambda each: len(each[0]), default=("", None))[1]


def check_port(place: Place) -> Iterator[Finding]:
    """The port that `afterglow up` would take."""
    from worker.up import DEFAULT_PORT, CannotStart, choose_port
    from worker.up_lock import is_up

    if is_up(place.data_dir):
        return
    try:
        chosen = choose_port("127.0.0.1", None)
    except CannotStart as error:
        yield problem("port", str(error), "afterglow up --port PORT")
        return
    if chosen == DEFAULT_PORT:
        yield ok("port", f"Port {chosen} is free.")
    else:
        yield warning("port", f"Port {DEFAULT_PORT} is taken; `afterglow up` would use {chosen}.",
                      "afterglow up --port PORT")  # fmt: skip
