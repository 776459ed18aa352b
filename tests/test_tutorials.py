"""Tutorials that need no exposures of full size run as they are written; the build of the documentation runs all."""

import runpy
from pathlib import Path

TUTORIALS = Path(__file__).parents[1] / "examples" / "tutorials"


def test_the_tutorial_in_python_runs(capsys):
    """Truth: the simulated offset of -20 mmag and slope of +6 mmag/arcmin."""
    names = runpy.run_path(str(TUTORIALS / "plot_3_python.py"))
    solution = names["solution"]
    for term, truth in (("offset[long]", -0.020), ("slope[long]", 0.006), ("epoch[1]", 0.007)):
        value, error = solution.value(term)
        assert abs(value - truth) < 4 * error
    assert names["mine"] == names["OffsetTable"].read(names["path"])
    assert names["applied"](names["corrected"]) is not None
    assert "array" in capsys.readouterr().out
