"""The table of cases: a new initializer is one more row, and inherits every test of the contract."""

import dataclasses
from typing import Any

import keras_initx


@dataclasses.dataclass(frozen=True)
class Case:
    """An initializer, shapes that it fills and shapes that it refuses.

    `exact` says whether its values are the same to the last bit wherever they are made; what is
    factorised or multiplied is the same to rounding.
    """

    cls: type
    kwargs: dict[str, Any]
    shapes: tuple
    bad_shapes: tuple = ()
    exact: bool = True

    def __str__(self):
        arguments = ",".join(f"{name}={value}" for name, value in self.kwargs.items() if name != "seed")
        return f"{self.cls.__name__}({arguments})"

    @property
    def random(self):
        return "seed" in self.kwargs

    def make(self, **changes):
        return self.cls(**{**self.kwargs, **changes})


MATRICES = ((70, 20), (5, 40), (3, 3, 16, 8), (2, 3, 4, 5, 6), (1, 1), (0, 4), (4, 0))
NOT_MATRICES = ((), (8,))

CASES = (
    Case(keras_initx.LSTMForgetBias, {}, ((16,), (4,), (0,)), ((), (6,), (4, 4))),
    Case(keras_initx.LSTMForgetBias, {"value": 2.0, "units": 3}, ((12,),), ((), (3,), (6,), (16,))),
    Case(keras_initx.Orthogonal, {"seed": 1}, MATRICES, NOT_MATRICES, exact=False),
    Case(
        keras_initx.Orthogonal, {"gain": "relu", "blocks": 4, "seed": 2}, ((20, 80), (50, 80)), ((8, 6),), exact=False
    ),
    Case(keras_initx.Orthogonal, {"method": "qr", "seed": 3}, MATRICES, NOT_MATRICES, exact=False),
    Case(keras_initx.Orthogonal, {"method": "svd", "seed": 4}, MATRICES, NOT_MATRICES, exact=False),
    Case(keras_initx.Orthogonal, {"gain": "tanh", "method": "gaussian", "seed": 5}, MATRICES, NOT_MATRICES),
    Case(keras_initx.ReLUBias, {}, ((7,), (), (2, 3), (0,))),
    Case(keras_initx.Sparse, {"seed": 0}, MATRICES, NOT_MATRICES),
    Case(keras_initx.Sparse, {"connections": 3, "stddev": 0.01, "seed": 4294967295}, MATRICES, NOT_MATRICES),
    Case(keras_initx.Sparse, {"connections": 40, "gain": "relu", "seed": 7}, MATRICES, NOT_MATRICES),
    Case(keras_initx.Sparse, {"sparsity": 0.5, "seed": 8}, (*MATRICES, (300, 30)), NOT_MATRICES),
)
RANDOM_CASES = tuple(case for case in CASES if case.random)
