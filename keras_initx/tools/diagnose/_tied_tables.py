"""Tied embeddings: tables that also make the outputs of a model, as products with their rows."""

import keras

from keras_initx._typing import Tensor
from keras_initx.inspection._batch import list_tensors
from keras_initx.inspection._names import list_own_weights
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    measured_layers,
    measured_weights,
)
from keras_initx.tools.diagnose.losses.probes import OutputProbe


class TableProbe(Probe):
    """Finds the tables that make an output of the model, as products of a signal with each row.

    The values of such a table are read outside of the look-up, too: by another layer, in the `call`
    of a model, or by the same layer in another call.

    Attributes:
        tied: Dict from a layer that makes an output to the table.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.tied: dict[keras.Layer, keras.Variable] = {}
        self._outputs = diagnosis.probe(OutputProbe)
        # Reads of a weight in a call of the layer that holds it.
        self._own_reads: list[tuple[Call, keras.Variable]] = []
        # Tables by their ids.
        self._looked_up: dict[int, keras.Variable] = {}
        self._multiplied: dict[int, keras.Variable] = {}

    def read(self, variable: keras.Variable) -> None:
        calls = self.diagnosis.watch.calls
        if calls and len(variable.shape) == 2:
            if _is_own(calls[-1].operation, variable):
                self._own_reads.append((calls[-1], variable))
            else:
                self._multiplied[id(variable)] = variable

    def after(self, call: Call) -> None:
        own = [variable for reader, variable in self._own_reads if reader is call]
        self._own_reads = [read for read in self._own_reads if read[0] is not call]
        if own and call.inputs and call.output is not None:
            # A row for each index.
            is_look_up = len(call.output.shape) == len(call.inputs[0].shape) + 1
            tables = self._looked_up if is_look_up else self._multiplied
            tables.update((id(variable), variable) for variable in own)

    def finish(self, outputs: Tensor) -> None:
        for tensor in list_tensors(outputs):
            layer = self._outputs.find_maker(tensor)
            for key in self._looked_up.keys() & self._multiplied.keys():
                table = self._looked_up[key]
                if layer is not None and tensor.shape and table.shape[0] == tensor.shape[-1]:
                    self.tied[layer] = table


def _is_own(operation: keras.Operation, variable: keras.Variable) -> bool:
    if not isinstance(operation, keras.Layer):
        return False
    return any(variable is weight for weight in list_own_weights(operation))


@fact
def tied_tables(diagnosis: Diagnosis) -> dict[MeasuredLayer, MeasuredWeight]:
    """Dict from a layer that makes an output to its table."""
    tables = {}
    for layer in measured_layers(diagnosis):
        variable = diagnosis.probe(TableProbe).tied.get(layer.layer)
        if variable is not None:
            tables[layer] = measured_weights(diagnosis)[id(variable)]
    return tables
