"""The promotion gate: from an evaluation's report to a verdict in words and numbers. A pure function.

A version may serve when it is better than everything simpler than itself, and better than the active model or no worse
with another benefit, when no slice of the data gets clearly worse, and when what is served is what was measured, in time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ml.gate_checks import CHECKS, Case, Limits, Report


@dataclass(frozen=True)
class Verdict:
    """What the gate found, in words and numbers."""

    allowed: bool
    sentence: str
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object for the activation's row."""
        return {"allowed": self.allowed, "sentence": self.sentence, **self.facts}


def judge(report: Report, active: str | None, limits: Limits | None = None) -> Verdict:
    """Whether a version may replace the active one, by its report.

    Args:
        report: as `ml.evaluate` writes it, made beside the active model.
        active: version that serves now; None where none does.
        limits: what to ask for.

    Returns:
        The verdict; its facts are `metric`, `headline`, `n`, `n_groups`, `checks` (each with its numbers) and `limits`.
    """
    limits = limits or Limits()
    case = Case(report, active, limits)
    checks = [check(case) for check in CHECKS]
    failed = [check for check in checks if check.required and not check.passed]
    headline = report["subsets"][report["headline"]]
    where = f"on {headline['n']} rows in {headline['n_groups']} groups ({report['headline']})"
    told = failed or [check for check in checks if check.name in ("active", "baselines")]
    # Few rows refuse nothing, or no first model could serve; but nobody shall read the sentence without knowing it.
    thin = [
        f"the evidence is thin: {check.sentence}" for check in checks if check.name == "evidence" and not check.passed
    ]
    reasons = "; ".join([check.sentence for check in told] + thin)
    verb = "is refused" if failed else "may serve"
    facts = {
        "metric": report["primary"]["name"], "headline": report["headline"], "n": headline["n"],
        "n_groups": headline["n_groups"], "checks": [check.to_json() for check in checks], "limits": asdict(limits),
    }  # fmt: skip
    return Verdict(not failed, f"{report['model_version']} {verb} {where}: {reasons}", facts)
