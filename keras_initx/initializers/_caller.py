"""Find out who asks for weights, and what for.

Keras hands an initializer a shape and nothing else. That is not enough for the bias of an LSTM:
with `unit_forget_bias=True` Keras asks for `(u,)` and `(2u,)`, with `False` for `(4u,)`, and 8 may
be any of these. Remembering earlier calls would make one initializer's values depend on the
others', so we look who is asking instead: the layer is a few frames up the stack. So is
`load_model`, when the weights are there only to be overwritten by those of the saved model.
"""

import inspect

import keras


def asking_layers():
    """Yield the layers on the call stack, the innermost first, each once."""
    seen: list[keras.Layer] = []
    for frame in _callers():
        owner = frame.f_locals.get("self")
        if isinstance(owner, keras.Layer) and all(owner is not layer for layer in seen):
            seen.append(owner)
            yield owner


def layer_using(initializer):
    """Return the layer on the call stack that holds `initializer`, or `None` if called by hand."""
    for layer in asking_layers():
        if any(value is initializer for value in vars(layer).values()):
            return layer
    return None


def loads_a_model():
    """Tell whether values are asked for by a variable of a model that `load_model` is about to fill."""
    loader = inspect.unwrap(keras.saving.load_model).__code__
    for_variable = False
    for frame in _callers():
        for_variable |= isinstance(frame.f_locals.get("self"), keras.Variable)
        if frame.f_code is loader:
            return for_variable
    return False


def _callers():
    """Yield the frames of the call stack, the innermost first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
