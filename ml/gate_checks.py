"""What the promotion gate asks, one function a question: from an evaluation's report to a check with its numbers.

Gains are in the report's primary metric, positive where the version is better. Nothing here needs numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Report = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """What the gate asks for. Shares are of the active model's error: its distance from the best possible value."""

    probability_better: float = 0.95
    """Share of bootstrap draws in which the version must be better than the active model."""
    non_inferior_share: float = 0.05
    """Or: the lower end of its gain is at most this share of the error below 0, and it is simpler or faster."""
    faster_ratio: float = 0.8
    """Faster is a median time per image of at most this share of the active model's."""
    slice_rows: int = 20
    """Rows of a slice from which on it is checked."""
    slice_share: float = 0.10
    """A slice is worse when its loss is beyond this share of the error and this is certain (see probability_better)."""
    slice_share_at_most: float = 0.25
    """Or when its loss is beyond this share, certain or not."""
    decision_p: float = 0.05
    """Its decisions at the threshold are worse than the active model's where chance alone shows as much less often."""
    decision_rows: int = 100
    """Rows from which on decisions are judged."""
    parity: float = 1e-3
    """Largest difference of onnxruntime from torch at export, in units of each output."""
    latency_ratio: float = 2.0
    """Median time per image over the active model's, at most."""
    latency_ms: float = 500.0
    """Median time per image on one thread, at most. A tick gives 100 webcams 50 s."""


@dataclass(frozen=True)
class Case:
    """What a check looks at."""

    report: Report
    """As `ml.evaluate` writes it, made beside the active model."""
    active: str | None
    """Version that serves now."""
    limits: Limits


@dataclass(frozen=True)
class Check:
    """One condition and what it found."""

    name: str
    passed: bool
    sentence: str
    required: bool = True
    """Whether the verdict depends on it; others are told."""
    numbers: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"name": self.name, "passed": self.passed, "required": self.required, "sentence": self.sentence,
                **self.numbers}  # fmt: skip


def against_baselines(report: Report) -> Check:
    """Better than every simpler baseline, beyond its interval; what is no simpler is named."""
    simplicity = report["gate"]["simplicity"]
    places, order = simplicity["baselines"], simplicity["order"]
    found = [
        {**_gain(report, each), "against": each["against"], "kind": order[places[each["against"]]],
         "required": places[each["against"]] < simplicity["model"]}
        for each in _headline(report)["comparisons"]
        if each["against"] in places
    ]  # fmt: skip
    required = [each for each in found if each["required"]]
    unbeaten = [each for each in required if not _is_beaten(each)]
    to_try = [
        each["against"] for each in found
        if not each["required"] and each["interval"] is not None and each["interval"][1] < 0.0
    ]  # fmt: skip
    numbers = {"compared": found, "model_kind": order[simplicity["model"]], "could_be_tried": to_try}
    if not required:
        return Check("baselines", False, "it was compared with no simpler baseline", numbers=numbers)
    if unbeaten:
        hardest = min(unbeaten, key=_lower_end)
        text = f"it is not better than the simpler {hardest['against']} beyond its interval ({_figures(hardest)})"
        more = [each["against"] for each in unbeaten if each is not hardest]
        text += f", nor than {', '.join(more)}" if more else ""
        return Check("baselines", False, f"{text}: the simpler model stays", numbers=numbers)
    hardest = min(required, key=_lower_end)
    text = f"it is better than all that is simpler, the hardest of which is {hardest['against']} ({_figures(hardest)})"
    text += f"; {', '.join(to_try)} would be better still and could be tried" if to_try else ""
    return Check("baselines", True, text, numbers=numbers)


def _baselines(case: Case) -> Check:
    return against_baselines(case.report)


def _is_beaten(each: Mapping[str, Any]) -> bool:
    return each["interval"] is not None and each["interval"][0] > 0.0


def _lower_end(each: Mapping[str, Any]) -> float:
    return float("-inf") if each["interval"] is None else float(each["interval"][0])


