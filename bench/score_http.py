"""How near scoring over HTTP comes to its limit: the same decode, resize and onnxruntime on all cores without HTTP.

    python -m bench.score_http [--quick] [--rounds 5] [--seconds 3] [--variants event,webcam,kept]

The API runs as `afterglow up` runs it: keys checked, every request a committed row of `scoring_events`. Slices of the
limit and of the API alternate; a ratio is taken to the mean of the limits before and after it, and is discarded where
these two differ by more than 15 %. The ratio by CPU time compares CPU seconds of one image (API, Postgres and load
together) instead, so it means something also on a machine that does other work; it leaves waiting out. Variants:

- `event`: a picture without a webcam; key, event row.
- `webcam`: a webcam is named; also the look-up, its columns, the capture gate; 2 % of the frames are kept.
- `kept`: every frame is kept; also the image in the store (flushed to the disk), snapshot and inference rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import scoring_setup as setup

VARIANTS = ("event", "webcam", "kept")
THRESHOLDS = {"event": "5", "webcam": "5", "kept": "0"}
"""What AI_RATING_THRESHOLD is set to: no frame is good, or every one."""
CLIENTS = (8, 32)
LARGEST_DRIFT = 0.15


class Talker:
    """A process that answers lines with JSON lines."""

    def __init__(self, module: str, *arguments: object) -> None:
        argv = [sys.executable, "-m", module, *(str(each) for each in arguments)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.greeting = self.hear()

    def say(self, *words: object) -> None:
        """Send one line."""
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        """Wait for the answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"process {self.process.args!r} ended: its message stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process by closing its input."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@dataclass
class Seen:
    """What was measured of one variant at one number of clients."""

    ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    discarded: int = 0
    answered: int = 0
    errors: int = 0
    client_cpu: list[float] = field(default_factory=list)
    cpu_ratios: list[float] = field(default_factory=list)
    first_error: str = ""

    def count(self, answer: dict[str, Any]) -> None:
        """Add up what a slice of load saw."""
        self.answered += answer["answered"]
        self.errors += answer["errors"]
        self.first_error = self.first_error or answer["first_error"]


@dataclass(frozen=True)
class Limit:
    """One slice of all limit processes together."""

    rate: float
    """Images a second."""
    cpu_ms: float
    """CPU milliseconds an image."""


def limit_of(workers: list[Talker], name: str, seconds: float) -> Limit:
    """Let all limit processes work for a slice."""
    for worker in workers:
        worker.say(name, seconds)
    answers = [worker.hear() for worker in workers]
    images = sum(int(answer["images"]) for answer in answers)
    rate = sum(float(answer["images"]) / float(answer["seconds"]) for answer in answers)
    return Limit(rate, 1000 * sum(float(answer["cpu"]) for answer in answers) / images)


def cpu_seconds(*pids: int) -> float:
    """CPU seconds that processes and their children have used; 0 where /proc is not known."""
    used = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = path.read_text().split(" ", 1)
        except OSError:  # it has ended meanwhile
            continue
        fields = rest.rpartition(")")[2].split()
        if int(number) in pids:
            used += sum(int(each) for each in fields[11:15])  # children that have ended included
        elif int(fields[1]) in pids:
            used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def measure(
    variant: str, client: Talker, workers: list[Talker], pids: tuple[int, ...], rounds: int, seconds: float
) -> tuple[dict[int, Seen], list[Limit]]:
    """Alternate limit and load; gives what was seen by number of clients, and the limits.

    Args:
        variant: Of the requests.
        client: The load.
        workers: The limit.
        pids: The API, the database and the load: what a request costs them counts as its CPU time.
        rounds: Slices of each kind.
        seconds: Length of a slice.
    """
    seen = {clients: Seen() for clients in CLIENTS}
    client.say(variant, CLIENTS[-1], seconds / 2)
    seen[CLIENTS[-1]].count(client.hear())
    limits = [limit_of(workers, "ours", seconds)]
    for _ in range(rounds):
        for clients, found in seen.items():
            before, cpu_before = limits[-1], cpu_seconds(*pids)
            client.say(variant, clients, seconds)
            answer = client.hear()
            cpu_ms = 1000 * (cpu_seconds(*pids) - cpu_before) / answer["answered"]
            limits.append(after := limit_of(workers, "ours", seconds))
            found.count(answer)
            found.client_cpu.append(answer["cpu_share"])
            found.cpu_ratios.append((before.cpu_ms + after.cpu_ms) / 2 / cpu_ms)
            if abs(after.rate - before.rate) > LARGEST_DRIFT * max(after.rate, before.rate):
                found.discarded += 1
                continue
            rate = answer["in_time"] / seconds
            found.rates.append(rate)
            found.ratios.append(rate / ((before.rate + after.rate) / 2))
            found.latencies_ms += answer["latencies_ms"]
    return seen, limits


