"""Find torch's order of the rows and units of the weights before and after an image.

torch flattens channels first. So two things have another order in torch:

- the *rows* of a weight that reads a flattened image: `Conv2D -> Flatten -> Dense`,
- the *units* of a layer whose output becomes an image: `Dense -> Reshape -> Conv2D`.

`_layout_walk.py` follows the calls of a model. From it follow the orders of each weight here. If an
order is not known, it is `UNKNOWN`, and the user gets a note.
"""

from dataclasses import dataclass

import keras

from keras_initx._typing import Array
from keras_initx.inspection._kernels import ALL_CONVOLUTIONS, NORMALIZATIONS
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._axis_orders import UNKNOWN, simplify
from keras_initx.tools.load_pretrained._layout_walk import LayoutWalk, find_unit_axes


@dataclass(frozen=True, eq=False)
class MovedAxes:
    """Axes of a weight with another order in torch.

    Attributes:
        axes: The axes. Their values are reordered as one flattened axis.
        order: The index in torch of each value along them; a text if it is not known.
        what: `"rows"` or `"units"`.
    """

    axes: tuple[int, ...]
    order: Array | str
    what: str


class RowOrders:
    """The orders of rows and units of the weights of a model.

    Args:
        walk: The calls in the model.
        has_image: Whether there is an image in it.
    """

    def __init__(self, walk: LayoutWalk, *, has_image: bool) -> None:
        self._reads = walk.reads
        self._moved_units: dict[int, MovedAxes] = {}
        self._has_image = has_image
        for maker, order in walk.needs.items():
            order = simplify(order)
            if order is None or not isinstance(maker, keras.Layer):
                continue
            axes = find_unit_axes(maker)
            for weight in maker.weights:
                if weight.name in axes:
                    self._moved_units[id(weight)] = MovedAxes(axes[weight.name], order, "units")
                elif not axes:
                    self._moved_units[id(weight)] = MovedAxes((0,), UNKNOWN, "units")

    def find_moved_axes(self, weight: ModelWeight) -> list[MovedAxes]:
        """List the axes of a weight along which torch has another order, or an unknown one."""
        key = id(weight.variable)
        moved = []
        if key in self._reads:
            read = self._reads[key]
            order = simplify(read.order)
            if order is not None:
                moved.append(MovedAxes(read.axes, order, "rows"))
        elif self._has_image and _may_read_rows(weight):
            # It was never called.
            moved.append(MovedAxes((0,), UNKNOWN, "rows"))
        if key in self._moved_units:
            moved.append(self._moved_units[key])
        return moved


def find_row_orders(model: keras.Model) -> RowOrders:
    """Find the orders of the weights of a built model."""
    walk = LayoutWalk(model)
    walk.solve()
    convolves = any(isinstance(layer, ALL_CONVOLUTIONS) for layer in list_sublayers(model))
    return RowOrders(walk, has_image=convolves or walk.has_image)


def _may_read_rows(weight: ModelWeight) -> bool:
    """Return whether a weight that was never called may read a flattened image."""
    layer = weight.layer
    if isinstance(layer, NORMALIZATIONS):
        shape = layer.get_build_config() or {}
        return len(shape.get("input_shape") or ()) == 2
    kinds = (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.GRUCell,
        keras.layers.LSTMCell,
        keras.layers.SimpleRNNCell,
    )
    return isinstance(layer, kinds) and weight.name == "kernel"