def _active(case: Case) -> Check:
    """Better than the active model for certain; or no worse within the margin, and simpler or faster."""
    if case.active is None:
        return Check("active", True, "no model serves yet")
    comparison = next((each for each in _headline(case.report)["comparisons"] if each["against"] == case.active), None)
    if comparison is None or comparison["difference"] is None:
        text = f"the evaluation has no comparable figure of the active {case.active} on these rows (another head, or rows " \
               "that it learned from); promote with --force if the change is meant"  # fmt: skip
        return Check("active", False, text)
    gain = _gain(case.report, comparison)
    subset = comparison.get("subset", case.report["headline"])
    rows = {row["name"]: row["metrics"] for row in case.report["subsets"][subset]["rows"]}
    error = _error_of(case.report, rows[case.active][case.report["primary"]["name"]])
    margin = case.limits.non_inferior_share * error
    benefits = _benefits(case.report, case.limits)
    is_better = gain["probability_better"] >= case.limits.probability_better
    is_no_worse = gain["interval"] is not None and gain["interval"][0] >= -margin
    numbers = {**gain, "against": case.active, "subset": subset, "n": case.report["subsets"][subset]["n"],
               "non_inferior_margin": margin, "is_better": is_better, "is_no_worse": is_no_worse,
               "benefits": benefits}  # fmt: skip
    figures = (
        f"{_figures(gain)}, better in {gain['probability_better']:.1%} of draws, on {numbers['n']} rows of {subset}"
    )
    if is_better:
        return Check("active", True, f"it is better than the active {case.active} ({figures})", numbers=numbers)
    if is_no_worse and benefits:
        text = f"it is no worse than the active {case.active} beyond a margin of {margin:.3g} ({figures}) and is " \
               f"{' and '.join(benefits)}"  # fmt: skip
        return Check("active", True, text, numbers=numbers)
    words = "no worse, but neither better for certain nor simpler nor faster" if is_no_worse else "not better"
    return Check("active", False, f"it is {words} than the active {case.active} ({figures})", numbers=numbers)


def _benefits(report: Report, limits: Limits) -> list[str]:
    simplicity, latency = report["gate"]["simplicity"], report["gate"]["latency"]
    found = []
    if simplicity["active"] is not None and simplicity["model"] < simplicity["active"]:
        found.append("simpler")
    if latency["ratio"] is not None and latency["ratio"] <= limits.faster_ratio:
        found.append("faster")
    return found


def _slices(case: Case) -> Check:
    """No slice with enough rows is clearly worse than it is with the active model."""
    if case.active is None:
        return Check("slices", True, "no model serves yet, so none of its slices can get worse")
    against = case.report["gate"]["against_active"]
    if against is None or against["version"] != case.active:
        return Check("slices", False, f"its slices were not compared with those of the active {case.active}")
    checked, small, worse = [], [], []
    for name, values in sorted(against["slices"].items()):
        for each in values:
            label = f"{name} {each['value']}"
            if each["n"] < case.limits.slice_rows or each["difference"] is None:
                small.append({"slice": label, "n": each["n"]})
                continue
            facts = {"slice": label, "n": each["n"], "n_groups": each["n_groups"], **_gain(case.report, each)}
            facts["loss_share"] = _share(-facts["gain"], _error_of(case.report, each["active"]))
            checked.append(facts)
            if _is_worse(facts, case.limits):
                worse.append(facts)
    numbers = {"checked": checked, "too_small": small, "worse": [each["slice"] for each in worse], "n": against["n"]}
    if worse:
        said = ", ".join(
            f"{each['slice']} by {-each['gain']:.3g}, {each['loss_share']:.0%} of the error, on {each['n']} rows"
            for each in worse
        )
        return Check("slices", False, f"it is worse than the active {case.active} in: {said}", numbers=numbers)
    text = f"none of {len(checked)} slices is clearly worse; {len(small)} with under {case.limits.slice_rows} rows are not judged"
    return Check("slices", True, text, numbers=numbers)


def _is_worse(facts: Mapping[str, Any], limits: Limits) -> bool:
    is_certain = bool(facts["probability_better"] <= 1.0 - limits.probability_better)
    share = float(facts["loss_share"])
    return share > limits.slice_share_at_most or (is_certain and share > limits.slice_share)


def _parity(case: Case) -> Check:
    """What is served gives what was trained: torch beside onnxruntime at export, and the self-test on golden images."""
    parity = case.report["gate"]["parity"]
    largest, tests = parity["max_abs_difference"], parity["self_test"]["n"]
    if largest is None or not parity["n"]:
        return Check("parity", False, "its bundle does not say how far onnxruntime is from what was trained",
                     numbers=parity)  # fmt: skip
    text = f"onnxruntime differs from what was trained by {largest:.2g} at most on {parity['n']} images (limit " \
           f"{case.limits.parity:g}), and its {tests} golden images give what they should"  # fmt: skip
    return Check("parity", largest <= case.limits.parity and tests > 0, text, numbers=parity)


