"""A scan of many photos that is killed twice: the same rows as at once, in how much time and memory.

    python -m bench.scan [--groups 5200] [--no-at-once]

Makes a GENERATED culling project (5,200 groups are about 20,000 photos), scans it with the command, kills that with
SIGKILL after a third and after two thirds, and scans on; then scans it at once into another project and compares all rows.
The peak is that of the largest process of a scan.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import text

from ml.demo.culling import PHOTOS, make_project, write_project

ROWS = """
SELECT p.sha256, p.width, p.height, p.byte_size, p.orientation, p.phash, p.name, p.stage, p.taken_at, f.path, f.byte_size,
       f.modified_ns, c.path
FROM projects j JOIN photos p ON p.project_id = j.id JOIN photo_paths f ON f.photo_id = p.id
LEFT JOIN photo_companions c ON c.photo_path_id = f.id WHERE j.name = :name ORDER BY f.path, c.path
"""


def scan(directory: Path, project: str, kill_at: float | None = None) -> float:
    """Run the command; kill it once it has told that this share is done. Returns its seconds."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "worker.cli.main", "scan", str(directory), "--project", project]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            told = re.search(r"(\d+) of (\d+) images", line)
            if kill_at is not None and told is not None and int(told[1]) >= kill_at * int(told[2]):
                process.kill()
        code = process.wait()
    assert code == (0 if kill_at is None else -9), f"the scan ended with {code}"
    return time.perf_counter() - began


def rows(project: str) -> list[Any]:
    """Everything that a project holds, without ids and times of writing."""
    from db.engine import session_scope

    with session_scope() as session:
        return list(session.execute(text(ROWS), {"name": project}).all())


def main() -> None:
    """Make, kill, scan on, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--groups", type=int, default=5200)
    parser.add_argument("--at-once", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ag-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        os.environ["AFTERGLOW_DATA_DIR"] = f"{folder}/data"
        began = time.perf_counter()
        write_project(make_project("bench", given.groups, seed=1), Path(folder))
        print(f"making the files took {time.perf_counter() - began:.0f} s", flush=True)
        from worker.services import running_services

        directory = Path(folder) / PHOTOS / "bench"
        with running_services():
            parts = [scan(directory, "killed", kill_at) for kill_at in (1 / 3, 2 / 3, None)]
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit >> 20
            killed = rows("killed")
            photos = len({row[0] for row in killed})
            print(f"{photos} photos, killed twice: {' + '.join(f'{part:.0f}' for part in parts)} s, peak {peak} MiB")
            if given.at_once:
                took = scan(directory, "at once")
                assert rows("at once") == killed, "a scan that was killed has other rows"
                print(f"at once: {took:.0f} s, {photos / took:.0f} photos a second, the same {len(killed)} rows")


if __name__ == "__main__":
    main()
