"""The weights of a model with their roles, and what is known of the model."""

from dataclasses import dataclass, field

import keras

from keras_initx._typing import Shape
from keras_initx.structure._weights import ModelWeight

# All roles, each with what a weight of it is by its own name.
ROLES = {
    **dict.fromkeys(("kernel", "patches", "last", "shortcut", "logits", "frames"), "kernel"),
    **dict.fromkeys(("query", "unscaled query", "key", "value", "attended"), "kernel"),
    **dict.fromkeys(("inner", "gate", "up", "gate and up", "outer", "expert"), "kernel"),
    "modulation": "kernel",
    **dict.fromkeys(("embeddings", "tokens", "positions", "sines"), "embeddings"),
    **dict.fromkeys(("class", "relative positions"), "embeddings"),
    **dict.fromkeys(("bias", "inner bias", "patch bias", "modulation bias"), "bias"),
    "scale": "scale",
    # Only recipes of their own know these.
    **dict.fromkeys(("A_log", "dt_bias", "D"), "unknown"),
    **dict.fromkeys(("LoRA A", "LoRA B"), "other"),
}


@dataclass
class Part:
    """A weight and what it is for.

    Attributes:
        weight: The weight.
        role: What it is for, a key of the tables of recipes.
        by_name: What it is by its own name alone: a kernel, a bias, embeddings, a scale, what only
            its layer initializes ("other"), or unknown.
        kernel: The kernel of its layer, of a bias.
        in_branch: Whether it is in a branch, by the graph.
        block: The number of its block, from 1, if it is in one.
        stack: Which stack of blocks it is in, 1 in a decoder beside an encoder and otherwise 0.
        depth: The number of kernels of its branch, one after another.
        closes: Whether its branch starts at 0 if it does.
    """

    weight: ModelWeight
    role: str
    by_name: str
    kernel: ModelWeight | None = None
    in_branch: bool = False
    block: int = 0
    stack: int = 0
    depth: int = 0
    closes: bool = False

    @property
    def is_unknown(self) -> bool:
        """Whether it is not known what it is for, but perhaps by a recipe of its own."""
        return self.by_name == "unknown" and ROLES.get(self.role, "unknown") == "unknown"


@dataclass
class Roles:
    """The weights of a model, each with what it is for.

    Attributes:
        model: The model.
        parts: All weights.
        has: What the model has, with the paths of examples: roles, and kinds of layers.
        branches: The number of residual branches.
        blocks: The number of blocks of the only stack, or of an encoder and of its decoder.
        notes: What was found in the graph, as lines of text, if roles in branches are by it.
        unknown: Why it is not known how branches end, or an empty text.
        parallel: Which branch has no depth, or less than 2.
        uneven: Why it is not known what a block is.
        closed: Which branch cannot start at 0.
        unnumbered: Why it is not known which block a branch is in.
        given: What the user says, as lines of text.
    """

    model: keras.Model
    parts: list[Part]
    has: dict[str, list[str]]
    branches: int = 0
    blocks: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)
    unknown: str = ""
    parallel: str = ""
    uneven: str = ""
    closed: str = ""
    unnumbered: str = "a graph that cannot be followed"
    given: list[str] = field(default_factory=list)

    def shape_of(self, role: str) -> Shape:
        """Return the shape of the first weight of a role."""
        return next(part.weight.shape for part in self.parts if part.role == role)
