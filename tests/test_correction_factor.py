"""The factor: interpolated as if evaluated at every pixel, applied once to data and errors, squared to variances."""

import numpy as np
import pytest

from jwst_modfix.apply.factor import FactorMap, apply_factor, fit_factor


def curved(x, y):
    """A zero-point error of 0.05 mag with terms of fifth order, steeper than any distortion."""
    x, y = x / 2048, y / 2048
    return 0.03 + 0.01 * x - 0.006 * y + 0.004 * x**2 * y - 0.002 * x**5 + 0.001 * x**2 * y**3


def pixels(shape):
    return np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))


@pytest.mark.parametrize("shape", [(2048, 2048), (64, 2048), (37, 1), (1, 1), (640, 639)])
def test_interpolation_equals_evaluation_at_every_pixel(shape):
    factor_map = fit_factor(curved, shape)
    rendered = np.concatenate([np.broadcast_to(f, (len(range(shape[0])[r]), shape[1])) for r, f in factor_map.blocks()])
    truth = 10 ** (0.4 * curved(*pixels(shape)))
    np.testing.assert_allclose(rendered, truth, rtol=2e-7)  # float32
    assert np.abs(2.5 * np.log10(rendered.astype(float) / truth)).max() < 1e-6  # mag


def test_the_factor_brightens_what_measures_faint():
    # m_sys = +0.1 mag: the exposure measures 0.1 mag fainter, so that it must grow by 10**0.04.
    assert FactorMap.constant(0.1, (4, 4)).centre == pytest.approx(10**0.04)


def test_the_centre_is_halfway_between_the_first_and_the_last_pixel():
    centre = fit_factor(curved, (100, 50)).centre
    assert centre == pytest.approx(10 ** (0.4 * curved(24.5, 49.5)), rel=1e-9)


@pytest.mark.parametrize("dtype", ["f4", ">f4", "f8"])
@pytest.mark.parametrize("m_sys", [curved, None])
def test_data_and_errors_take_the_factor_and_variances_its_square(dtype, m_sys):
    shape = (50, 40)
    rng = np.random.default_rng(1)
    data, err, var = (rng.uniform(1, 2, shape).astype(dtype) for _ in range(3))
    data[3, 4] = np.nan
    before = (data.copy(), err.copy(), var.copy())
    factor_map = fit_factor(m_sys, shape) if m_sys else FactorMap.constant(0.03, shape)
    apply_factor(factor_map, [data, err], [var])
    truth = 10 ** (0.4 * (curved(*pixels(shape)) if m_sys else 0.03))
    np.testing.assert_allclose(data, before[0] * truth, rtol=3e-7)
    np.testing.assert_allclose(err, before[1] * truth, rtol=3e-7)
    np.testing.assert_allclose(var, before[2] * truth**2, rtol=5e-7)
    assert data.dtype == err.dtype == var.dtype == np.dtype(dtype)
    assert np.isnan(data[3, 4])
    assert np.isnan(data).sum() == 1
    apply_factor(factor_map, [data, err], [var], undo=True)
    for array, original in zip((data, err, var), before, strict=True):
        np.testing.assert_allclose(array, original, rtol=3e-7)
