"""The command that scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from worker.cli.options import Json, complete_kinds


def score(
    images: Annotated[
        list[str], typer.Argument(help="Image files or URLs.", metavar="FILE|URL...", show_default=False)
    ],
    kind: Annotated[str, typer.Option(help="Kind of judgement.", autocompletion=complete_kinds)] = "rating",
    webcam: Annotated[
        str | None,
        typer.Option(help="External id of the webcam they come from: also write its rows; default: none.",
                     metavar="ID"),
    ] = None,
    source: Annotated[str, typer.Option(help="Source of the webcam.", metavar="NAME")] = "windy",
    phase: Annotated[
        str | None, typer.Option(help="sunrise or sunset; default: not known.", metavar="PHASE")
    ] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Score images with the active model. Exit code 1 when one of them could not be scored.

    Examples:
    afterglow score frame.jpg https://example.org/webcam.jpg
    afterglow score frame.jpg --webcam 1168874350 --phase sunset --json
    """
    from db.engine import session_scope
    from db.errors import NotFound
    from db.queries import webcams
    from db.tables.webcams import PHASES
    from ml.judgements import judgement
    from worker.cli.errors import WrongInput
    from worker.cli.output import print_json, print_table
    from worker.cli.progress import counted
    from worker.places import bundle_cache, file_store
    from worker.services import running_services
    from worker.settings import ServingSettings
    from worker.stages import score as stage
    from worker.stages.served import active_served

    about = judgement(kind)
    if phase is not None and phase not in PHASES:
        raise WrongInput(f"there is no phase {phase!r}; choose from {', '.join(PHASES)}")
    store = file_store()
    answers: list[dict[str, Any]] = []
    with running_services():
        with session_scope() as session:
            served = active_served(session, kind, store, bundle_cache(), ServingSettings())
            known = webcams.find_webcam(session, source, webcam) if webcam else None
        if webcam and known is None:
            raise NotFound(what="webcam", key=f"{source}/{webcam}")
        frame = stage.Frame(webcam_id=known.id if known else None, phase=phase)
        with counted("scoring", "images") as report:
            for name in images:
                data, problem = _read(name)
                scored = stage.Scored("unscored", reason=problem) if data is None else stage.score_pixels(served, data)
                with session_scope() as session:
                    stage.record_score(
                        session, scored, frame, kind=kind, store=store, data=data,
                        exploration_share=ServingSettings().exploration_share, writes_snapshots=about.scores_snapshots,
                    )  # fmt: skip
                answers.append(_answer(name, scored))
                report(len(answers), len(images))
    if as_json:
        print_json(answers)
    else:
        print_table(
            ("image", "rawScore", "aiRating", "isGood", "pathTaken", "modelVersion or reason"),
            [
                (a["image"], _number(a["rawScore"]), _number(a["aiRating"]), a["isGood"], a["pathTaken"],
                 a["modelVersion"] if a["pathTaken"] != "unscored" else a["reason"])
                for a in answers
            ],
        )  # fmt: skip
    if any(answer["pathTaken"] == "unscored" for answer in answers):
        raise typer.Exit(1)


def _read(name: str) -> tuple[bytes | None, str | None]:
    from ml.images.fetch import FetchError, fetch_image
    from worker.settings import worker_settings

    try:
        if name.startswith(("http://", "https://")):
            return fetch_image(name, allow_hosts=worker_settings().allowed_hosts), None
        return Path(name).read_bytes(), None
    except FetchError as error:
        return None, f"{error.reason}: {error}"
    except OSError as error:
        return None, f"cannot read {name}: {error.strerror}"


def _answer(name: str, scored: Any) -> dict[str, Any]:
    return {
        "image": name,
        "rawScore": scored.raw_score,
        "aiRating": scored.ai_rating,
        "pGood": scored.p_good,
        "modelVersion": scored.model_version,
        "pathTaken": scored.path_taken,
        "isGood": scored.is_good,
        "threshold": scored.policy,
        "captured": scored.capture.captured,
        "snapshotId": scored.capture.snapshot_id,
        "reason": scored.reason,
    }


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
