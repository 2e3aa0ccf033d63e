"""The weights of a model with their roles, and what is known of the model."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from keras_initx._typing import Shape
from keras_initx.inspection._weights import ModelWeight

# All roles, each with what a weight of it is by its own name.
ROLES = {
    **dict.fromkeys(("kernel", "patches", "last", "shortcut", "logits", "frames"), "kernel"),
    **dict.fromkeys(("pre-logits", "dt kernel"), "kernel"),
    **dict.fromkeys(("query", "unscaled query", "key", "value", "attended"), "kernel"),
    **dict.fromkeys(("inner", "gate", "up", "gate and up", "outer", "modulation"), "kernel"),
    # Of a mixture of experts: what weighs them, their kernels, and those that end its branch.
    **dict.fromkeys(("router", "expert", "outer expert"), "kernel"),
    **dict.fromkeys(("embeddings", "tokens", "positions", "sines"), "embeddings"),
    # Latents are learned queries and the like, which stand in place of a tensor.
    **dict.fromkeys(("class", "latents", "relative positions"), "embeddings"),
    **dict.fromkeys(("bias", "inner bias", "patch bias", "modulation bias"), "bias"),
    # Of normalizations; the last two say where these stand: before branches or after sums.
    **dict.fromkeys(("scale", "scale before", "scale after"), "scale"),
    # Only recipes of their own know these.
    **dict.fromkeys(("A_log", "dt_bias", "D"), "unknown"),
    **dict.fromkeys(("LoRA A", "LoRA B"), "unknown"),
    **dict.fromkeys(("LoRA A of a table", "LoRA B of a table"), "unknown"),
}


# Those that end branches. The experts of a block end one together.
ENDS = ("attended", "outer", "outer expert")


class Doubt(enum.Enum):
    """What may not be known of a model, and a recipe may have to know."""

    ENDS = "which kernels end branches"
    LENGTHS = "how many branches are on the way of a weight"
    DEPTH = "how many kernels a branch has, one after another"
    BLOCKS = "how many blocks are on the way of a weight"
    NUMBERS = "in which block a branch is"
    CLOSING = "whether a branch can start at 0"
    END_AT_ZERO = "whether the last kernel of a branch can start at 0"
    PLACEMENT = "where a block normalizes"
    ACTIVATIONS = "which activations there are"
    TIME_STEP = "which weight is the time step of a state space"


@dataclass(frozen=True)
class Role:
    """What a weight is for.

    Attributes:
        name: A key of the tables of recipes.
        stack: Which stack of blocks it is in, 1 in a decoder beside an encoder and otherwise 0.
        block: The number of its block, from 1, if it is in one.
        depth: The number of kernels of its branch, one after another.
        closes: Whether its branch starts at 0 if it does.
        in_branch: Whether it is in a branch, by the graph.
        branches: The number of residual branches on its way through the model, 0 if it is not known
            or has none. One that is applied several times counts as often.
        blocks: The number of blocks on that way; of a decoder beside an encoder, and of that, those
            of the encoder and of the decoder.
    """

    name: str
    stack: int = 0
    block: int = 0
    depth: int = 0
    closes: bool = False
    in_branch: bool = False
    branches: int = 0
    blocks: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Part:
    """A weight and what it is for.

    Attributes:
        weight: The weight.
        role: What it is for.
        by_name: What it is by its own name alone: a kernel, a bias, embeddings, a scale, what only
            its layer initializes ("other"), or unknown.
        kernel: The kernel of its layer, of a bias.
        kernels: How many kernels of one size it holds side by side, 0 if their sizes are not known.
    """

    weight: ModelWeight
    role: Role
    by_name: str
    kernel: ModelWeight | None = None
    kernels: int = 1

    @property
    def is_unknown(self) -> bool:
        """Whether it is not known what it is for, but perhaps by a recipe of its own."""
        return self.by_name == "unknown" and ROLES.get(self.role.name, "unknown") == "unknown"


@dataclass(frozen=True)
class Reading:
    """What was read of the branches of a model, by names or by its graph.

    Attributes:
        roles: The role of each weight, by path.
        doubts: What is not known, each with the reason.
        notes: What was found, as lines of text.
        is_by_graph: Whether roles in branches are by the graph.
    """

    roles: Mapping[str, Role]
    doubts: Mapping[Doubt, str]
    notes: tuple[str, ...] = ()
    is_by_graph: bool = False


@dataclass(frozen=True)
class Roles:
    """The weights of a model, each with what it is for.

    Attributes:
        model: The model.
        parts: All weights.
        has: What the model has, roles and features, with the paths of examples.
        doubts: What is not known, each with the reason.
        notes: What was found, as lines of text.
        is_by_graph: Whether roles in branches are by the graph.
        given: What the user says, as lines of text.
        unseen: What cannot be followed in the graph, with the reason, or an empty text.
    """

    model: keras.Model
    parts: Sequence[Part]
    has: Mapping[object, Sequence[str]]
    doubts: Mapping[Doubt, str]
    notes: tuple[str, ...] = ()
    is_by_graph: bool = False
    given: tuple[str, ...] = ()
    unseen: str = ""

    def shape_of(self, role: str) -> Shape:
        """Return the shape of the first weight of a role."""
        return next(part.weight.shape for part in self.parts if part.role.name == role)
