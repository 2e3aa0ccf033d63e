"""Recipes: a table from roles of weights to initializers, and the models that it fits.

The rules for a model, the error for other models, the docstring and the table on the page all
follow from it.
"""

import inspect
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import keras

from keras_initx._checks import DTYPES, check_choice, quote_names
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import InitializerLike
from keras_initx.initializers._random import TruncatedNormal
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.recipes._each_kernel import adapt_to_each_kernel
from keras_initx.recipes._features import Feature
from keras_initx.recipes._parts import Doubt, Part, Roles
from keras_initx.recipes._roles import find_roles
from keras_initx.recipes._weight_rules import NOT_KNOWN, Left, WeightRules
from keras_initx.sampling._conversion import truncated_quantiles


@dataclass(frozen=True)
class Computed:
    """An initializer that is computed for a weight.

    Attributes:
        text: The initializer in words.
        of: Returns the initializer for a part of a model, or `None` to let the layer initialize it,
            or that its values stay.
        needs: The facts that must be known for it.
    """

    text: str
    of: Callable[[Part, Roles], InitializerLike | Left | None]
    needs: tuple[Doubt, ...] = ()


# What must be known for a feature to be known.
_DOUBTS: Mapping[str | Feature, Doubt] = {
    **dict.fromkeys((Feature.FIRST, Feature.LAST, Feature.LAST_IN_TEXT), Doubt.PLACEMENT),
    Feature.SELU: Doubt.ACTIVATIONS,
}
# What only the graph tells, so that it may be in what cannot be followed.
_IN_GRAPH = ("attended", "gate", "inner", "outer", "tokens", *_DOUBTS)
# What errors call the weights of a role.
_WEIGHTS_OF_ROLES = {
    "A_log": "weight `A_log`",
    "attended": "attention output kernel",
    "frames": "kernel of frames of sound",
    "gate": "gate kernel of a feedforward block",
    "inner": "kernel before the last one of a residual branch",
    "outer": "last kernel of a residual branch",
    "relative positions": "table of relative positions",
    "tokens": "token embedding",
    "unscaled query": "query kernel of an attention that does not scale its queries",
}
# For what a table has no numbers for: the values stay.
LEFT = Computed("left, its values stay", lambda part, roles: None)

# Maps roles to initializers. A role that is missing has the one of what its weight is by its own
# name, such as "kernel".
RoleTable: TypeAlias = Mapping[str, InitializerLike | Computed | None]


