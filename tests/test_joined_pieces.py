"""Measurement files of more measurements than memory holds, against the solution of all of them in memory."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from detectors_scale import simulate

from jwst_modfix.derivation import joined
from jwst_modfix.derivation.joined import derive_from
from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.solution import fit

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")
SOURCES, EXPOSURES = 3000, 20
OPTIONS = {"scale": "detectors", "field_order": "2", "exposure_terms": "fit"}


@pytest.fixture(scope="module")
def drawn():
    return simulate(np.random.default_rng([12, SOURCES]), SOURCES, EXPOSURES)


@pytest.fixture
def write(drawn, tmp_path):
    """Give a function that writes a part of the sources as a measurement file, with changes of its columns."""

    def write(name="one.parquet", part=slice(None), **changes):
        m = drawn[0].select(np.arange(len(drawn[0]))[part])
        table = m.to_table()
        table["selected"] = np.ones(len(table), bool)
        for column, change in changes.items():
            table[column] = change(table[column])
        table.write(tmp_path / name, format="parquet")
        return tmp_path / name

    return write


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A fifth of the sources in memory; pieces end within sources."""
    monkeypatch.setattr(joined, "MOST", 2 * SOURCES)
    monkeypatch.setattr(joined, "_PIECE", 7001)


def whole(monkeypatch, paths, **options):
    monkeypatch.setattr(joined, "MOST", 100 * SOURCES)
    return derive_from(paths, allow_mixed=True, **OPTIONS | options).solutions["F200W"]


@pytest.mark.parametrize("files", [1, 2])
def test_a_sample_and_the_rest_are_as_good_as_all_in_memory(write, drawn, monkeypatch, files):
    """Truth: the solution of all in memory, the zero points put in, and that the errors are those of all sources."""
    half = 10 * SOURCES // 2
    # In the second file, exposures of the same numbers have other terms.
    other = {"mag": lambda column: column + 0.02 * (drawn[0].time[half:] % 3)}
    paths = [write()]
    if files == 2:
        paths = [write("a.parquet", slice(half)), write("b.parquet", slice(half, None), **other)]
    streamed = derive_from(paths, allow_mixed=True, **OPTIONS).solutions["F200W"]
    solved, truth = whole(monkeypatch, paths), drawn[1]
    found, known = (np.array([*s.zero_points("mean").values()]) for s in (streamed, solved))
    assert len(streamed.measurements) < 0.3 * len(solved.measurements)
    np.testing.assert_allclose(found[:, 0], known[:, 0], atol=0.3 * known[:, 1].max())
    np.testing.assert_allclose(found[:, 1], known[:, 1], rtol=0.1)
    assert np.abs((found[:, 0] - truth + truth.mean()) / found[:, 1]).max() < 4.5
    (words,) = streamed.remarks[-1:]
    assert "in pieces; counts, links, scatter, structure and what is determined are of the sample" in words
    used = int(words.split("from ")[1].split()[0])
    assert used == pytest.approx(solved.n_measurements, rel=0.002)
    assert not any("in pieces" in remark for remark in solved.remarks)


@pytest.mark.parametrize("rows", [500, 2500, 10**6])
def test_pieces_hold_each_row_once_and_memory_only_some_row_groups(write, drawn, rows):
    """Truth: the rows of the file; with groups of at most 2500 of 30,000 rows, Arrow keeps less than half of them."""
    path = write()
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table, path, row_group_size=rows)
    whole = table.nbytes
    del table
    (stream,) = joined.open_streams([path])
    before = pyarrow.total_allocated_bytes()
    pieces, kept = [], []
    for piece in stream.read():
        pieces.append(np.array(piece["mag"]))
        kept.append(pyarrow.total_allocated_bytes() - before)
    np.testing.assert_array_equal(np.concatenate(pieces), drawn[0].mag)
    assert len(pieces) >= 4
    assert rows > len(drawn[0]) or max(kept) < whole / 2


