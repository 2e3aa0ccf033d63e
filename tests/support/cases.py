"""The table of cases: a new initializer is one more row, and inherits every test of the contract."""

import dataclasses
import itertools
import pathlib
import re
from typing import Any

import pytest

import keras_initx

DATA = pathlib.Path(__file__).with_name("data")


@dataclasses.dataclass(frozen=True)
class Case:
    """An initializer, shapes that it fills and shapes that it refuses.

    `exact` says whether its values are the same to the last bit wherever they are made; what is
    factorized or multiplied is the same to rounding. `law` says whether it states its law.
    """

    cls: type
    kwargs: dict[str, Any]
    _: dataclasses.KW_ONLY
    shapes: tuple
    bad_shapes: tuple = ()
    exact: bool = True
    law: bool = True

    def __str__(self):
        arguments = ",".join(f"{name}={value}" for name, value in self.kwargs.items() if name != "seed")
        return f"{self.cls.__name__}({arguments})".replace(f"{DATA}/", "")

    @property
    def random(self):
        return "seed" in self.kwargs

    def make(self, **changes):
        return self.cls(**{**self.kwargs, **changes})


def label(value):
    """Return what a test is called after `value`: its text without an address, which each process has another of."""
    return re.sub(r" object at 0x[0-9a-f]+", "", str(value))


def config(name, **kwargs):
    """Return an initializer as another's argument, so written that labels stay what they are when it gets arguments."""
    return {"class_name": f"initx.{name}", "config": kwargs}


MATRICES = ((70, 20), (5, 40), (3, 3, 16, 8), (2, 3, 4, 5, 6), (1, 1), (0, 4), (4, 0))
NOT_MATRICES = ((), (8,))
ANY_SHAPES = (*MATRICES, *NOT_MATRICES)
NOT_KERNELS = (*NOT_MATRICES, (4, 4), (1, 1, 1, 1, 4, 4))

ARRAYS = str(DATA / "arrays.npz")
ARRAYS_SHA256 = "e7076d6c91b60bea4a2c478c0f3051cf7a13405f5bfc902eb6b5f7e664bec72d"

