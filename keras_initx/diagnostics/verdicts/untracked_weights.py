"""Kernels that a model uses but does not have: they are neither trained nor saved."""

import contextlib
from collections.abc import Iterator

import keras

from keras_initx.diagnostics._diagnosis import Diagnosis, Probe
from keras_initx.diagnostics._layers import LayerReport
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, first_of, rule
from keras_initx.structure._hooks import replaced
from keras_initx.structure._kernels import is_kernel


class UntrackedProbe(Probe):
    """Finds trainable kernels that are read but not of the model.

    Attributes:
        paths: Their paths, as Keras has them.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.paths: list[str] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the scope of the pass, which is asked for the value of each variable."""
        scope = self.of.scope
        if scope is None:
            raise RuntimeError("there is no pass")
        known = {id(variable) for variable in self.of.model.variables}
        original = scope.get_current_value

        def get_current_value(variable: keras.Variable) -> object:
            if id(variable) not in known and variable.trainable and is_kernel(variable):
                self.paths.append(variable.path)
            known.add(id(variable))
            return original(variable)

        with replaced(scope, "get_current_value", get_current_value):
            yield


@rule(
    "untracked weights",
    probes=[UntrackedProbe],
    levels={"error": ""},
    finds="trainable kernels that the model uses but does not have, such as those of layers that "
    "are made in `call`, are in containers that Keras does not search, or in a function",
    reason="they are neither trained nor saved, and those of layers made in `call` are drawn anew "
    "in each step",
    remedy="layers made in `__init__` and kept as attributes, in lists or dicts",
)
def untracked_weights(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    paths = of.probe(UntrackedProbe).paths
    if not paths:
        return
    evidence = f"the model uses kernels that it does not have: {first_of(paths)}"
    remedy = Remedy(
        "make each layer once, in `__init__`, and keep it as an attribute of the layer or model "
        "that calls it, or in a list or dict that is one; trainable=False for layers that are not "
        "to be trained"
    )
    yield Finding([], evidence, remedy, "error")