def test_the_order_of_fields_is_chosen_by_the_sample(write, drawn):
    """Truth: fields of order 2 were put in; sources are reserved by the file."""
    path = write(reserved=lambda column: drawn[0].source % 5 == 0)
    solution = derive_from([path], allow_mixed=True, **OPTIONS | {"field_order": "auto"}).solutions["F200W"]
    assert solution.field_order == 2
    used = int(solution.remarks[-1].split("from ")[1].split()[0])
    assert 0.78 < used / len(drawn[0]) < 0.8  # but for outliers


def test_what_the_sample_does_not_have_is_left_out_in_words(drawn):
    """Truth: measurements of one exposure, which is in no source of the sample; reserved ones are left out anyway."""
    m = replace(drawn[0], reserved=drawn[0].source % 5 == 4)
    mine = m.source < SOURCES // 3
    sample, other = m.select(mine & (m.time != 3)), m.select(~mine)
    solution = fit(sample, rest=lambda: [other], **OPTIONS)
    count = np.count_nonzero((other.time == 3) & ~other.reserved)
    assert f"; {count} measurements of detectors or exposures without it are left out" in solution.remarks[-1]


@pytest.mark.parametrize("sign", "+-")
def test_other_sources_that_contradict_the_sample_are_refused(drawn, sign):
    """Truth: a detector is 10 mmag fainter, or brighter, in the sources outside of the sample."""
    m = drawn[0]
    mine = m.source < SOURCES // 3
    other = replace(m, mag=m.mag + float(f"{sign}0.01") * (m.detector == 4)).select(~mine)
    with pytest.raises(MeasurementsError, match=rf"outside of the sample move the zero point of NRCA3 by \{sign}"):
        fit(m.select(mine), rest=lambda: [other], **OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": lambda c: c[::-1]}, "one.parquet: has more than 6000 measurements, and its rows are not sorted"),
        ({"source": lambda c: np.repeat(np.roll(np.arange(SOURCES), 1500), 10)}, "rows are not sorted by source"),
        ({"epoch": lambda c: np.asarray(c, str)}, "one.parquet: column epoch must hold integers"),
    ],
)
def test_files_that_cannot_be_read_in_pieces_are_refused(write, change, message):
    with pytest.raises(MeasurementsError, match=message):
        derive_from([write(**change)], allow_mixed=True, **OPTIONS)


def test_a_missing_column_or_value_is_refused(write, tmp_path):
    table = Table.read(write())
    table.remove_column("time")
    table.write(tmp_path / "none.parquet", format="parquet")
    with pytest.raises(MeasurementsError, match="none.parquet: has no column time; give a measurement file"):
        derive_from([tmp_path / "none.parquet"], allow_mixed=True, **OPTIONS)


@pytest.mark.parametrize("most", [10, 10**6], ids=["in pieces", "in memory"])
def test_a_file_without_measurements_is_refused(write, monkeypatch, most):
    paths = [write(), write("none.parquet", slice(0))]
    monkeypatch.setattr(joined, "MOST", most)
    with pytest.raises(MeasurementsError, match=r"none.parquet: has no measurements; leave it out"):
        derive_from(paths, allow_mixed=True, **OPTIONS)


def test_measurements_that_two_large_files_have_are_refused(write):
    paths = [write("a.parquet"), write("b.parquet", slice(5000, 15000))]
    with pytest.raises(MeasurementsError, match=r"b.parquet: 10000 measurements of it, .* are in a.parquet too"):
        derive_from(paths, allow_mixed=True, **OPTIONS)


def test_jitter_does_not_average_out_over_the_sources_of_pieces(write, drawn, monkeypatch):
    """Truth: each detector is off by 5 mmag in each exposure, for all sources alike: the errors are as in memory."""
    m, rng = drawn[0], np.random.default_rng(3)
    jitter = rng.normal(0, 0.005, (m.time.max() + 1, m.detector.max() + 1))[m.time, m.detector]
    path = write(mag=lambda column: column + jitter)
    found = derive_from([path], allow_mixed=True, **OPTIONS).solutions["F200W"]
    expected = whole(monkeypatch, [path])
    assert found.detector_scatter == pytest.approx(0.005, rel=0.15)
    for name, (_, error) in expected.zero_points().items():
        if error:
            assert found.zero_points()[name][1] == pytest.approx(error, rel=0.2)
