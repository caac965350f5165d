"""Which labels count: the SQL that every query on labels has in common."""

from __future__ import annotations


def excluded_as_of(moment: str) -> str:
    """The SQL of who and what was excluded at a moment (an SQL expression)."""
    return f"""
    SELECT rater, import_id FROM (
        SELECT DISTINCT ON (rater, import_id) rater, import_id, action FROM label_exclusions
        WHERE created_at <= {moment} ORDER BY rater, import_id, id DESC
    ) last WHERE action = 'exclude'
"""


def import_counts(column: str) -> str:
    """The SQL condition that `column` names no excluded import; a query with the table `excluded` may use it."""
    return f"({column} IS NULL OR {column} NOT IN (SELECT import_id FROM excluded WHERE import_id IS NOT NULL))"


COUNTS = f"""
    user_session_id NOT IN (SELECT rater FROM excluded WHERE rater IS NOT NULL) AND {import_counts("import_id")}
"""
"""The SQL condition that a rating counts: neither its rater nor its import is excluded."""


def label_now(snapshot: str) -> str:
    """The SQL of what people say of a snapshot (an SQL expression of its id) now, as the label queries have it: ratings
    before a seed, most verdicts "not a sunset", a tie too, as 0; null where nobody has judged it. A query with the table
    `excluded` may use it.
    """
    return f"""(
    SELECT CASE
        WHEN count(*) = 0 THEN (
            SELECT initial_rating FROM webcam_snapshots WHERE id = {snapshot} AND {import_counts("import_id")}
        )
        WHEN 2 * count(*) FILTER (WHERE NOT is_sunset_verdict) >= count(*) THEN 0
        ELSE round(avg(rating), 2)
    END::float8 FROM webcam_snapshot_ratings WHERE snapshot_id = {snapshot} AND {COUNTS}
)"""
