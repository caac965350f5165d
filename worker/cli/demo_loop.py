"""`afterglow demo-loop`: choosing what people are asked, beside asking at random, on GENERATED data."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.options import Json

FIRST_SEED = 101
"""Seeds of the worlds, one after the other; fixed before any was looked at."""
PAGE_FILE, RESULT_FILE = "loop.html", "loop.json"


def demo_loop(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--directory",
            help="Where it keeps its data, emptied first; default: `demo-loop` in the data directory.",
            metavar="DIR",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Generated worlds, 1 or more; fewer than 2 have no interval.", min=1)] = 5,
    cycles: Annotated[int, typer.Option(help="Cycles of asking and training in each.", min=1)] = 5,
    webcams: Annotated[int, typer.Option(help="Generated webcams of each world, 8 or more.", min=8)] = 36,
    days: Annotated[int, typer.Option(help="Days of each world, one frame of each webcam a day.", min=2)] = 24,
    first: Annotated[int, typer.Option(help="Ratings that the first version learns from.", min=20)] = 80,
    inflow: Annotated[
        int, typer.Option(help="Ratings that come in before each cycle, of frames as they come.", min=0)
    ] = 40,
    labels: Annotated[
        int, typer.Option(help="Ratings that each cycle asks for, at most; in both ways as many.", min=1)
    ] = 40,
    walk: Annotated[
        bool,
        typer.Option(
            "--walk/--no-walk",
            help="Also walk through a small world with a server, workers and a database of its own. Default: yes.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Show on generated data whether choosing what people are asked is better than drawing it: in both ways as many
    ratings, versions measured on the same test rows. Takes a few minutes on two cores and needs no network.

    Examples:
    afterglow demo-loop
    afterglow demo-loop --seeds 2 --cycles 3 --directory /tmp/afterglow-loop
    """
    from ml.demo.loop_page import loop_page
    from ml.demo.loop_summary import summarise
    from ml.images.atomic import write_over
    from worker.cli.demo_home import fresh_home
    from worker.cli.output import print_json, remarks

    if walk:
        _check_no_foreign_services()
    home = fresh_home(directory, "demo-loop")
    remarks.print(
        "Everything below is GENERATED: frames are drawn, raters are simulated. It says what the loop does, not how good "
        "a model of real sunsets is."
    )
    asked = ("--webcams", webcams, "--days", days, "--cycles", cycles, "--first", first,
             "--inflow", inflow, "--labels", labels)  # fmt: skip
    worlds = _go_through(home, range(FIRST_SEED, FIRST_SEED + seeds), [str(each) for each in asked])
    content = {**summarise(worlds), "walk": _walk(home / "walk") if walk else None}
    write_over(home / RESULT_FILE, (json.dumps(content, indent=2) + "\n").encode())
    write_over(home / PAGE_FILE, loop_page(content).encode())
    if as_json:
        print_json(content)
    else:
        _print(content)
    remarks.print(
        f"the page with both curves is {home / PAGE_FILE}, its numbers are {RESULT_FILE} beside it", markup=False
    )


def _go_through(home: Path, seeds: Sequence[int], asked: list[str]) -> list[dict[str, Any]]:
    """Run a process for each world, as many at a time as there are cores; returns what each found."""
    from worker.cli.progress import counted

    done = dict.fromkeys(seeds, 0.0)
    lock = threading.Lock()
    with counted(f"going through {len(seeds)} generated worlds", "%") as report:

        def tell(seed: int, fraction: float) -> None:
            with lock:
                done[seed] = fraction
                report(int(100 * sum(done.values()) / len(done)), 100)

        with ThreadPoolExecutor(min(len(seeds), os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda seed: _world(home / f"world-{seed}", seed, asked, tell), seeds))


