"""Change the values of variables: distributed over devices as before, and all or none.

A `Normalization` keeps tensors that it has computed from its weights. These are changed too.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import keras

from keras_initx._typing import Tensor
from keras_initx.backends._backend import Computation
from keras_initx.backends._current import backend
from keras_initx.inspection._former_values import FormerValues


def compute_like(variable: keras.Variable, computation: Computation) -> Tensor:
    """Compute values, distributed over devices like the value of `variable`."""
    layout = backend.layout_of(variable.value)
    if layout is None:
        return computation.function()
    return backend.distributed(computation, tuple(variable.shape), layout)


def refresh_normalizations(layers: Iterable[keras.Layer]) -> None:
    """Let each `Normalization` of `layers` compute its tensors from its weights again."""
    for layer in dict.fromkeys(layers):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def assign_all(values: Iterable[tuple[keras.Variable, Tensor]]) -> None:
    for variable, value in values:
        variable.assign(value)


@contextlib.contextmanager
def undo_after_error(atomic: bool = True) -> Iterator[Callable[[keras.Variable, Tensor], None]]:
    """Yield a function that assigns a value to a variable, and undo its work after an exception.

    An interruption (Ctrl-C) is such an exception. A second one does not end the undoing. Former
    values are kept until the end of the context, next to the new ones. If other processes hold
    parts of a variable, each process undoes its own part.

    Args:
        atomic: If false, nothing is kept or undone. A note of the exception then lists the assigned
            variables.
    """
    former = FormerValues()
    assigned: list[str] = []

    def assign(variable: keras.Variable, value: Tensor) -> None:
        if atomic:
            former.add(variable)
        variable.assign(value)
        if not atomic:
            backend.wait(variable.value)
        assigned.append(variable.path)

    try:
        yield assign
    except BaseException as error:
        if assigned and not atomic:
            error.add_note(
                f"{len(assigned)} variables have new values, the last of them {assigned[-1]!r}"
            )
        former.put_back()
        raise
