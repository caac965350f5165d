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
