"""Products of designs that are held as labels, against dense algebra."""

import numpy as np
import pytest

from jwst_modfix.fitting import linear
from jwst_modfix.fitting.linear import Block, Design, LinearSystem


@pytest.fixture(scope="module", params=["sorted by source", "in any order"])
def system(request):
    """Labels of 5 detectors with two values each, and of 100 exposures, of which one has no column; 60 sources."""
    rng, n = np.random.default_rng(3), 900
    source = rng.permutation(np.arange(n) % 60)
    if request.param == "sorted by source":
        source = np.sort(source)
    detector, exposure = rng.integers(0, 5, n).astype(np.int8), rng.integers(0, 100, n).astype(np.int32)
    places = np.append(np.arange(10, 109), -1)
    blocks = (
        Block(exposure, places), Block(detector, np.arange(5)),
        Block(detector, np.array([5, 6, 7, 8, 5]), rng.normal(size=n)), Block(detector, np.full(5, 9), rng.random(n)),
    )  # fmt: skip
    return LinearSystem(Design(blocks, 109), source)


@pytest.fixture(scope="module")
def weight(system):
    """Weights, of which some are 0, and all those of one source."""
    weight = np.random.default_rng(4).random(len(system.source))
    return np.where((weight < 0.1) | (system.source == 7), 0.0, weight)


@pytest.fixture(scope="module")
def dense(system):
    """The same design, entry by entry."""
    found = np.zeros((len(system.source), system.design.n_terms))
    for block in system.design.blocks:
        for row, label in enumerate(block.label):
            if block.places[label] >= 0:
                found[row, block.places[label]] += 1.0 if block.value is None else block.value[row]
    return found


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of 100 rows: results do not depend on them."""
    monkeypatch.setattr(linear, "_PIECE", 100)


def test_normal_matrix_is_that_of_the_design_without_the_means_of_sources(system, weight, dense):
    information = system.inform(weight)
    matrix, gram = information.matrix, information.gram
    sums = np.array([weight[system.source == s] @ dense[system.source == s] for s in range(60)])
    total = np.bincount(system.source, weight)
    np.testing.assert_allclose(gram, dense.T @ (weight[:, None] * dense), atol=1e-10)
    taken = sums.T @ (sums / np.where(total > 0, total, np.inf)[:, None])
    np.testing.assert_allclose(matrix, gram - taken, atol=1e-10)


def test_products_with_another_design_are_a_part_of_those_with_both(system, weight):
    other = Design((Block(system.source % 80, np.arange(80)), Block(system.source % 3, np.arange(3))), 83)
    joint, n = LinearSystem(system.design.beside(other), system.source), system.design.n_terms
    factor = np.random.default_rng(5).random(60)
    np.testing.assert_allclose(system.design.gram(weight, other), joint.design.gram(weight)[:n, n:], atol=1e-10)
    np.testing.assert_allclose(
        system.source_products(weight, factor, other), joint.source_products(weight, factor)[:n, n:], atol=1e-10
    )


def test_products_with_vectors(system, weight, dense):
    rng = np.random.default_rng(6)
    terms, rows = rng.normal(size=109), rng.normal(size=len(dense))
    np.testing.assert_allclose(system.design @ terms, dense @ terms, atol=1e-12)
    np.testing.assert_allclose(system.design.pull(rows), dense.T @ rows, atol=1e-12)


def test_quadratic_forms_of_rows_and_sources(system, weight, dense):
    half = np.random.default_rng(7).normal(size=(109, 109))
    matrix = half @ half.T
    np.testing.assert_allclose(system.design.quadratic(matrix), np.einsum("ij,jk,ik->i", dense, matrix, dense))
    pull = dense @ half[:3].T
    means = np.array([np.average(pull[system.source == s], axis=0, weights=weight[system.source == s] + 1e-300)
                      for s in range(60)])  # fmt: skip
    shares = np.zeros((60, 3))
    np.add.at(shares, system.source, weight[:, None] * (pull - means[system.source]) ** 2)
    expected = shares.sum(axis=0) ** 2 / (shares**2).sum(axis=0)
    np.testing.assert_allclose(system.effective_sources(weight, half[:3]), expected, rtol=1e-8)


def test_sources_behind_each_term_are_counted(system, weight, dense):
    """Truth: sources of which a measurement has a part in the term, though their parts may add up to 0."""
    part = weight[:, None] * dense != 0
    seen = np.array([part[system.source == s].any(axis=0) for s in range(60)])
    one = np.delete(np.arange(109), [5, 9])  # terms of one label each
    np.testing.assert_array_equal(system.count_sources(weight)[one], np.count_nonzero(seen, axis=0)[one])
    halves = LinearSystem(Design.of_columns([np.tile([0.5, -0.5], 5)]), np.repeat(np.arange(5), 2))
    assert halves.count_sources(np.ones(10)).tolist() == [5]


def test_dense_columns_are_a_design(system, weight, dense):
    columns = np.random.default_rng(8).normal(size=(3, len(dense)))
    both, other = np.column_stack([dense, *columns]), Design.of_columns(columns)
    joint = LinearSystem(system.design.beside(other), system.source)
    np.testing.assert_allclose(joint.design.gram(weight), both.T @ (weight[:, None] * both), atol=1e-10)
    np.testing.assert_allclose(system.cross(weight, other), joint.inform(weight).matrix[:109, 109:], atol=1e-10)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_what_is_not_determined_does_not_depend_on_the_errors_nor_on_units(system, weight, dense, unit):
    """Truth: the last column is there twice: their sum is determined, and not their difference or each of them."""
    design = system.design.beside(Design.of_columns([unit * dense[:, 9]]))
    both = LinearSystem(design, system.source).inform(1e6 * weight)
    contrasts = np.zeros((4, 110))
    contrasts[[0, 1, 2, 2, 3, 3], [9, 109, 9, 109, 9, 109]] = [1, 1, 1, -unit, 1, unit]
    free = np.arange(110) >= 9
    free[100:109] = free[10:99] = False
    null = both.invert(free)[1]
    assert null.shape == (110, 1)
    assert both.lacks(free, contrasts).tolist() == [True, True, True, False]
    assert both.errors(free, contrasts[:3]) is None
    # Rounding leaves up to the root of NULL_SHARE, 1e-5, of what is not determined in what is.
    parts = contrasts[3] + np.outer((1e-7, 1e-3), contrasts[0])
    assert both.lacks(free, parts).tolist() == [False, True]
