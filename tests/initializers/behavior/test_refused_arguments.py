"""Each class refuses bad arguments with a message that names them and what it received."""

import math

import pytest

from keras_initx.initializers import (
    ChronoBias,
    DeltaOrthogonal,
    Dirac,
    LSTMForgetBias,
    Orthogonal,
    Pretrained,
    RandomNormal,
    RandomUniform,
    Sparse,
    Spectral,
    TruncatedNormal,
    VarianceScaling,
)

REFUSED = {
    Pretrained: [
        ({"path": 7}, TypeError, r"`path` must be the path of a file .*Received: path=7"),
        ({"path": b"a.npy"}, TypeError, r"`path` must be the path of a file .*Received: path=b'a\.npy'"),
        ({"path": "a.pkl"}, ValueError, r"`path` must be .* ends in one of \('\.npy', .*Received: path='a\.pkl'"),
        ({"path": "a.npy", "key": 1}, TypeError, r"`key` must be a string or `None`\. Received: key=1"),
        ({"path": "a.npy", "sha256": 1}, TypeError, r"`sha256` must be a string or `None`\. Received: sha256=1"),
        (
            {"path": "a.npy", "sha256": "1"},
            ValueError,
            r"`sha256` must be 64 hexadecimal digits\. Received: sha256='1'",
        ),
    ],
    Orthogonal: [
        ({"gain": 0}, ValueError, r"`gain` must be a positive number\. Received: gain=0"),
        ({"gain": "rleu"}, ValueError, r"`gain` must be one of \('linear', .*\)\. Received: gain='rleu'"),
        ({"method": "lu"}, ValueError, r"`method` must be one of \('householder', .*\)\. Received: method='lu'"),
        ({"method": ["qr"]}, ValueError, r"`method` must be one of \('householder', .*\)\. Received: method=\['qr'\]"),
        ({"blocks": 0}, ValueError, r"`blocks` must be a positive integer\. Received: blocks=0"),
        ({"singular_values": 0.5}, ValueError, r"`singular_values` must be .* at least 1 .*singular_values=0\.5"),
        ({"singular_values": math.inf}, ValueError, r"`singular_values` must be .*singular_values=inf"),
        ({"singular_values": [1, -1]}, ValueError, r"list of numbers of at least 0\. .*singular_values=\[1, -1\]"),
        ({"singular_values": [math.nan]}, ValueError, r"`singular_values` must be .*singular_values=\[nan\]"),
        ({"singular_values": "ab"}, TypeError, r"`singular_values` must be .*singular_values='ab'"),
        ({"singular_values": [True]}, TypeError, r"`singular_values` must be .*singular_values=\[True\]"),
        (
            {"method": "gaussian", "singular_values": 2},
            ValueError,
            r"`singular_values` cannot be used with .* Received: singular_values=2, method='gaussian'",
        ),
    ],
    Sparse: [
        ({"connections": 0}, ValueError, r"`connections` must be a positive integer\. Received: connections=0"),
        ({"connections": 2.5}, TypeError, r"`connections` must be a positive integer\. Received: connections=2\.5"),
        ({"connections": True}, TypeError, r"`connections` must be .* Received: connections=True"),
        ({"sparsity": "0.5"}, TypeError, r"`sparsity` must be a finite number\. Received: sparsity='0\.5'"),
        ({"sparsity": math.nan}, ValueError, r"`sparsity` must be a finite number\. Received: sparsity=nan"),
        ({"stddev": math.inf}, ValueError, r"`stddev` must be a positive number\. Received: stddev=inf"),
        ({"stddev": [1]}, TypeError, r"`stddev` must be a positive number\. Received: stddev=\[1\]"),
        ({"sparsity": 1.0}, ValueError, r"`sparsity` must be in \[0, 1\)\. Received: sparsity=1\.0"),
        ({"sparsity": -0.1}, ValueError, r"`sparsity` must be in \[0, 1\)\. Received: sparsity=-0\.1"),
        (
            {"connections": 3, "sparsity": 0.5},
            ValueError,
            r"Only one of `connections` and `sparsity` can be given\. Received: connections=3, sparsity=0\.5",
        ),
        ({"stddev": 0}, ValueError, r"`stddev` must be a positive number\. Received: stddev=0"),
        (
            {"stddev": 1.0, "gain": 2.0},
            ValueError,
            r"Only one of `stddev` and `gain` can be given\. Received: stddev=1\.0, gain=2\.0",
        ),
        ({"gain": -1}, ValueError, r"`gain` must be a positive number\. Received: gain=-1"),
    ],
    DeltaOrthogonal: [
        ({"gain": -1}, ValueError, r"`gain` must be a positive number\. Received: gain=-1"),
        ({"groups": 0}, ValueError, r"`groups` must be a positive integer\. Received: groups=0"),
    ],
    Dirac: [
        ({"gain": -1}, ValueError, r"`gain` must be a positive number\. Received: gain=-1"),
        ({"groups": 0}, ValueError, r"`groups` must be a positive integer\. Received: groups=0"),
    ],
    VarianceScaling: [
        ({"scale": 0}, ValueError, r"`scale` must be a positive number\. Received: scale=0"),
        ({"mode": "fan"}, ValueError, r"`mode` must be one of \('fan_in', .*\)\. Received: mode='fan'"),
        ({"distribution": "cauchy"}, ValueError, r"`distribution` must be one of .*\. Received: distribution='cauchy'"),
        ({"input_axes": 0}, TypeError, r"`input_axes` must be `None` or a list of .* Received: input_axes=0"),
        ({"output_axes": [1.0]}, TypeError, r"`output_axes` must be .* Received: output_axes=\[1\.0\]"),
    ],
    Spectral: [
        ({"scale": 0}, ValueError, r"`scale` must be a positive number\. Received: scale=0"),
    ],
    RandomNormal: [
        ({"stddev": 0}, ValueError, r"`stddev` must be a positive number\. Received: stddev=0"),
    ],
    RandomUniform: [
        (
            {"minval": 1, "maxval": 1.0},
            ValueError,
            r"`maxval` must be greater than `minval`\. Received: minval=1, maxval=1\.0",
        ),
        (
            {"minval": -3e38, "maxval": 3e38},
            ValueError,
            r"`maxval` must be at most 3\.4e38, .* above `minval`\. Received: minval=-3e\+38, maxval=3e\+38",
        ),
        ({"minval": -1e308, "maxval": 1e308}, ValueError, r"`maxval` must be at most 3\.4e38"),
    ],
    TruncatedNormal: [
        ({"stddev": -1}, ValueError, r"`stddev` must be a positive number\. Received: stddev=-1"),
        ({"lower": 2}, ValueError, r"`upper` must be at least 0\.001 above `lower`\. Received: lower=2, upper=2\.0"),
        (
            {"lower": -9, "upper": -6},
            ValueError,
            r"`lower` and `upper` must not both be above 5 or both below -5\. Received: lower=-9, upper=-6",
        ),
    ],
    LSTMForgetBias: [
        ({"value": float("nan")}, ValueError, r"`value` must be a finite number\. Received: value=nan"),
        ({"units": 0}, ValueError, r"`units` must be a positive integer\. Received: units=0"),
    ],
    ChronoBias: [
        ({"max_steps": 2}, ValueError, r"`max_steps` must be from 3 to 4294967296\. Received: max_steps=2"),
        ({"max_steps": 2**32 + 1}, ValueError, r"`max_steps` must be from 3 to 4294967296\. Received: max_steps="),
        ({"max_steps": 0}, ValueError, r"`max_steps` must be a positive integer\. Received: max_steps=0"),
        ({"max_steps": 9.5}, TypeError, r"`max_steps` must be a positive integer\. Received: max_steps=9\.5"),
        ({"cell": "rnn"}, ValueError, r"`cell` must be one of \('lstm', 'gru'\)\. Received: cell='rnn'"),
    ],
}
CASES = [(cls, *row) for cls, rows in REFUSED.items() for row in rows]


@pytest.mark.parametrize(("cls", "arguments", "error", "message"), CASES, ids=str)
def test_refuses_bad_arguments(cls, arguments, error, message):
    with pytest.raises(error, match=message):
        cls(**arguments)