def _world(out: Path, seed: int, asked: list[str], tell: Callable[[int, float], None]) -> dict[str, Any]:
    """Go through one world in a fresh process; what it says on stderr is kept in its folder.

    Raises:
        NotDone: It failed; the message says why.
    """
    from ml.demo.loop_summary import LOOP_FILE
    from worker.cli.errors import NotDone
    from worker.tied import tied

    out.mkdir()
    argv = [sys.executable, "-m", "ml.demo.loop", "--seed", str(seed), "--out", str(out), *asked]
    last: dict[str, Any] = {}
    with (
        (out / "stderr.log").open("wb") as errors,
        subprocess.Popen(tied(argv, signal.SIGKILL), stdout=subprocess.PIPE, stderr=errors) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            last = json.loads(line)
            if last["event"] == "world":
                tell(seed, last["fraction"])
    if last.get("event") != "done":
        raise NotDone(f"the world of seed {seed}: {last.get('message') or (out / 'stderr.log').read_text()[-500:]}")
    found: dict[str, Any] = json.loads((out / LOOP_FILE).read_text(encoding="utf-8"))
    return found


def _check_no_foreign_services() -> None:
    """Refuse to write generated data into services that were named for something else.

    Raises:
        WrongInput: One is named.
    """
    from worker.cli.errors import WrongInput

    if named := [name for name in ("DATABASE_URL", "REDIS_URL", "STORE_URL") if os.environ.get(name)]:
        raise WrongInput(f"the walk starts services of its own: unset {', '.join(named)}, or give --no-walk")


def _walk(home: Path) -> dict[str, Any]:
    """Walk through one world on private services.

    Raises:
        NotDone: A step did not do what it must.
    """
    from db.settings import state_settings
    from worker.cli.demo_server import DemoFailed
    from worker.cli.demo_walk import walk
    from worker.cli.errors import NotDone
    from worker.cli.output import remarks

    home.mkdir()
    os.environ["AFTERGLOW_DATA_DIR"] = str(home / "data")
    state_settings.cache_clear()
    remarks.print("walking through one more world with a server, workers and a database:")
    try:
        return walk(home)
    except DemoFailed as error:
        raise NotDone(f"the walk: {error}") from error


def _print(content: dict[str, Any]) -> None:
    from ml.demo.loop_summary import MEASURES
    from worker.cli.output import console, print_table

    ways = content["curves"]
    console.print(
        f"{content['n']} test rows ({content['n_good']} good) in {content['n_groups']} groups of "
        f"{len(content['seeds'])} generated worlds; value, 95 % interval by group, standard deviation over seeds"
    )
    print_table(
        ("version", "way", "labels", *MEASURES),
        [
            (row["version"], way if row["version"] else "first", f"{row['labels']:.0f}", *(_cell(row[name]) for name in MEASURES))
            for rows in zip(*ways.values(), strict=True)
            for way, row in zip(ways, rows, strict=True)
            if row["version"] or way == next(iter(ways))
        ],
    )  # fmt: skip
    console.print()
    for way, rows in ways.items():
        last, added = rows[-1], sum(row["added"] for row in rows[1:])
        again, mean = sum(row["rated_again"] for row in rows[1:]), last["predict_the_mean"]
        console.print(
            f"{way}: {again} of {added} ratings after the first version were of frames that had one; predicting the mean "
            f"of the last version's labels has an error of {mean['value']:.3f} [{mean['interval'][0]:.3f}, "
            f"{mean['interval'][1]:.3f}]",
            markup=False,
        )
    console.print()
    console.print(content["verdict"]["sentence"], markup=False, style="bold")
    for said in content["verdict"]["others"]:
        console.print(said, markup=False)
    if content["walk"] is not None:
        _print_walk(content["walk"])


def _print_walk(found: dict[str, Any]) -> None:
    from worker.cli.output import console, print_table

    versions = found["versions"]
    console.print(
        f"\nThrough server, workers and database, one generated world (seed {found['seed']}): error on all "
        f"{versions[0]['n']} test rows in {versions[0]['n_groups']} groups, the same in every export"
    )
    print_table(
        ("version", "labels", "review set", "of test rows, left alone", "rated again", "mae", "promoted"),
        [
            (row["model_version"], row["labels"], *((row["review_set"] or {}).values() or (None, None)),
             row["rated_again"], _cell({**row["mae"], "spread": None}), "yes" if row["promoted"] else "no")
            for row in versions
        ],
    )  # fmt: skip


def _cell(measured: dict[str, Any]) -> str:
    value, bounds, spread = measured["value"], measured["interval"], measured["spread"]
    if value is None or bounds is None:
        return "-"
    return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]" + ("" if spread is None else f" {spread:.3f}")
