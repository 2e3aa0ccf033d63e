"""Each unit has exactly the connections asked for, all equally likely."""

import itertools

import numpy as np
import pytest
import scipy
from modes import STREAM_MODES, run

from keras_initx.sampling import Stream, _stream, _subsets
from keras_initx.sampling._subsets import sparse_normal

pytestmark = pytest.mark.usefixtures("optimized")

# With fixed seeds a test passes always or never; a random seed would fail one test here in 10,000.
P_VALUE = 1e-4


@pytest.fixture(params=["floyd", "keys"])
def algorithm(request, monkeypatch):
    monkeypatch.setattr(_subsets, "_MAX_FLOYD", {"floyd": 10**9, "keys": 0}[request.param])
    return request.param


def matrix(inputs, units, connections, seed=0):
    return sparse_normal(Stream((seed, 0)), inputs, units, connections)


def test_each_unit_has_exactly_the_connections_asked_for(algorithm):
    for inputs, units, connections in ((9, 50, 1), (40, 7, 33), (6, 4, 6), (5, 1, 3), (4096, 80, 40)):
        counts = (matrix(inputs, units, connections) != 0).sum(axis=0)
        assert counts.tolist() == [connections] * units, (inputs, units, connections)


def test_no_weight_is_zero_by_chance(algorithm):
    # Without a rule against it, five of these draws would be expected to be zero.
    assert (np.count_nonzero(matrix(64, 8192, 40), axis=0) == 40).all()


def test_every_sparse_is_equally_likely(algorithm):
    supports = matrix(5, 20_000, 2).T != 0
    pairs = [tuple(np.flatnonzero(row)) for row in supports]
    counts = [pairs.count(pair) for pair in itertools.combinations(range(5), 2)]
    assert scipy.stats.chisquare(counts).pvalue > P_VALUE


def test_every_input_is_equally_likely(algorithm):
    counts = (matrix(50, 4000, 20) != 0).sum(axis=1)
    # Without replacement the counts vary less than a multinomial's, by 1 - 20/50.
    statistic = ((counts - 1600) ** 2 / 1600).sum() / (1 - 20 / 50)
    assert scipy.stats.chi2(49).sf(statistic) > P_VALUE


def test_units_are_independent(algorithm):
    supports = (matrix(400, 400, 40) != 0).astype(float)
    overlaps = (supports.T @ supports)[np.triu_indices(400, 1)]
    expected = scipy.stats.hypergeom(400, 40, 40)
    standard_error = expected.std() / np.sqrt(overlaps.size)
    assert abs(overlaps.mean() - expected.mean()) < 4 * standard_error


@pytest.mark.parametrize("mode", STREAM_MODES[1:])
def test_the_trace_gives_what_the_host_gives(algorithm, mode):
    np.testing.assert_array_equal(run(mode, lambda: matrix(90, 3, 40)), matrix(90, 3, 40))


@pytest.mark.parametrize("size", [50, 700])
def test_the_size_of_a_block_on_the_host_does_not_show(monkeypatch, size):
    whole = matrix(100, 50, 40)
    monkeypatch.setattr(_subsets, "_KEYS_PER_BLOCK", size)
    np.testing.assert_array_equal(matrix(100, 50, 40), whole)


def test_of_equal_keys_the_first_are_chosen():
    keys = np.array([[5, 7, 5, 5, 1], [3, 3, 3, 3, 3]])
    chosen = _subsets._without_late_ties(np, keys, np.array([[5], [3]]), 3)
    assert chosen.tolist() == [[True, False, True, False, True], [True, True, True, False, False]]


def test_equal_keys_on_the_host_leave_the_count_exact(monkeypatch):
    stream = Stream((0, 0))
    monkeypatch.setattr(stream, "words", lambda draw, shape, start: np.zeros(shape, "uint32"))
    values = sparse_normal(stream, 50, 3, 40)
    assert (values != 0).sum(axis=0).tolist() == [40, 40, 40]


def test_refuses_more_keys_or_connections_than_counters(monkeypatch):
    monkeypatch.setattr(_stream, "_MAX_SIZE", 3 * 32)
    assert matrix(40, 3, 32).shape == (40, 3)
    required = r"`shape` must need at most 2\*\*32 random numbers\. Received: shape="
    for units, connections, shape in ((3, 33, r"\(40, 3\)"), (4, 32, r"\(40, 4\)")):
        with pytest.raises(ValueError, match=required + shape):
            matrix(40, units, connections)
