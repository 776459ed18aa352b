"""The end of a log: one aligned table, from which a user can tell what became of 60 exposures."""

import logging
import random

from jwst_modfix.apply.decide import Decision, summarize
from jwst_modfix.text import align

OLD = "CRDS_CTX is jwst_1039.pmap, and table.asdf is valid for jwst_1130.pmap"


def test_sixty_exposures_are_counted_by_filter_array_and_reason(caplog):
    """Truth: 40 applied in two arrays, 20 skipped for two reasons, in whatever order they come."""
    decisions = (
        [Decision("apply", f"took out {i}", array="1", filter="F200W") for i in range(24)]
        + [Decision("apply", f"took out {i}", array="long", filter="F444W") for i in range(16)]
        + [Decision("skip", OLD, array="long", filter="F444W")] * 18
        + [Decision("skip", "instrument is MIRI, and the table is for NIRCAM", filter="F770W")] * 2
    )
    random.Random(4).shuffle(decisions)
    with caplog.at_level("INFO"):
        summarize(decisions)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert [record.getMessage() for record in caplog.records] == [
        "40 of 60 exposures corrected, 20 left unchanged",
        "  exposures  filter  array  what",
        "         24  F200W   1      applied",
        "         16  F444W   long   applied",
        "         18  F444W   long   skipped (1)",
        "          2  F770W   -      skipped (2)",
        f"  (1) {OLD}",
        "  (2) instrument is MIRI, and the table is for NIRCAM",
        "  Skipped exposures are unchanged (S_MODOFF = SKIPPED); on_invalid, on_missing = error end a run instead",
    ]


def test_an_undo_and_a_resumed_run_are_told_as_such(caplog):
    with caplog.at_level("INFO"):
        summarize([Decision("undo", "undid it", array="1", filter="F200W"), Decision("resume")])
    first, _, *lines = [record.getMessage() for record in caplog.records]
    assert first == "1 of 2 exposures undone, 0 left unchanged, 1 finished before"
    assert [line.split() for line in lines] == [["1", "-", "-", "finished", "before"], ["1", "F200W", "1", "undone"]]


def test_one_exposure_needs_no_table(caplog):
    with caplog.at_level("INFO"):
        summarize([Decision("apply", "took out 1")])
    assert [record.getMessage() for record in caplog.records] == ["1 of 1 exposure corrected, 0 left unchanged"]


def test_columns_of_a_table_are_aligned():
    lines = align([["filter", "why"], ["F444W+F405N", "a long reason"], ["F200W", "b"]])
    assert [line.index(word) for line, word in zip(lines, ("why", "a long", "b"), strict=True)] == [13, 13, 13]
