"""Histograms of several layers share an axis in a table."""

import numpy as np
from reported import drawn_in_text

from keras_initx.tools.diagnose import _report
from keras_initx.tools.diagnose._histogram_axis import compute_bin_edges
from keras_initx.tools.diagnose._signal import Signal


def test_histograms_of_a_table_share_one_axis():
    shown, limits = drawn_in_text(0.02, 3)
    assert shown == ["▁▁▁▃▇█▇▄▁▁▁", "▁▁▁▁▁█▁▁▁▁▁", "▁▁▁▁▁█▁▁▁▁▁"]
    assert limits == "-0.77 to 0.75"


def test_a_histogram_has_what_lies_beyond_its_axis_in_its_ends():
    signal = Signal()
    signal.add(np.array([-9, -0.5, 0.5, 0.6, 9]))
    shown = _report._draw_histogram(signal, compute_bin_edges((-1.1, 1.1), 4.0, 11))
    assert shown[0] == shown[-1] == "█"


def test_the_shape_of_outputs_that_are_too_large_is_seen_in_a_table():
    shown, limits = drawn_in_text((0.1, 10.0), 2, "linear")
    assert shown == ["▁▁▁▁▄█▃▁▁▁▁", "██▂▁▁▁▁▁▂█▇"]
    assert limits == "-400 to 440"


def test_bins_beyond_the_linear_part_are_logarithmic():
    edges = compute_bin_edges((-400.0, 400.0), 4.0, 8)
    np.testing.assert_allclose(edges, [-400, -40, -4, -2, 0, 2, 4, 40, 400])
