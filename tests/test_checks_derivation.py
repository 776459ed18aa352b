"""A derivation says where its model is incomplete: score tests, colours and assumptions are in its record."""

import dataclasses
import re

import numpy as np
import pytest
from derivation_of_magnitudes import derive, simulate_photometry

from jwst_modfix.derivation.provenance import describe_derivation
from jwst_modfix.errors import NoSolutionError


def with_fault(change):
    """Photometry of F200W and F444W in three epochs, its magnitudes changed by a function of the table [mag]."""
    photometry, headers, epochs = simulate_photometry()
    table = photometry.measurements.copy()
    table["mag"] = np.asarray(table["mag"]) + change(table)
    return dataclasses.replace(photometry, measurements=table), headers, epochs


def test_a_drift_is_a_warning_and_in_the_record():
    """Truth: NRCALONG measures 20 mmag fainter in the last epoch."""
    drift = with_fault(lambda t: 0.020 * ((t["array"] == "long") & (t["module"] == "A") & (t["epoch"] == 2)))
    found = derive(*drift)
    short, long = found.bands
    (warning,) = [w for w in long.warnings if "detector x epoch" in w]
    assert warning.startswith("ModelMismatchWarning: F444W: residuals depend on detector x epoch (p = ")
    assert "array long module A in epoch 2" in warning
    assert not any("ModelMismatch" in w for w in short.warnings)
    record = describe_derivation(found)["bands"][1]
    (test,) = [test for test in record["score_tests"] if test["name"] == "detector x epoch"]
    assert test["is_mismatch"]
    assert test["probability"] < 1e-3
    assert abs(test["effect"]) == pytest.approx(0.020, abs=0.005)
    assert any("assumes that no detector changes alone" in one["words"] for one in record["assumptions"])


def test_a_refusal_names_the_error_and_the_test_that_fails():
    """Truth: each exposure of each detector is off by 12 mmag, so that no offset is known to 3 mmag."""
    shift = np.random.default_rng(5).normal(0, 0.012, 100)
    with pytest.raises(NoSolutionError) as refusal:
        derive(*with_fault(lambda t: shift[np.asarray(t["exposure"])]))
    assert re.search(
        r"array long: .*; its error of (?:[3-9]|\d\d)\.\d mmag exceeds 3 mmag, so it is in no table", str(refusal.value)
    )
    assert "F444W: residuals depend on exposure x detector (p = " in str(refusal.value)
