"""Keep the former values of variables, to put them back after an error or at the end of a block."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend


class FormerValues:
    """The former values of variables.

    They take as much memory as the variables; on JAX, where arrays do not change, as much as the
    variables whose values were replaced.

    Args:
        variables: The first variables.
        lasting: See `add`.
    """

    def __init__(self, variables: Iterable[Any] = (), *, lasting: bool = False) -> None:
        self._values: dict[int, tuple[Any, Tensor]] = {}
        for variable in variables:
            self.add(variable, lasting=lasting)

    def add(self, variable: Any, value: Tensor | None = None, *, lasting: bool = False) -> None:
        """Keep the value of a variable, or of a buffer of torch; the first counts.

        Args:
            variable: The variable.
            value: Its value. Pass it in the call of a layer, because `variable.value` may be
                rounded there.
            lasting: Whether to copy the value on JAX too, because compiled programs of Keras may
                reuse the memory of variables that they change.
        """
        if id(variable) in self._values:
            return
        if value is None:
            value = variable.value
        former = backend.changed_in_parts(value, _copy) if lasting else backend.snapshot(value)
        self._values[id(variable)] = variable, former

    def value_of(self, variable: Any) -> Tensor:
        """Return the former value of a variable that was added."""
        return self._values[id(variable)][1]

    def __contains__(self, variable: Any) -> bool:
        return id(variable) in self._values

    def put_back(self) -> None:
        """Assign all values, the last first. An interruption (Ctrl-C) is raised at the end."""

        def assign() -> None:
            for variable, value in reversed(self._values.values()):
                variable.assign(value)

        run_uninterrupted(assign)


def _copy(region: Region | None, values: Array) -> Array:
    return np.array(values)


@contextlib.contextmanager
def preserve_variables(
    variables: Iterable[Any], *, lasting: bool = False
) -> Iterator[FormerValues]:
    """Put back the values of variables at the end of the block, see `FormerValues`."""
    former = FormerValues(variables, lasting=lasting)
    try:
        yield former
    finally:
        former.put_back()


def run_uninterrupted(function: Callable[[], None]) -> None:
    """Call a function again if Ctrl-C interrupts it, and raise the interruption at the end."""
    interruption = None
    while True:
        try:
            function()
            break
        except KeyboardInterrupt as error:
            interruption = error
    if interruption is not None:
        raise interruption
