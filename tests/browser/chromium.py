"""Finding a Chromium, or installing Debian's: `python -m tests.browser.chromium` says where it is.

Playwright's own download of browsers is not used: a package registry is all that a test may need.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@cache
def find_chromium() -> str | None:
    """AFTERGLOW_CHROMIUM, or one on the PATH, or Debian's once it is installed where root may; else None."""
    given = os.environ.get("AFTERGLOW_CHROMIUM")
    if given:
        return given
    return _on_path() or (_on_path() if _install() else None)


def _on_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def _install() -> bool:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-liberation"]
    commands = (["apt-get", "update", "-qq"], install)
    return all(subprocess.run(each, env=env, capture_output=True, check=False).returncode == 0 for each in commands)


def main() -> None:
    """Say it."""
    print(
        find_chromium() or "there is no Chromium, and it cannot be installed here: the tests of the pages are skipped"
    )


if __name__ == "__main__":
    main()