CASES = (
    Case(
        keras_initx.ChronoBias,
        {"max_steps": 100, "cell": "lstm", "seed": 27},
        shapes=((64,), (4,), (0,)),
        bad_shapes=((), (6,), (2, 4)),
    ),
    Case(
        keras_initx.ChronoBias,
        {"max_steps": 784, "cell": "gru", "seed": 28},
        shapes=((48,), (2, 48)),
        bad_shapes=((), (4,), (3, 6)),
    ),
    Case(
        keras_initx.ChronoBias,
        {"max_steps": 3, "seed": 29},
        shapes=((2, 48), (2, 0)),
        bad_shapes=((), (12,), (2, 4)),
    ),
    Case(
        keras_initx.Bilinear,
        {},
        shapes=((4, 4, 3, 3), (5, 2, 2), (2, 3, 4, 1, 1), (1, 0, 0), (0, 2, 2)),
        bad_shapes=NOT_KERNELS,
    ),
    # The first shape has no zeros.
    Case(
        keras_initx.DeltaOrthogonal,
        {"seed": 27},
        shapes=((1, 5, 9), (3, 3, 4, 8), (4, 2, 2, 2), (2, 3, 1, 4, 4), (3, 0, 4), (0, 2, 2)),
        bad_shapes=(*NOT_KERNELS, (3, 3, 8, 4)),
        exact=False,
    ),
    Case(
        keras_initx.DeltaOrthogonal,
        {"gain": "relu", "groups": 2, "seed": 28},
        shapes=((1, 4, 10), (3, 3, 4, 8)),
        bad_shapes=(*NOT_KERNELS, (3, 4, 9), (3, 8, 8)),
        exact=False,
    ),
    Case(
        keras_initx.Dirac,
        {},
        shapes=((3, 3, 4, 8), (4, 6, 4), (1, 2, 3, 4, 4), (3, 0, 4), (3, 4, 0), (0, 2, 2)),
        bad_shapes=NOT_KERNELS,
    ),
    Case(
        keras_initx.Dirac,
        {"gain": "relu", "groups": 3},
        shapes=((3, 3, 4, 12), (2, 2, 9)),
        bad_shapes=(*NOT_KERNELS, (3, 3, 4)),
    ),
    Case(
        keras_initx.Concatenated,
        {"initializers": [config("sparse", connections=2, seed=1), config("random_normal", seed=2)]},
        shapes=((70, 20), (3, 3, 16, 8), (1, 2), (0, 4), (4, 0)),
        bad_shapes=((), (8,), (4, 5)),
    ),
    Case(
        keras_initx.Concatenated,
        {
            "initializers": [config("relu_bias"), config("random_uniform", seed=3), config("relu_bias", value=0.5)],
            "sizes": [2, 0, 3],
            "axis": 1,
        },
        shapes=((2, 5), (4, 5, 2), (0, 5)),
        bad_shapes=((), (5,), (2, 6), (5, 2)),
    ),
    Case(keras_initx.FanInNormal, {"seed": 9}, shapes=ANY_SHAPES),
    Case(keras_initx.GlorotNormal, {"seed": 10}, shapes=ANY_SHAPES),
    Case(keras_initx.GlorotUniform, {"seed": 11}, shapes=ANY_SHAPES),
    Case(
        keras_initx.GRUUpdateBias,
        {},
        shapes=((12,), (2, 12), (0,), (2, 0)),
        bad_shapes=((), (4,), (3, 12), (2, 4), (2, 1, 3)),
    ),
    Case(
        keras_initx.GRUUpdateBias,
        {"value": 2.0, "units": 3},
        shapes=((2, 9), (9,)),
        bad_shapes=((), (3,), (12,), (2, 12)),
    ),
    Case(keras_initx.HeNormal, {"seed": 12}, shapes=ANY_SHAPES),
    Case(
        keras_initx.HeUniform,
        {"seed": 13, "input_axes": [0, 1], "output_axes": [0, 1, 3]},
        shapes=((3, 3, 16, 8),),
        bad_shapes=((8,),),
    ),
    Case(
        keras_initx.ICNR,
        {"initializer": config("he_normal", seed=29)},
        shapes=((3, 3, 4, 8), (3, 4, 6), (2, 2, 2, 3, 16), (3, 4, 0), (3, 0, 4)),
        bad_shapes=(*NOT_KERNELS, (3, 4, 5), (3, 3, 4, 6)),
    ),
    Case(
        keras_initx.ICNR,
        {"initializer": config("sparse", seed=30), "scale": 3},
        shapes=((3, 3, 4, 18),),
        bad_shapes=((9,), (3, 3, 4, 4)),
    ),
    Case(keras_initx.LecunNormal, {"seed": 14}, shapes=ANY_SHAPES),
    Case(keras_initx.LecunUniform, {"seed": 15}, shapes=ANY_SHAPES),
    Case(keras_initx.LSTMForgetBias, {}, shapes=((16,), (4,), (0,)), bad_shapes=((), (6,), (4, 4))),
    Case(keras_initx.LSTMForgetBias, {"value": 2.0, "units": 3}, shapes=((12,),), bad_shapes=((), (3,), (6,), (16,))),
    Case(keras_initx.Orthogonal, {"seed": 1}, shapes=MATRICES, bad_shapes=NOT_MATRICES, exact=False),
    Case(
        keras_initx.Orthogonal,
        {"gain": "relu", "blocks": 4, "seed": 2},
        shapes=((20, 80), (50, 80)),
        bad_shapes=((8, 6),),
        exact=False,
    ),
    Case(keras_initx.Orthogonal, {"method": "qr", "seed": 3}, shapes=MATRICES, bad_shapes=NOT_MATRICES, exact=False),
    Case(keras_initx.Orthogonal, {"method": "svd", "seed": 4}, shapes=MATRICES, bad_shapes=NOT_MATRICES, exact=False),
    Case(
        keras_initx.Orthogonal,
        {"gain": "tanh", "method": "gaussian", "seed": 5},
        shapes=MATRICES,
        bad_shapes=NOT_MATRICES,
    ),
    Case(keras_initx.OrthogonalQR, {"seed": 3}, shapes=MATRICES, bad_shapes=NOT_MATRICES, exact=False),
    Case(keras_initx.PriorBias, {}, shapes=((7,), (), (2, 3), (0,))),
    Case(keras_initx.PriorBias, {"frequencies": [900, 90, 10]}, shapes=((3,),), bad_shapes=((), (1,), (4,), (3, 1))),
    Case(keras_initx.PriorBias, {"frequencies": [0.98, 0.02]}, shapes=((1,), (2,)), bad_shapes=((), (3,), (2, 1))),
    Case(
        keras_initx.PriorBias,
        {"frequencies": [0.5, 0.01], "multi_label": True},
        shapes=((2,),),
        bad_shapes=((), (1,), (3,)),
    ),
    Case(
        keras_initx.Pretrained,
        {"path": ARRAYS, "key": "kernel"},
        shapes=((6, 4),),
        bad_shapes=((), (6,), (4, 6), (5, 4), (7, 4)),
        law=False,
    ),
    Case(
        keras_initx.Pretrained,
        {"path": ARRAYS, "key": "bias", "sha256": ARRAYS_SHA256},
        shapes=((4,),),
        bad_shapes=((), (3,), (6,), (4, 1)),
        law=False,
    ),
    Case(
        keras_initx.Orthogonal,
        {"seed": 27, "input_axes": [0, 1]},
        shapes=((3, 3, 4, 2), (2, 3, 4, 5, 6), (5, 4)),
        bad_shapes=((), (8,)),
        exact=False,
    ),
    Case(
        keras_initx.Orthogonal,
        {"blocks": 2, "seed": 28, "input_axes": [0], "output_axes": [-1, 1]},
        shapes=((20, 3, 4), (5, 8, 6)),
        bad_shapes=((), (8,), (8, 6), (8, 3, 3), (8, 2, 2, 2)),
        exact=False,
    ),
    Case(
        keras_initx.Orthogonal,
        {"seed": 29, "singular_values": 100.0},
        shapes=MATRICES,
        bad_shapes=NOT_MATRICES,
        exact=False,
    ),
    Case(
        keras_initx.Orthogonal,
        {"method": "svd", "blocks": 2, "seed": 30, "singular_values": [2.0, 0.5, 0.0]},
        shapes=((7, 6), (3, 20)),
        bad_shapes=((), (8,), (8, 5), (8, 8)),
        exact=False,
    ),
    Case(keras_initx.RandomNormal, {"seed": 16}, shapes=ANY_SHAPES),
    Case(keras_initx.RandomNormal, {"mean": 1.5, "stddev": 0.3, "seed": 17}, shapes=ANY_SHAPES),
    Case(keras_initx.RandomUniform, {"seed": 18}, shapes=ANY_SHAPES),
    Case(keras_initx.RandomUniform, {"minval": 0.1, "maxval": 1.7, "seed": 19}, shapes=ANY_SHAPES),
    Case(keras_initx.ReLUBias, {}, shapes=((7,), (), (2, 3), (0,))),
    Case(
        keras_initx.Scaled,
        {"initializer": config("random_normal", stddev=0.3, seed=5), "factor": 24**-0.5},
        shapes=(*ANY_SHAPES, (300, 300)),
    ),
    Case(
        keras_initx.Scaled,
        {"initializer": config("pretrained", path=ARRAYS, key="kernel"), "factor": -0.7},
        shapes=((6, 4),),
        bad_shapes=((), (5, 4), (8, 9)),
        law=False,
    ),
    Case(
        keras_initx.Scaled,
        {"initializer": config("orthogonal", seed=6), "factor": 3},
        shapes=MATRICES,
        bad_shapes=NOT_MATRICES,
        exact=False,
    ),
    Case(keras_initx.SmallNormal, {"seed": 20}, shapes=ANY_SHAPES),
    Case(keras_initx.Sparse, {"seed": 0}, shapes=MATRICES, bad_shapes=NOT_MATRICES),
    Case(
        keras_initx.Sparse,
        {"connections": 3, "stddev": 0.01, "seed": 4294967295},
        shapes=MATRICES,
        bad_shapes=NOT_MATRICES,
    ),
    Case(keras_initx.Sparse, {"connections": 40, "gain": "relu", "seed": 7}, shapes=MATRICES, bad_shapes=NOT_MATRICES),
    Case(keras_initx.Sparse, {"sparsity": 0.5, "seed": 8}, shapes=(*MATRICES, (300, 30)), bad_shapes=NOT_MATRICES),
    Case(
        keras_initx.Sparse,
        {"connections": 4, "seed": 31, "input_axes": [0, 1]},
        shapes=((3, 3, 16, 8), (2, 3, 4, 5, 6), (5, 4)),
        bad_shapes=((), (8,)),
    ),
    Case(
        keras_initx.Sparse,
        {"sparsity": 0.5, "seed": 32, "output_axes": [-3, 2]},
        shapes=((3, 30, 4, 5), (0, 3, 2)),
        bad_shapes=((), (8,), (8, 6), (8, 6, 3, 2, 2)),
    ),
    Case(keras_initx.Spectral, {"seed": 41}, shapes=ANY_SHAPES),
    Case(
        keras_initx.Spectral,
        {"scale": 2.0, "seed": 42, "input_axes": [0, 1], "output_axes": [2, 3]},
        shapes=((4, 8, 3, 5), (2, 3, 4, 5)),
        bad_shapes=((), (8,)),
    ),
    Case(keras_initx.TimeStepBias, {"seed": 43}, shapes=ANY_SHAPES),
    Case(keras_initx.DecayRate, {"seed": 45}, shapes=ANY_SHAPES),
    Case(keras_initx.DecayRate, {"min_rate": 0, "max_rate": 16.1, "seed": 46}, shapes=ANY_SHAPES),
    Case(keras_initx.TimeStepBias, {"min_step": 1e-5, "max_step": 2.0, "floor": 1e-3, "seed": 44}, shapes=ANY_SHAPES),
    Case(keras_initx.Triangular, {"seed": 47}, shapes=ANY_SHAPES),
    Case(keras_initx.Triangular, {"limit": 1.7, "seed": 48}, shapes=(*ANY_SHAPES, (300, 300))),
    Case(keras_initx.TruncatedNormal, {"seed": 21}, shapes=ANY_SHAPES),
    Case(
        keras_initx.TruncatedNormal,
        {"mean": -0.7, "stddev": 0.3, "seed": 22, "lower": -0.5, "upper": 3.0},
        shapes=(*ANY_SHAPES, (300, 300)),
    ),
    Case(keras_initx.VarianceScaling, {"seed": 23}, shapes=ANY_SHAPES),
    Case(
        keras_initx.VarianceScaling,
        {
            "scale": 3.0,
            "mode": "fan_out",
            "distribution": "untruncated_normal",
            "seed": 24,
            "output_axes": [1, -2],
        },
        shapes=((3, 3, 16, 8), (0, 4)),
        bad_shapes=((), (8,)),
    ),
    Case(keras_initx.VarianceScaling, {"mode": "fan_avg", "distribution": "uniform", "seed": 25}, shapes=ANY_SHAPES),
    Case(keras_initx.VarianceScaling, {"mode": "fan_geo_avg", "distribution": "normal", "seed": 26}, shapes=ANY_SHAPES),
)