class Documentation:
    """The docstring of a recipe, made when it is read. The class itself has its own docstring."""

    def __init__(self, of_class: str | None) -> None:
        self._of_class = of_class

    def __get__(self, recipe: "Recipe | None", owner: type) -> str | None:
        return self._of_class if recipe is None else recipe.documentation()


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class Recipe:
    """Returns the rules for a model, with the numbers of a source.

    Pass a recipe to `initialize` or `audit`, or call it with your model.

    Attributes:
        name: The name that you pass to `initialize` and `audit`.
        table: Returns the table, given a source if there are several. Its docstring is the text on
            the recipe.
        kind: The models that the recipe fits, in words.
        sources: The paper or code that has the numbers, or a dict with one for each source.
        needs: The roles of weights and the features that a model must have.
        needs_in_graph: More that it must have if its graph shows its branches.
        refuses: The features that it must not have.
    """

    __doc__ = Documentation(__doc__)

    name: str
    table: Callable[..., RoleTable]
    kind: str
    sources: str | Mapping[str, str]
    needs: Sequence[str | Feature] = ()
    needs_in_graph: Sequence[str | Feature] = ()
    refuses: Sequence[Feature] = ()

    def __call__(self, model: keras.Model, *, source: str | None = None) -> WeightRules:
        """Return the rules for a built model.

        Args:
            model: A built model.
            source: The source whose numbers you want, if there are several. The default is the
                first.

        Raises:
            TypeError: If `model` is no model.
            ValueError: If it is not built, lacks something that the recipe needs, or has something
                that the recipe refuses. Or if the recipe does not have this `source`.
        """
        return self._rules_for(checked_inventory("model", model), source=source)

    def __repr__(self) -> str:
        return f"recipes.{self.name}"

    def _rules_for(self, inventory: Inventory, *, source: str | None = None) -> WeightRules:
        """Make the rules for a model, given its layers and weights."""
        table = self._table_of(source)
        roles = find_roles(inventory)
        self._check(roles, table)
        notes = [f"The recipe {self.name!r} is for {self.kind}."]
        if not table.keys() <= {"kernel", "bias", "embeddings"}:
            notes = [*roles.notes, *notes]
        return _make_rules(table, roles, notes)

    def tables(self) -> dict[str, RoleTable]:
        """Make the table of each source. If there is one source, its key is an empty text."""
        if isinstance(self.sources, str):
            return {"": self.table()}
        return {source: self.table(source) for source in self.sources}

    def documentation(self) -> str:
        """Write the text on the recipe, with its weights and arguments before its example."""
        text, _, example = (inspect.getdoc(self.table) or "").partition("\nExample:\n")
        lines = [text.rstrip(), ""]
        state = random.getstate()  # initializers without a seed draw one
        tables = self.tables()
        random.setstate(state)
        for source, table in tables.items():
            lines += [f'Weights, by `"{source}"`:' if source else "Weights:", ""]
            lines += [f"- {role}: {describe_entry(value)}" for role, value in table.items()]
            lines.append("")
        lines += ["Args:", "    model: A built model."]
        if len(tables) > 1:
            sources = " or ".join(f"`{source!r}`" for source in tables)
            lines.append(f"    source: Whose numbers: {sources}.")
        return "\n".join([*lines, "", "Example:", example])

    def _table_of(self, source: str | None) -> RoleTable:
        if isinstance(self.sources, str):
            if source is not None:
                raise ValueError(
                    f"`source` must be left out: the recipe {self.name!r} has a single source. "
                    f"Received: source={show(source)}"
                )
            return self.table()
        if source is None:
            source = next(iter(self.sources))
        return self.table(check_choice("source", source, tuple(self.sources)))

    def _list_needed_facts(self, needs: Sequence[str | Feature], table: RoleTable) -> set[Doubt]:
        """List the facts that must be known of a model.

        Args:
            needs: The roles and features that the model must have.
            table: The table of the recipe.
        """
        must_be_known: set[Doubt] = set()
        for value in table.values():
            if isinstance(value, Computed):
                must_be_known.update(value.needs)
        for feature in (*needs, *self.needs_in_graph, *self.refuses):
            if feature in _DOUBTS:
                must_be_known.add(_DOUBTS[feature])
        return must_be_known

    def _check(self, roles: Roles, table: RoleTable) -> None:
        """Raise `ValueError` if a model does not fit, with the reason."""
        needs = [*self.needs, *(self.needs_in_graph if roles.is_by_graph else ())]
        must_be_known = self._list_needed_facts(needs, table)
        lacking = []
        is_in_doubt = False
        for need in needs:
            is_doubted = need in _DOUBTS and _DOUBTS[need] in roles.doubts
            if need not in roles.has and not is_doubted:
                is_unseen = bool(roles.unseen) and need in _IN_GRAPH
                is_in_doubt = is_in_doubt or is_unseen
                condition = " that the recipe can see" if is_unseen else ""
                lacking.append(f"no {_name_need(need)}{condition}")
        reasons = []
        if lacking:
            *first, last = lacking
            reasons.append(f"{', '.join(first)} and {last}" if first else last)
        for feature in self.refuses:
            if feature in roles.has:
                reasons.append(f"{feature}, {quote_names(roles.has[feature])}")
        for doubt, text in roles.doubts.items():
            is_said = doubt is Doubt.NUMBERS and Doubt.ENDS in roles.doubts
            if doubt in must_be_known and not is_said:
                reasons.append(text)
        if not reasons:
            return
        if is_in_doubt and not any(roles.unseen in reason for reason in reasons):
            reasons.append(roles.unseen)
        if Doubt.ENDS in must_be_known and roles.is_by_graph:
            for note in map(str.strip, roles.notes[1:]):
                if not any(reason.startswith(note) for reason in reasons):
                    reasons.append(note)
        raise ValueError(
            f"`model` must be {self.kind}; otherwise write your own rules. "
            f"Received: model={show(roles.model.name)} with "
            f"{'; '.join(reasons)}"
        )


def _name_need(need: str | Feature) -> str:
    """Name something that a model must have, in words that follow a "no"."""
    if isinstance(need, Feature):
        return need.without_article
    return _WEIGHTS_OF_ROLES.get(need, f"weight of the role {need!r}")


def _make_rules(table: RoleTable, roles: Roles, notes: Iterable[str]) -> WeightRules:
    by_path: dict[str, InitializerLike | Left] = {}
    reasons: dict[str, str] = {}
    for part in roles.parts:
        path = part.weight.path
        role = part.role.name if part.role.name in table else part.by_name
        entry = table.get(role)
        value = entry.of(part, roles) if isinstance(entry, Computed) else entry
        if value is not None:
            by_path[path] = value if isinstance(value, Left) else adapt_to_each_kernel(value, part)
            reasons[path] = _describe_role(part, role)
        elif (part.is_unknown or entry is LEFT) and part.weight.dtype in DTYPES:
            by_path[path] = Left(NOT_KNOWN)
    return WeightRules(by_path, tuple(notes), reasons)


def _describe_role(part: Part, key: str) -> str:
    """Say which role a weight has, by which source, and by which key of a table it is drawn."""
    name = repr(part.role.name)
    if key != part.role.name:
        name += f", drawn as {key!r}"
    text = f"role {name}: {part.role.source}"
    return f"{text}; {part.kernels} kernels in one" if part.kernels > 1 else text


def describe_entry(value: InitializerLike | Computed | None) -> str:
    """Describe an entry of a table in words."""
    if isinstance(value, Computed):
        return value.text
    if value is None:
        return "left to its layer"
    return f"`{value!r}`" if not isinstance(value, str) else f"`{value}`"


def truncated_normal(stddev: float, bound: float) -> TruncatedNormal:
    """Return `N(0, stddev²)` truncated at `bound` times `stddev`, which makes it narrower."""
    remaining = truncated_quantiles(-bound, bound).stddev
    return TruncatedNormal(stddev=stddev * remaining, lower=-bound, upper=bound)
