"""Truth: positions made up."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from jwst_modfix.report.figures import draw_residuals


def make_derivation(off):
    """Three exposures of 200 sources, of which the last stands so far to the east [arcsec]."""
    n = 200
    table = Table({"source": np.tile(np.arange(n), 3), "epoch": np.repeat([0, 0, 1], n)})
    table["array"], table["module"] = "long", np.repeat(["A", "B", "A"], n)
    table["off_east"] = np.repeat([0.0, 0.0, off], n)
    table["off_north"] = np.random.default_rng(1).normal(0, 1e-3, 3 * n)
    return SimpleNamespace(
        photometry=SimpleNamespace(measurements=table),
        selection=SimpleNamespace(mask=np.ones(3 * n, bool)),
        epochs=SimpleNamespace(names=("one", "two")),
    )


def test_residuals_are_from_the_mean_of_the_other_exposures():
    """The truth: 2 mas for the last exposure, and minus half of that for each of the others."""
    figure = draw_residuals(make_derivation(2e-3)).figure
    labels = [text.get_text() for ax in figure.axes for text in ax.get_legend().get_texts()]
    assert "one: -1.0, 0.0" in labels
    assert "two: +2.0, 0.0" in labels
    north = [label for label in labels if label.startswith("two") and "2.0" not in label]
    assert float(north[0].split(", ")[1]) == pytest.approx(0.6745 * np.sqrt(1.5), abs=0.2)


def test_without_centroids_there_is_no_figure():
    derivation = make_derivation(0.0)
    derivation.photometry.measurements["off_east"] = np.nan
    assert draw_residuals(derivation) is None
