"""End a retrain cycle: the gate's verdict on the new version, and its promotion where the gate allows it."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from ml.gate import Verdict
from worker.jobs import Finish, JobContext
from worker.stages.promote import PromotionRefused, judge_promotion, promote


def run(context: JobContext) -> Finish:
    """The job `gate`: parameters `model_version`, `evaluation_id`, `promote`, `force` and `by`.

    Its result says `promoted`, the `verdict`, and the `reason` in words. Not to promote is no failure.
    """
    params = context.params
    name, evaluation_id, by = str(params["model_version"]), int(params["evaluation_id"]), str(params["by"])
    context.progress(0.5, f"judging {name}")
    result: dict[str, Any] = {"model_version": name}

    def effects(session: Session) -> None:
        if params["promote"]:
            result.update(_promote(session, name, evaluation_id, force=bool(params["force"]), by=by))
        else:
            verdict = judge_promotion(session, name, evaluation_id)
            result.update(_outcome(False, verdict, f"{name} stays a candidate, as asked for. {verdict.sentence}"))

    return Finish(result, effects)


def _promote(session: Session, name: str, evaluation_id: int, *, force: bool, by: str) -> dict[str, Any]:
    try:
        row = promote(session, name, force=force, by=by, evaluation_id=evaluation_id)
    except PromotionRefused as refused:
        return _outcome(False, refused.verdict, refused.verdict.sentence)
    sentence = str(row.verdict["sentence"])
    return {"promoted": True, "forced": row.forced, "previous_version": row.previous_version, "verdict": row.verdict,
            "reason": f"promoted by force. {sentence}" if row.forced else sentence}  # fmt: skip


def _outcome(promoted: bool, verdict: Verdict, reason: str) -> dict[str, Any]:
    return {"promoted": promoted, "verdict": verdict.to_json(), "reason": reason}