# Values that a change could leave alone in all cases: the two sides of a switch, and what happens once in many draws.
# They have golden values, and run no other test of the contract.
RARE_CASES = (
    # The last count for Floyd's algorithm and the first for keys. One of the draws is zero. Then each input is chosen.
    Case(keras_initx.Sparse, {"connections": 32, "seed": 142}, shapes=((40, 6),)),
    Case(keras_initx.Sparse, {"connections": 33, "seed": 142}, shapes=((40, 6), (33, 2))),
    # In the first column the 33rd and the 34th key are equal, and the first of the two inputs has the larger word.
    Case(keras_initx.Sparse, {"connections": 33, "seed": 670972}, shapes=((100, 4),)),
    # In the first column the 69th and the 70th key differ in their last bit only.
    Case(keras_initx.Sparse, {"connections": 69, "seed": 110422}, shapes=((100, 4),)),
    # Both bounds are numbers of every dtype, and drawn.
    Case(keras_initx.RandomUniform, {"minval": 0.25, "maxval": 0.5, "seed": 1764}, shapes=((300, 300),)),
    # Where float32 is coarse, rounding would lead over the upper bound. The lower one is beyond all draws.
    Case(
        keras_initx.TruncatedNormal,
        {"mean": 1000.0, "stddev": 0.001, "seed": 1, "lower": -9.0, "upper": 1.0},
        shapes=((70, 20),),
    ),
    Case(keras_initx.TruncatedNormal, {"stddev": 0.3, "seed": 2, "lower": 5.0, "upper": 90.0}, shapes=((70, 20),)),
    # The one draw of the second reflection is zero. Then more columns than one panel of reflections has.
    Case(keras_initx.Orthogonal, {"seed": 21453}, shapes=((2, 2), (65, 65)), exact=False),
    # The first draw of the first reflection is zero, and has a sign.
    Case(keras_initx.Orthogonal, {"seed": 13896}, shapes=((3, 2),), exact=False),
)
FIRST_CASES = {case.cls: case for case in reversed(CASES)}
# Without the classes that only fix arguments of another one.
DISTINCT_CASES = [case for cls, case in FIRST_CASES.items() if FIRST_CASES.keys().isdisjoint(cls.__mro__[1:])]


def for_each(cases):
    """Return a decorator that makes one test out of a check, which is made of each case; an error names its case."""
    cases = list(cases)

    def decorate(check):
        def test():
            for case in cases:
                try:
                    check(case)
                except BaseException as error:
                    error.add_note(f"Case: {case}")
                    raise

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


def with_cases(weights):
    """Return a row for a test of each of `weights`, a layer and an argument, with four classes, which take turns."""
    turns = itertools.cycle(FIRST_CASES.values())
    return [
        pytest.param(name, argument, case, id=f"{name}.{argument}-{case.cls.__name__}")
        for name, argument in weights
        for case in itertools.islice(turns, 4)
    ]
