"""A report's verdict: the questions that decide whether a model may be believed, each answered in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml.gate_checks import against_baselines
from ml.scored_rows import TEST

GOOD, BAD, CAUTION = "good", "bad", "caution"
"""How an answer is to be taken; pages show it by a sign and a word, never by colour alone."""
YES, NO, UNKNOWN = "yes", "no", "unknown"


def verdict(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Questions with `answer` (yes, no, unknown), `taken` (good, bad, caution) and the figures in `words`.

    Args:
        content: a report with `subsets`, `headline`, `method`, `skill` and `noise`; what else it knows (`gate`, `audit`) is
            asked too.
    """
    table = content["subsets"][content["headline"]]
    found = [_skill(content, table)]
    if content.get("gate"):
        found.append(_simpler(content))
    if content.get("active_version"):
        found.append(_active(content, table))
    if content.get("audit"):
        found.append(_leaks(content["audit"]))
    found += [_enough(content, table), _floor(content)]
    return found


def _answer(question: str, answer: str, taken: str, words: str) -> dict[str, str]:
    return {"question": question, "answer": answer, "taken": taken, "words": words}


def _skill(content: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, str]:
    question, skill, words = "Better than the best baseline?", table["skill"], content["skill"]["sentence"]
    if skill["value"] is None:
        return _answer(question, UNKNOWN, CAUTION, words)
    return _answer(question, YES, GOOD, words) if skill["certain"] else _answer(question, NO, BAD, words)


def _simpler(content: Mapping[str, Any]) -> dict[str, str]:
    question, check = "Better than all that is simpler?", against_baselines(content)
    if check.passed:
        return _answer(question, YES, CAUTION if check.numbers["could_be_tried"] else GOOD, check.sentence)
    return _answer(question, NO, BAD, check.sentence)


def _active(content: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, str]:
    active, metric = content["active_version"], content["primary"]["name"]
    question = f"At least as good as the active {active}?"
    found = next((each for each in table["comparisons"] if each["against"] == active), None)
    if found is None or found["difference"] is None:
        return _answer(question, UNKNOWN, CAUTION, "on these rows the two cannot be compared fairly; see the notes")
    low, high = found["interval"]
    where = f"the {content['subsets'][found['subset']]['n']} test rows" if "subset" in found else f"{table['n']} rows"
    words = f"difference in {metric} {found['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, on {where}"
    if found["certain"]:
        return _answer(question, YES, GOOD, f"{words}: better beyond its interval")
    if found["better"]:
        return _answer(question, YES, CAUTION, f"{words}: no worse, and not better beyond its interval")
    return _answer(question, NO, BAD, words)


def _leaks(audit: Mapping[str, Any]) -> dict[str, str]:
    question, words = "Nothing learned from that it is judged by?", str(audit["verdict"])
    return _answer(question, NO, BAD, words) if audit["leak"] else _answer(question, YES, GOOD, words)


def _enough(content: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, str]:
    question = "Enough rows to believe it?"
    if table.get("insufficient"):
        cure = "; trained with evaluation: kfold, all rows judge it" if content["method"] == TEST else ""
        return _answer(question, NO, BAD, f"insufficient: {table['insufficient']}{cure}")
    return _answer(question, YES, GOOD, f"{table['n']} rows in {table['n_groups']} groups, which are drawn whole")


def _floor(content: Mapping[str, Any]) -> dict[str, str]:
    question = "Within what the raters' noise allows?"
    noise = content.get("noise") or {}
    words = str(noise.get("sentence") or "the noise of the raters was not estimated")
    floor = (noise.get("subsets") or {}).get(content["headline"]) if noise.get("known") else None
    if floor is None:
        return _answer(question, UNKNOWN, CAUTION, words)
    if floor["better_than_floor"]:
        return _answer(question, NO, BAD, words)
    return _answer(question, YES, GOOD, words)