def _latency(case: Case) -> Check:
    """Fast enough for a tick, and not much slower than what serves."""
    latency = case.report["gate"]["latency"]
    took, ratio = latency["model_ms"], latency["ratio"]
    text = f"it takes {took:.3g} ms an image on one thread (limit {case.limits.latency_ms:g})"
    if ratio is not None:
        text += f", {ratio:.2f} times what the active model takes (limit {case.limits.latency_ratio:g})"
    passed = took <= case.limits.latency_ms and (ratio is None or ratio <= case.limits.latency_ratio)
    return Check("latency", passed, text, numbers=latency)


def _noise_floor(case: Case) -> Check:
    """Not better than the raters' noise allows: that would be a leak."""
    floor = ((case.report.get("noise") or {}).get("subsets") or {}).get(case.report["headline"])
    if floor is None:
        return Check("noise floor", True, "the noise of the raters is not known for these rows", required=False)
    text = "its error is below the floor that the raters' noise sets: that is a leak, not a success"
    if not floor["better_than_floor"]:
        text = "its error is not below the floor that the raters' noise sets"
    return Check("noise floor", not floor["better_than_floor"], text, numbers={"mae_floor": floor["mae_floor"]})


def _leaks(case: Case) -> Check:
    """Nothing that the model learned from stands among the rows that judge it, by the audit of its evaluation."""
    audit = case.report.get("audit")
    if audit is None:
        return Check("leaks", False, "its evaluation did not look for leaks; evaluate it again")
    numbers = {
        "groups_in_several_splits": audit["groups_in_several_splits"]["n"],
        "images_in_several_splits": audit["images_in_several_splits"]["n"],
        "held_out_webcams_learned": audit["held_out_webcams_learned"]["n"],
        "near_duplicates": [
            {key: each[key] for key in ("learned", "judged", "n", "near_duplicates")} for each in audit["between"]
        ],
        "folds": audit["folds"],
    }
    return Check("leaks", not audit["leak"], str(audit["verdict"]), numbers=numbers)


def _decisions(case: Case) -> Check:
    """How often only one of the two thresholds decides rightly: required not to be worse beyond chance; better is told."""
    found = (case.report["gate"]["against_active"] or {}).get("decisions")
    if found is None:
        return Check("decisions", True, "there are no decisions of an active model to compare", required=False)
    text = (
        f"of {found['n']} decisions at the thresholds only this model is right in {found['only_model_right']}, only the "
        f"active one in {found['only_active_right']} (McNemar's exact p {found['p_value']:.3g})"
    )
    is_behind = found["only_model_right"] < found["only_active_right"]
    is_certain = found["n"] >= case.limits.decision_rows and found["p_value"] < case.limits.decision_p
    if is_behind and is_certain:
        return Check("decisions", False, f"it decides worse than the active {case.active}: {text}", numbers=found)
    return Check("decisions", not is_behind, text, required=False, numbers=found)


def _evidence(case: Case) -> Check:
    """Whether the headline has rows enough; told in the verdict's sentence, not required: a first model has few rows."""
    words = _headline(case.report).get("insufficient")
    return Check("evidence", words is None, words or "there are rows and groups enough", required=False)


CHECKS: Sequence[Callable[[Case], Check]] = (
    _active, _baselines, _slices, _parity, _latency, _noise_floor, _leaks, _decisions, _evidence,
)  # fmt: skip


def _headline(report: Report) -> Mapping[str, Any]:
    found: Mapping[str, Any] = report["subsets"][report["headline"]]
    return found


def _gain(report: Report, comparison: Mapping[str, Any]) -> dict[str, Any]:
    """A comparison as `gain`, `interval` and `probability_better`, positive where the version is better."""
    sign = 1.0 if report["primary"]["higher_is_better"] else -1.0
    difference, bounds = comparison["difference"], comparison["interval"]
    return {
        "gain": None if difference is None else sign * difference,
        "interval": None if difference is None or bounds is None else sorted(sign * end for end in bounds),
        "probability_better": comparison["probability_better"],
    }


def _figures(gain: Mapping[str, Any]) -> str:
    if gain["gain"] is None or gain["interval"] is None:
        return "undefined on these rows"
    low, high = gain["interval"]
    return f"gain {gain['gain']:+.3g}, 95 % interval {low:+.3g} to {high:+.3g}"


def _error_of(report: Report, value: float) -> float:
    """Distance of the metric from its best possible value; 0 where that is unknown, so that no loss is small."""
    best = report["primary"].get("best")
    return 0.0 if best is None else abs(float(best) - value)


def _share(loss: float, error: float) -> float:
    """A loss as a share of an error; of no error at all any loss is everything."""
    return loss / error if error > 0.0 else (1.0 if loss > 0.0 else 0.0)
