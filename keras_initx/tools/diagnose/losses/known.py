"""Recognize a loss of Keras, and how it reads outputs.

A loss has the forms of `compile`: "mse", keras.losses.MeanSquaredError(), keras.losses.mse, or a
user's function. All of these except the function become `Loss("distance", "mean_squared_error")`.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras

from keras_initx._typing import Tensor

# A name, a loss of Keras, a function of targets and outputs, or a list or dict of them.
LossLike: TypeAlias = Any
LossKind: TypeAlias = Literal["binary", "categorical", "sparse", "distance", "other"]

# The losses of Keras by kind, as classes and as functions, which `compile` takes too.
_KINDS: dict[LossKind, tuple[tuple[Any, Any], ...]] = {
    "binary": (
        (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy),
        (keras.losses.BinaryFocalCrossentropy, keras.losses.binary_focal_crossentropy),
    ),
    "categorical": (
        (keras.losses.CategoricalCrossentropy, keras.losses.categorical_crossentropy),
        (keras.losses.CategoricalFocalCrossentropy, keras.losses.categorical_focal_crossentropy),
    ),
    "sparse": (
        (keras.losses.SparseCategoricalCrossentropy, keras.losses.sparse_categorical_crossentropy),
    ),
    "distance": (
        (keras.losses.MeanSquaredError, keras.losses.mean_squared_error),
        (keras.losses.MeanAbsoluteError, keras.losses.mean_absolute_error),
        (keras.losses.Huber, keras.losses.huber),
    ),
    "other": (
        (keras.losses.CosineSimilarity, keras.losses.cosine_similarity),
        (keras.losses.CTC, keras.losses.ctc),
        (keras.losses.KLDivergence, keras.losses.kl_divergence),
        (keras.losses.LogCosh, keras.losses.log_cosh),
        (keras.losses.MeanAbsolutePercentageError, keras.losses.mean_absolute_percentage_error),
        (keras.losses.MeanSquaredLogarithmicError, keras.losses.mean_squared_logarithmic_error),
        (keras.losses.Poisson, keras.losses.poisson),
    ),
}
# These weigh examples, so that their value is no measure of a guess.
_FOCAL = ("binary_focal_crossentropy", "categorical_focal_crossentropy")


@dataclass(frozen=True)
class Loss:
    """A loss of Keras, or a user's loss that gives a multiple of it.

    Attributes:
        kind: `"binary"`, `"categorical"` or `"sparse"` for a crossentropy, `"distance"`, or
            `"other"`.
        name: Name of its function.
        from_logits: Whether it applies a sigmoid or softmax to the outputs.
        axis: The axis of the classes.
        ignored: The class number that it ignores, or `None`.
        is_sum: Whether it is a sum over the examples.
        smoothing: How far it moves labels of 0 and 1 towards a half, twice.
        factor: The factor of a user's loss, such as 1/2 for half of the squared error.
        is_own: Whether it is a user's loss, with `factor` times the values of Keras' loss.
    """

    kind: LossKind
    name: str
    from_logits: bool = False
    axis: int = -1
    ignored: int | None = None
    is_sum: bool = False
    smoothing: float = 0.0
    factor: float = 1.0
    is_own: bool = False

    @property
    def is_crossentropy(self) -> bool:
        """Whether it takes outputs for probabilities, or logits, of classes."""
        return self.kind in ("binary", "categorical", "sparse")

    @property
    def is_focal(self) -> bool:
        """Whether it weighs examples by how wrong they are."""
        return self.name in _FOCAL

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return f"the loss (like {self.name})" if self.is_own else self.name

    @property
    def class_name(self) -> str:
        """Name of its class."""
        return self.name.title().replace("_", "")


def follows_from_shapes(loss: LossLike) -> bool:
    """Return whether `loss` is a name that lets `compile` choose a crossentropy by the shapes."""
    return str(loss).lower() in ("crossentropy", "ce")


def find_keras_loss(loss: LossLike, targets: Tensor, outputs: Tensor) -> Loss | None:
    """Find the loss of Keras that an argument of `compile` means, `None` for others."""
    if follows_from_shapes(loss):
        kind: LossKind = "categorical"
        if outputs.shape[-1] == 1:
            kind = "binary"
        elif len(targets.shape) < len(outputs.shape) or targets.shape[-1] == 1:
            kind = "sparse"
        _, function = _KINDS[kind][0]
        return Loss(kind, function.__name__)
    loss = keras.losses.get(loss)
    is_object = isinstance(loss, keras.losses.Loss)
    class_or_function = type(loss) if is_object else loss
    for kind, losses in _KINDS.items():
        for cls, function in losses:
            if class_or_function not in (cls, function):
                continue
            config = loss.get_config() if is_object else {}
            axis = -1
            # The config of `SparseCategoricalCrossentropy` lacks its axis.
            if kind == "sparse":
                axis = _find_class_axis(loss, targets, outputs)
            return Loss(
                kind,
                function.__name__,
                from_logits=config.get("from_logits", False),
                axis=config.get("axis", axis),
                ignored=config.get("ignore_class"),
                is_sum=config.get("reduction") == "sum",
                smoothing=config.get("label_smoothing", 0.0),
            )
    return None


def _find_class_axis(loss: LossLike, targets: Tensor, outputs: Tensor) -> int:
    """Find the axis of `outputs` that class numbers lack, the last axis if this is not clear."""
    shape = list(outputs.shape)
    if not shape:
        return -1
    fitting: list[int] = []
    for axis in (-1, *range(len(shape) - 1)):
        if _drop_axis(axis, shape) == list(targets.shape):
            fitting.append(axis)
    if len(fitting) < 2:
        return fitting[0] if fitting else -1
    # Several axes have one size. With sizes that all differ, the loss fails for the wrong axes.
    sizes = list(range(2, 2 + len(shape)))
    numbers = keras.ops.full(sizes, 0.5)
    for axis in fitting:
        with contextlib.suppress(Exception):  # each backend has its own
            loss(keras.ops.zeros(_drop_axis(axis, sizes), "int32"), numbers)
            return int(axis)
    return -1


def _drop_axis(axis: int, sizes: Sequence[int]) -> list[int]:
    others = list(sizes)
    del others[axis]
    return others
