"""Commands that list what there is: model versions, training runs, datasets; newest first, page by page."""

from __future__ import annotations

from typing import Any

from worker.cli.options import Before, Json, KindOption, Limit


def list_models(kind: KindOption = None, limit: Limit = 50, before: Before = None, as_json: Json = False) -> None:
    """List model versions, newest first, and which is active.

    Examples:
    afterglow models
    afterglow models --kind rating --limit 5 --json
    """
    from db.engine import session_scope
    from db.queries import evaluations, lineage, models
    from worker.cli.output import console, moment, print_json, print_table, say_more
    from worker.services import running_services

    _check(kind)
    with running_services(), session_scope() as session:
        active, tainted = models.active_versions(session), lineage.tainted_versions(session)
        rows: list[dict[str, Any]] = []
        versions = models.list_versions(session, kind=kind, cursor=before, limit=limit)
        heads = evaluations.latest_heads(session, [version.model_version for version in versions])
        for version in versions:
            evaluation = heads.get(version.model_version)
            use = tainted.get(version.model_version)
            rows.append(
                {
                    "id": version.id,
                    "model_version": version.model_version,
                    "kind": version.kind,
                    "head": version.head,
                    "active": active.get(version.kind) == version.model_version,
                    "tainted": {"rows": use.rows, "num_rows": use.num_rows, "share": use.share} if use else None,
                    "created_at": version.created_at,
                    "evaluation": _headline(evaluation.report) if evaluation else None,
                }
            )
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("no model versions; make one with `afterglow train KIND`")
        return
    print_table(
        ("id", "version", "kind", "head", "active", "registered (UTC)", "headline"),
        [
            (r["id"], r["model_version"], r["kind"], r["head"], _state_text(r["active"], r["tainted"]),
             moment(r["created_at"]), _headline_text(r["evaluation"]))
            for r in rows
        ],
    )  # fmt: skip
    say_more("afterglow models", rows, limit, rows[-1]["id"])


def list_runs(kind: KindOption = None, limit: Limit = 20, before: Before = None, as_json: Json = False) -> None:
    """List training runs, newest first: what became of them, and why one failed.

    Examples:
    afterglow runs
    afterglow runs --limit 20 --before 41
    """
    from db.engine import session_scope
    from db.queries import models
    from worker.cli.output import console, moment, print_json, print_table, say_more
    from worker.services import running_services

    _check(kind)
    with running_services(), session_scope() as session:
        rows = list(models.list_runs(session, kind=kind, cursor=before, limit=limit))
    if as_json:
        print_json([row.model_dump() for row in rows])
        return
    if not rows:
        console.print("no training runs; start one with `afterglow train KIND`")
        return
    print_table(
        ("id", "version", "kind", "status", "dataset", "submitted (UTC)", "notes or reason"),
        [
            (r.id, r.model_version, r.kind, r.status, r.dataset_id, moment(r.created_at), r.reason or r.notes)
            for r in rows
        ],
    )
    say_more("afterglow runs", rows, limit, rows[-1].id)


def list_datasets(kind: KindOption = None, limit: Limit = 20, before: Before = None, as_json: Json = False) -> None:
    """List datasets, newest first, with how many rows each keeps.

    Examples:
    afterglow datasets
    afterglow datasets --kind rating --json
    """
    from db.engine import session_scope
    from db.queries import models
    from worker.cli.output import console, moment, print_json, print_table, say_more
    from worker.services import running_services

    _check(kind)
    with running_services(), session_scope() as session:
        rows = list(models.list_datasets(session, kind=kind, cursor=before, limit=limit))
    if as_json:
        print_json([row.model_dump() for row in rows])
        return
    if not rows:
        console.print("no datasets; make one with `afterglow export KIND`")
        return
    print_table(
        ("id", "kind", "head", "as of (UTC)", "kept", "of", "train/val/test", "sha256"),
        [
            (r.id, r.kind, r.params.get("head"), moment(r.as_of), r.counts["kept"], r.counts["total"],
             "/".join(str(r.counts["splits"][split]) for split in ("train", "val", "test")), r.manifest_sha256[:12])
            for r in rows
        ],
    )  # fmt: skip
    say_more("afterglow datasets", rows, limit, rows[-1].id)


def _check(kind: str | None) -> None:
    """Tell a typo of a kind before anything is started."""
    from ml.judgements import judgement

    if kind is not None:
        judgement(kind)


def _state_text(active: bool, tainted: dict[str, Any] | None) -> str:
    """Whether a version serves, and what part of its rows has a label that does not count any more."""
    taint = f"tainted: {tainted['rows']} of {tainted['num_rows']} rows" if tainted else ""
    return ", ".join(word for word in ("active" if active else "", taint) if word)


def _headline(report: dict[str, Any]) -> dict[str, Any]:
    from ml.report import figures, headline_table, model_row

    table, metric = headline_table(report), report["primary"]["name"]
    return {"metric": metric, **figures(model_row(table), metric), "n": table["n"], "n_groups": table["n_groups"],
            "rows": report["headline"]}  # fmt: skip


def _headline_text(headline: dict[str, Any] | None) -> str:
    if headline is None or headline["value"] is None:
        return "-"
    low, high = headline["interval"] or (None, None)
    spread = f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
    return f"{headline['metric']} {headline['value']:.3f}{spread}, n = {headline['n']} ({headline['rows']})"
