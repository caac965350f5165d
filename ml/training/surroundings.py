"""What decides the last digits of a training beside its data and its recipe: the code, the libraries, the machine.

Torch is imported by nobody who only compares.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ml

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "safetensors", "onnx", "onnxscript",
             "onnxruntime")  # fmt: skip
PACKAGE = Path(str(ml.__file__)).parent
GIT_TIMEOUT_S = 10.0
NAMES = {"cpu": "vector instructions", "source_sha256": "source of ml"}


def surroundings() -> dict[str, dict[str, Any]]:
    """What training.json says of them: `code`, `libraries` and `machine`."""
    return {"code": code(), "libraries": libraries(), "machine": machine()}


def libraries() -> dict[str, str]:
    """Versions of Python and of the libraries that compute, and the vector instructions that torch uses (`cpu`)."""
    import torch

    found = {name: version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), "cpu": torch.backends.cpu.get_cpu_capability(), **found}


def machine() -> dict[str, Any]:
    """The processor and the system: another one may round differently."""
    return {"system": platform.system(), "architecture": platform.machine(), "processor": _processor()}


def code() -> dict[str, Any]:
    """Which code trains.

    Returns:
        `version` of the package, `source_sha256` over the files of `ml` (the same for a checkout and what was installed
        from it), and of a checkout `commit` and `dirty` (whether any file differs from it); None elsewhere.
    """
    try:
        installed: str | None = version("afterglow")
    except PackageNotFoundError:
        installed = None
    return {"version": installed, "source_sha256": source_sha256(PACKAGE), **_checkout(PACKAGE.parent)}


def differences(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """What differs between the surroundings of a training and those of another, a sentence each; may decide digits.

    Of the code only its source counts: a commit that leaves `ml` alone changes no digit.
    """
    found = []
    for part in ("libraries", "machine"):
        before, now = recorded.get(part) or {}, present.get(part) or {}
        for name in sorted({*before, *now}):
            if before.get(name) != now.get(name):
                found.append(f"{NAMES.get(name, name)}: {_said(before.get(name))} then, {_said(now.get(name))} now")
    before, now = recorded.get("code") or {}, present.get("code") or {}
    if before.get("source_sha256") != now.get("source_sha256"):
        found.append(f"{NAMES['source_sha256']}: {_code_said(before)} then, {_code_said(now)} now")
    return found


def _said(value: object) -> str:
    return "not recorded" if value is None else str(value)


def _code_said(about: Mapping[str, Any]) -> str:
    if not about:
        return "not recorded"
    commit = about.get("commit")
    where = f" of commit {str(commit)[:12]}{' with changes' if about.get('dirty') else ''}" if commit else ""
    return f"{str(about.get('source_sha256'))[:12]}{where} (release {_said(about.get('version'))})"


@cache
def source_sha256(directory: Path) -> str:
    """sha256 over the sorted pairs of relative name and content of the `.py` and `.yaml` files of a directory."""
    digest = hashlib.sha256()
    for path in sorted(each for each in directory.rglob("*") if each.suffix in (".py", ".yaml")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(directory).as_posix()}|{content}\n".encode())
    return digest.hexdigest()


def _checkout(root: Path) -> dict[str, Any]:
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else None
    status = None if commit is None else _git(root, "status", "--porcelain")
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def _git(root: Path, *words: str) -> str | None:
    """What git says, without a lock on the checkout; None where there is no git or it refuses."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *words],
            capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
