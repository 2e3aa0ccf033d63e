"""A call of a model with symbolic tensors, in which each layer and operation is followed.

No data is needed, nothing is computed, and the model stays as it is.
"""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from keras_initx._keras import followed_calls, is_of_keras
from keras_initx.backends._current import backend
from keras_initx.structure._hooks import HOOKS
from keras_initx.structure._kernels import normalizes

# Operations that return what they get, in another form.
_SAME = ("Cast", "ConvertToTensor")


@contextlib.contextmanager
def symbolic_calls(
    layers: Sequence[keras.Layer], follow: Callable[[keras.Operation, Any, Any], Any]
) -> Iterator[keras.StatelessScope]:
    """Have `follow` make the calls with symbolic tensors, and yield the scope of variables.

    Args:
        layers: A model and all layers in it.
        follow: See `followed_calls`.
    """
    attributes = [dict(vars(layer)) for layer in layers]
    with (
        warnings.catch_warnings(),
        HOOKS,
        backend.preserve_state(layers) as scope,
        followed_calls(follow),
    ):
        warnings.simplefilter("ignore")  # nobody has called the model
        try:
            yield scope
        finally:
            for layer, before in zip(layers, attributes, strict=True):
                _put_back(layer, before)


def symbolic_inputs(model: keras.Model, length: int | None) -> tuple[list[Any], dict[str, Any]]:
    """Return symbolic tensors of two examples, as the model takes them.

    Args:
        model: A built model.
        length: What to take for lengths that are not known.
    """

    def tensor(shape: Any, dtype: str = "float32") -> Any:
        lengths = [length if one is None else one for one in shape[1:]]
        return keras.KerasTensor((2, *lengths), dtype=dtype)

    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) == 1:
            return [tensor(inputs[0].shape, inputs[0].dtype)], {}
        as_taken = model.input
        return [keras.tree.map_structure(lambda one: tensor(one.shape, one.dtype), as_taken)], {}
    config: Any = model.get_build_config()
    if "input_shape" in config:
        return [keras.tree.map_shape_structure(tensor, config["input_shape"])], {}
    options = {}
    for name, shape in config["shapes_dict"].items():
        options[name.removesuffix("_shape")] = keras.tree.map_shape_structure(tensor, shape)
    return [], options


def returns_the_same(operation: keras.Operation) -> bool:
    """Return whether an operation returns what it gets, in another form."""
    return type(operation).__name__ in _SAME


def is_followed(layer: keras.Layer) -> bool:
    """Return whether a layer is a model, or one of a user that is no kind of a layer of Keras."""
    if isinstance(layer, keras.Model):
        return True
    own = [kind for kind in type(layer).__mro__ if kind not in keras.Layer.__mro__]
    return not any(map(is_of_keras, own)) and not normalizes(layer)


def taken_options(layer: keras.Layer, options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as Keras passes them: with `training` if it is taken."""
    parameters = inspect.signature(layer.call).parameters
    training = parameters.get("training")
    if training is None:
        return {name: value for name, value in options.items() if name != "training"}
    if training.default is training.empty:
        return {"training": False, **options}
    return options


def _put_back(layer: keras.Layer, attributes: dict[str, Any]) -> None:
    """Give a layer the attributes that it had, where its `call` has set one."""
    present = vars(layer)
    for name in list(present):
        if name not in attributes:
            del present[name]
        elif present[name] is not attributes[name]:
            present[name] = attributes[name]
