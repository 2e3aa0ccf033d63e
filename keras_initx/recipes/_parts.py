"""The weights of a model with their roles, and the known facts about the model."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras

from keras_initx._typing import Shape
from keras_initx.inspection._weights import ModelWeight

# The roles of weights that only recipes of their own know. All others leave these weights.
UNKNOWN = ("unknown", "A_log", "dt_bias", "D")
# The roles that end branches. The experts of a block end one together.
ENDS = ("attended", "outer", "outer expert")


class Doubt(enum.Enum):
    """A fact about a model that may be unknown and that a recipe may need."""

    ENDS = "which kernels end branches"
    LENGTHS = "how many branches are on the way of a weight"
    DEPTH = "how many kernels a branch has, one after another"
    NUMBERS = "in which block a branch is"
    CLOSING = "whether a branch can start at 0"
    END_AT_ZERO = "whether the last kernel of a branch can start at 0"
    PLACEMENT = "where a block normalizes"
    ACTIVATIONS = "which activations there are"
    TIME_STEP = "which weight is the time step of a state space"


@dataclass(frozen=True)
class Role:
    """The role of a weight.

    Attributes:
        name: A key of the tables of recipes. What the weight is by its own name, or one of these:

            - a kernel at an end of the model: "patches" or "frames" (first), "last", "logits",
              "pre-logits";
            - a kernel of attention: "projection" (it makes queries, keys or values), "unscaled
              query", "attended" (the last one);
            - a kernel of another branch: "inner", "outer" (the last one), "gate", "up", "gate and
              up";
            - of a mixture of experts: "router", "expert", "outer expert";
            - a kernel beside a branch: "shortcut", "modulation";
            - a bias: "inner bias", "patch bias", "modulation bias";
            - a table: "tokens", "positions", "sines", "class", "relative positions", or "latents"
              (learned queries and the like, which stand in place of a tensor);
            - of a state space: "A_log", "dt_bias", "dt kernel", "D".
        block: The number of its block, from 1. It is 0 if the weight is in no block.
        depth: The number of kernels of its branch, one after another.
        closes: Whether this weight is 0 if its branch starts at 0.
        in_branch: Whether the graph shows that the weight is in a branch.
        branches: The number of residual branches on its path through the model. A branch that is
            applied several times counts each time. It is 0 if it is not known or there is none.
        source: What shows the name of the role, in words. The sources are in `_roles.py`.
    """

    name: str
    block: int = 0
    depth: int = 0
    closes: bool = False
    in_branch: bool = False
    branches: int = 0
    source: str = ""


@dataclass(frozen=True)
class Part:
    """A weight and its role.

    Attributes:
        weight: The weight.
        role: Its role.
        by_name: Its kind by its own name alone: a kernel, a bias, embeddings, a scale, a weight
            that only its layer initializes ("other"), or unknown.
        kernel: If the weight is a bias, the kernel of its layer.
        kernels: The number of kernels of one size that it holds, 0 if their sizes are not known.
    """

    weight: ModelWeight
    role: Role
    by_name: str
    kernel: ModelWeight | None = None
    kernels: int = 1

    @property
    def is_unknown(self) -> bool:
        """Whether the role is unknown, although a recipe of its own may know it."""
        return self.by_name == "unknown" and self.role.name in UNKNOWN


@dataclass(frozen=True)
class Reading:
    """The roles in the branches of a model, as names or its graph show them.

    Attributes:
        roles: The role of each weight, by path.
        doubts: The facts that are not known, each with the reason.
        notes: The findings, as lines of text.
        is_by_graph: Whether the graph gave the roles in branches.
    """

    roles: Mapping[str, Role]
    doubts: Mapping[Doubt, str]
    notes: tuple[str, ...] = ()
    is_by_graph: bool = False


@dataclass(frozen=True)
class Roles:
    """The weights of a model, each with its role.

    Attributes:
        model: The model.
        parts: All weights.
        has: The roles and features of the model, with the paths of examples.
        doubts: The facts that are not known, each with the reason.
        notes: The findings, as lines of text.
        is_by_graph: Whether the graph gave the roles in branches.
        unseen: The part of the graph that cannot be followed, with the reason, or an empty text.
    """

    model: keras.Model
    parts: Sequence[Part]
    has: Mapping[object, Sequence[str]]
    doubts: Mapping[Doubt, str]
    notes: tuple[str, ...] = ()
    is_by_graph: bool = False
    unseen: str = ""

    def shape_of(self, role: str) -> Shape:
        """Find the shape of the first weight with a role."""
        return next(part.weight.shape for part in self.parts if part.role.name == role)