def postgres_pid(data_dir: Path) -> int:
    """The private Postgres' first process."""
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def count_rows() -> dict[str, int]:
    """Rows of the tables that scoring writes."""
    from sqlalchemy import text

    from db.engine import session_scope

    tables = ("scoring_events", "webcam_snapshots", "snapshot_ai_inferences")
    with session_scope() as session:
        return {table: session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables}


def spread(values: list[float], digits: int = 2) -> str:
    """Median and range."""
    if not values:
        return "none left"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def report(variant: str, seen: dict[int, Seen], limits: list[Limit], rows: dict[str, int]) -> bool:
    """Print a variant's lines; whether nothing was lost and nothing failed."""
    for clients, found in seen.items():
        tail = statistics.quantiles(found.latencies_ms, n=100) if len(found.latencies_ms) > 1 else [0.0] * 99
        print(
            f"{variant:8} {clients:3}  ratio {spread(found.ratios)} n={len(found.ratios)} discarded={found.discarded}  "
            f"{spread(found.rates, 0)} img/s  p50 {tail[49]:.0f} p99 {tail[98]:.0f} ms  errors {found.errors}  "
            f"by CPU time {spread(found.cpu_ratios)}  client {statistics.median(found.client_cpu):.2f} cores"
        )
        if found.first_error:
            print(f"         first error: {found.first_error}")
    answered = sum(found.answered for found in seen.values())
    print(
        f"{variant:8}      limit {spread([each.rate for each in limits], 0)} img/s; {answered} answers; rows written {rows}"
    )
    is_whole = rows["scoring_events"] == answered and not any(found.errors for found in seen.values())
    if not is_whole:
        print(f"{variant:8}      FAILED: rows and answers differ, or there were errors")
    return is_whole


@contextmanager
def scene() -> Iterator[Path]:
    """A private Postgres on an empty data directory, named by the environment."""
    from db.embedded import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="ag-bench-", dir="/tmp") as name, ExitStack() as stack:
        data_dir = Path(name)
        data_dir.chmod(0o755)
        os.environ["AFTERGLOW_DATA_DIR"] = name
        for variable in ("STORE_URL", "AI_MODEL_VERSION", "AI_RATING_THRESHOLD"):
            os.environ.pop(variable, None)
        stack.enter_context(server := EmbeddedPostgres(data_dir))
        os.environ["DATABASE_URL"] = server.url
        try:
            yield data_dir
        finally:
            from db.engine import engine

            engine().dispose()


def run(variants: list[str], rounds: int, seconds: float, *, frames: int, image_size: int) -> bool:
    """Measure and print; whether everything was answered and recorded."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    with scene() as data_dir, ExitStack() as stack:
        paths = setup.write_frames(data_dir / "frames", frames, (640, 480), 74_000)
        sizes = sorted(path.stat().st_size for path in paths)
        bundle = setup.make_bundle(data_dir / "model", image_size)
        prepared = setup.prepare_database(bundle)
        workers = [Talker("bench.raw_limit", bundle, data_dir / "frames", core) for core in cores]
        for worker in workers:
            stack.callback(worker.close)
        print(
            f"{len(cores)} cores; {frames} GENERATED frames 640x480, median {sizes[len(sizes) // 2] // 1000} kB; "
            f"mobilenet_v3_small at {image_size}, RANDOM weights; slices of {seconds} s, {rounds} rounds; "
            f"load average before: {os.getloadavg()[0]:.2f}"
        )
        names = workers[0].greeting["functions"]
        once = {name: limit_of(workers, name, seconds).rate for name in (*names, *names)}
        print("without HTTP: " + ", ".join(f"{name} {rate:.0f} img/s" for name, rate in once.items()))
        is_whole = True
        for variant in variants:
            before = count_rows()
            log = data_dir / "api.log"
            with setup.api_process(data_dir, log, AI_RATING_THRESHOLD=THRESHOLDS[variant]) as (port, pid):
                ids = json.dumps(prepared.webcam_ids)
                client = Talker("bench.load_client", port, prepared.key, data_dir / "frames", ids)
                try:
                    pids = (pid, client.process.pid, postgres_pid(data_dir))
                    seen, limits = measure(variant, client, workers, pids, rounds, seconds)
                finally:
                    client.close()
            after = count_rows()
            is_whole &= report(variant, seen, limits, {name: after[name] - before[name] for name in after})
    return is_whole


def main() -> int:
    """Read the command line; 1 where an answer or a row is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.score_http", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="see that it works: the figures mean nothing")
    parser.add_argument("--rounds", type=int, default=5, help="slices of each kind")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a slice")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated")
    given = parser.parse_args()
    if given.quick:
        return 0 if run(list(VARIANTS), 1, 0.4, frames=4, image_size=64) else 1
    return 0 if run(given.variants.split(","), given.rounds, given.seconds, frames=48, image_size=224) else 1


if __name__ == "__main__":
    sys.exit(main())
