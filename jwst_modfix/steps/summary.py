"""Tables at the end of a log: what was done with the exposures of a run, and what a derivation found."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jwst_modfix.apply.decide import Decision
from jwst_modfix.text import align, get_logger

__all__ = ["format_table", "summarize"]

log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline, of which we are a hook, shows

_WHAT = {"apply": "applied", "undo": "undone", "skip": "skipped", "resume": "finished before"}
_SKIPPED = "What was skipped is unchanged, S_MODOFF = SKIPPED; on_invalid and on_missing = error end a run instead"
_NUMBERS = ("exposures", "sources in effect")


def summarize(decisions: Sequence[Decision]) -> None:
    """Count the exposures corrected and skipped, by array, filter and reason."""
    counts = Counter(decision.action for decision in decisions)
    level = logging.WARNING if counts["skip"] else logging.INFO
    done = counts["apply"] + counts["undo"]
    before = f", {counts['resume']} finished before" if counts["resume"] else ""
    log.log(level, "%d of %d exposures done, %d skipped%s", done, len(decisions), counts["skip"], before)
    for line in _count(decisions) if len(decisions) > 1 else ():
        log.log(level, "  %s", line)
    if counts["skip"]:
        log.log(level, _SKIPPED)


def _count(decisions: Sequence[Decision]) -> list[str]:
    """Count exposures by what was done, array, filter and reason, as the lines of a table."""
    counts = Counter(
        (_WHAT[decision.action], decision.filter or "-", decision.array or "-", _why(decision))
        for decision in decisions
    )
    rows = [
        {"exposures": count, "filter": band, "array": array, "what": what, "why": why}
        for (what, band, array, why), count in sorted(counts.items())
    ]
    return format_table(rows)


def _why(decision: Decision) -> str:
    return decision.reason if decision.action == "skip" else ""


def format_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Align rows under their names."""
    numbers = [column for column, name in enumerate(rows[0]) if name in _NUMBERS]
    return align([list(rows[0]), *([str(value) for value in row.values()] for row in rows)], right=numbers)
