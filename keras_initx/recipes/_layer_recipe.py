"""Recipes by layers: each layer of Keras starts as the same layer of a framework.

The class of a layer and its weights decide. Names and the graph of the model do not, so these
recipes fit every model.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras

from keras_initx._checks import DTYPES
from keras_initx._typing import InitializerLike
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._recipe import Documentation, Recipe
from keras_initx.recipes._weight_rules import Left, WeightRules


class Place(NamedTuple):
    """A weight in the layer of a row.

    Attributes:
        weight: The weight.
        layer: The layer.
        beside: All weights of the layer, by their paths in it.
    """

    weight: ModelWeight
    layer: keras.Layer
    beside: Mapping[str, ModelWeight]


@dataclass(frozen=True)
class Start:
    """The initializer for a weight of a layer.

    Attributes:
        text: The initializer in words.
        of: Returns the initializer for a place, or `None` if the framework has no such layer.
    """

    text: str
    of: Callable[[Place], InitializerLike | None]


@dataclass(frozen=True)
class Row:
    """The initializers for the weights of some layers.

    Attributes:
        kinds: The classes of the layers.
        starts: The initializers by the paths of weights in the layer. Other weights keep their
            values.
        source: The file and the function of the framework that initialize so.
    """

    kinds: tuple[type[keras.Layer], ...]
    starts: Mapping[str, Start]
    source: str

    @property
    def layers(self) -> str:
        """The names of the classes."""
        return ", ".join(f"`{kind.__name__}`" for kind in self.kinds)

    def by_text(self) -> dict[str, list[str]]:
        """Group the paths of weights by their initializers in words."""
        paths: dict[str, list[str]] = {}
        for path, start in self.starts.items():
            paths.setdefault(start.text, []).append(path)
        return paths


def always(value: InitializerLike) -> Start:
    """Return a start that does not depend on the layer."""
    return Start(f"`{value}`" if isinstance(value, str) else repr(value), lambda place: value)


@dataclass(frozen=True, eq=False, repr=False)
class LayerRecipe(Recipe):
    """Returns the rules for a model: each layer starts as the same layer of a framework.

    If layers lie in each other, the outermost with a row counts. For example, a row for an
    attention layer also covers its dense layers. Layers that the framework does not have keep their
    values, and a note lists them.

    Attributes:
        table: Returns the rows. Its docstring is the text on the recipe.
        where: The module of the framework that has the layers, such as `torch.nn`.
    """

    __doc__ = Documentation(__doc__)

    table: Callable[..., Sequence[Row]]  # type: ignore[assignment]
    where: str = ""

    def _rules_for(self, inventory: Inventory, *, source: str | None = None) -> WeightRules:
        """Make the rules for a model, given its layers and weights.

        Raises:
            ValueError: If `source` is given.
        """
        self._table_of(source)
        read = self.reader()
        by_path: dict[str, InitializerLike | Left] = {}
        reasons: dict[str, str] = {}
        for weight in inventory.weights:
            # What is quantized or an integer stays as it is with every recipe.
            if weight.is_quantized or weight.dtype not in DTYPES:
                continue
            value = read(weight)
            if value is not None:
                by_path[weight.path] = value
                reasons[weight.path] = f"by its layer in {self.where}"
            elif self.is_left(weight):
                by_path[weight.path] = Left(f"{self.where} has no such layer", is_noted=True)
        return WeightRules(by_path, reasons=reasons)

    def is_left(self, weight: ModelWeight) -> bool:
        """Return whether a weight without an initializer keeps its values.

        A layer of Keras initializes its weights that are no parameters.
        """
        return weight.kind == "parameter" or not is_keras_class(type(weight.layer))

    def reader(self) -> Callable[[ModelWeight], InitializerLike | None]:
        """Make a function that returns the initializer of a weight, or `None` if it has none."""
        rows = self.table()
        beside: dict[keras.Layer, dict[str, ModelWeight]] = {}

        def read(weight: ModelWeight) -> InitializerLike | None:
            for layer, path in zip(weight.layers, weight.layer_paths, strict=True):
                row = next((row for row in rows if isinstance(layer, row.kinds)), None)
                if row is None:
                    continue
                if layer not in beside:
                    beside[layer] = {one.path: one for one in Inventory(layer).weights}
                start = row.starts.get(weight.path.removeprefix(f"{path}/"))
                return start.of(Place(weight, layer, beside[layer])) if start else None
            return None

        return read

    def documentation(self) -> str:
        """Write the text on the recipe, with its layers and arguments before its example."""
        text, _, example = (inspect.getdoc(self.table) or "").partition("\nExample:\n")
        lines = [text.rstrip(), ""]
        rows = self.table()
        if rows:
            lines += ["Layers:", ""]
        for row in rows:
            lines.append(f"- {row.layers}:{'' if row.starts else ' left'}")
            lines += [f"  {', '.join(paths)}: {text}" for text, paths in row.by_text().items()]
        return "\n".join(
            [*lines, "", "Args:", "    model: A built model.", "", "Example:", example]
        )


def is_keras_class(cls: type) -> bool:
    """Return whether Keras itself defines this class of layers."""
    return cls.__module__.partition(".")[0] == "keras"
