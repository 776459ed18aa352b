"""Laws that hold for any numbers: of the factor, the gauge, the coordinate along the gradient and the solution."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_network import TABLE_2_LW, TABLE_2_SW, Survey, simulate

from jwst_modfix.apply.factor import FactorMap, apply_factor, node_pixels
from jwst_modfix.fitting.solution import fit
from jwst_modfix.table.table import BASELINES, Gradient, OffsetRow, OffsetTable

# The same examples in every run, and no deadline: a loaded machine is no failure.
settings.register_profile("laws", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("laws")

FLOAT32 = 3e-7  # two roundings of 2**-24 each, and the factor's own
magnitudes = st.floats(-1, 1)
shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def errors(draw):
    """A zero-point error that changes over the array by up to 1 mag, as a plane and a curve."""
    z, gx, gy, q = (draw(st.floats(-0.25, 0.25)) for _ in range(4))
    return lambda x, y: z + gx * x / 40 + gy * y / 40 + q * x * y / 1600


@given(errors(), shapes, st.integers(0, 2**32), st.floats(-20, 20))
def test_the_inverse_of_apply_is_the_identity(m_sys, shape, seed, decade):
    arrays = np.random.default_rng(seed).uniform(-1, 1, (5, *shape)).astype("f4") * np.float32(10**decade)
    before = arrays.copy()
    factor_map = FactorMap.interpolate(m_sys(*node_pixels(shape)), shape)
    by_name = dict(zip(("data", "err", "var_poisson", "var_rnoise", "var_flat"), arrays, strict=True))
    apply_factor(factor_map, by_name)
    apply_factor(factor_map, by_name, undo=True)
    np.testing.assert_allclose(arrays, before, rtol=2 * FLOAT32, atol=0)


@given(magnitudes, st.floats(-0.02, 0.02), st.floats(-10, 10))
def test_a_gauge_moves_only_the_gauge(offset, slope, u):
    """z_A - z_B, the gradient, and the ratio of corrected A to corrected B are those of every baseline."""
    row = OffsetRow(array="long", filter="F444W", offset=offset, offset_error=0.0, slope=slope, slope_error=0.0)
    gradient = Gradient(frame="focal_plane", direction=90.0, origin=(0.0, 0.0), exposure_share=0.5)
    for baseline in BASELINES:
        table = OffsetTable(rows=(row,), baseline=baseline, gradient=gradient)
        z_a, z_b = (table.zero_point(row, module) for module in "AB")
        assert z_a - z_b == pytest.approx(offset, abs=1e-15)
        assert table.exposure_gradient(row) == 0.5 * slope
        ratio = 10 ** (0.4 * (z_a - table.exposure_gradient(row) * u)) / 10 ** (
            0.4 * (z_b - table.exposure_gradient(row) * u)
        )
        assert ratio == pytest.approx(10 ** (0.4 * offset), rel=1e-12)


@pytest.mark.parametrize(("truth", "arrays"), [(TABLE_2_SW, ("1", "2")), (TABLE_2_LW, ("long",))])
@pytest.mark.parametrize("unit", [1e-6, 3.631, 1e9])
def test_the_unit_of_flux_changes_nothing(truth, arrays, unit):
    """Flux times any number is a constant added to each magnitude, which the sources' own magnitudes take up."""
    measured = simulate(np.random.default_rng(11), truth, Survey(arrays=arrays, density=15, outlier_share=0.02))
    other = dataclasses.replace(measured, mag=measured.mag - 2.5 * np.log10(unit))
    one, two = fit(measured), fit(other)
    assert one.names == two.names
    np.testing.assert_allclose(two.values, one.values, atol=1e-9)
    for name in one.names:  # a level that no data settle is not-a-number in both
        assert two.value(name) == pytest.approx(one.value(name), abs=1e-9, nan_ok=True)
    assert all(np.isfinite(one.value(name)).all() for name in one.names if name.startswith("offset"))


def test_exchanging_the_modules_turns_every_offset_round_and_leaves_its_error():
    measured = simulate(np.random.default_rng(12), TABLE_2_SW, Survey(arrays=("1", "2"), density=15))
    swapped = dataclasses.replace(measured, module=np.where(measured.module == "A", "B", "A"))
    one, two = fit(measured), fit(swapped)
    for name in (name for name in one.names if name.startswith("offset")):
        assert two.value(name) == pytest.approx((-one.value(name)[0], one.value(name)[1]), abs=1e-9)
