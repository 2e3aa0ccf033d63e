"""What makes a function a recipe: a table from roles of weights to initializers, and its models.

The decorated function returns the table of a source. From it, and from what the decorator says,
follow the refusal of other models, the rules for a model, the docstring and the table of the page.
"""

import functools
import inspect
import random
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import keras

from keras_initx._checks import DTYPES, check_choice, quoted
from keras_initx._recipe_names import RECIPES, NotedRules
from keras_initx._typing import InitializerLike, RolesGiven
from keras_initx.initializers import TruncatedNormal
from keras_initx.recipes._parts import Part, Roles
from keras_initx.recipes._roles import roles_of
from keras_initx.sampling import truncated_quantiles
from keras_initx.structure import check_model, matches_path, matching_paths

# Maps patterns to initializers.
Rules: TypeAlias = dict[str, InitializerLike | None]


@dataclass(frozen=True)
class Computed:
    """What is computed for a weight.

    Attributes:
        text: It in words.
        of: Returns the initializer for a part of a model, or `None` to leave it to its layer.
        by_number: Whether the numbers of blocks must be known.
    """

    text: str
    of: Callable[[Part, Roles], InitializerLike | None]
    by_number: bool = False


# For what a table has no numbers for: the values stay.
LEFT = Computed("left, its values stay", lambda part, roles: None)


# What a table has for "others" if it leaves all weights that it does not name.
KEPT = Computed("kept as they are", lambda part, roles: None)

# Maps roles to initializers. A role that is missing has the one of what its weight is by its own
# name, such as "kernel".
Table: TypeAlias = Mapping[str, InitializerLike | Computed | None]


class Recipe(Protocol):
    """Returns the rules for a model, as the numbers of a source say."""

    __name__: str

    def __call__(
        self, model: keras.Model, *, source: str = ..., roles: RolesGiven | None = None
    ) -> Rules: ...


@dataclass(frozen=True)
class About:
    """What is said of a recipe.

    Attributes:
        table: Returns the table, of a source if there are several.
        kind: The models that it is for, in words.
        sources: Whose numbers it has: a paper or code, or a dict with one for each source.
        needs: What a model must have: roles of weights, and what `features_of` finds.
        needs_in_graph: What it must have too if its branches are known by the graph.
        refuses: What it must not have.
        by_chain: Whether the kernels of a branch must be one after another.
        by_block: Whether blocks of one branch or two of attention and one without must be known.
        closes: Whether branches must be able to start at 0.
    """

    table: Callable[..., Table]
    kind: str
    sources: str | Mapping[str, str]
    needs: Sequence[str] = ()
    needs_in_graph: Sequence[str] = ()
    refuses: Sequence[str] = ()
    by_chain: bool = False
    by_block: bool = False
    closes: bool = False

    def tables(self) -> dict[str, Table]:
        """Return the table of each source; of "" if there is one."""
        if isinstance(self.sources, str):
            return {"": self.table()}
        return {source: self.table(source) for source in self.sources}

    def check(self, roles: Roles, table: Table) -> None:
        """Raise `ValueError`, with what it lacks or has, if a model does not fit."""
        by_branch = "outer" in table
        computed = [value for value in table.values() if isinstance(value, Computed)]
        reasons = [f"no {need.removeprefix('a ')}" for need in self.needs if need not in roles.has]
        if roles.notes:
            reasons += [
                f"no {need.removeprefix('a ')}"
                for need in self.needs_in_graph
                if need not in roles.has
            ]
        reasons += [
            f"{feature}, {quoted(roles.has[feature])}"
            for feature in self.refuses
            if feature in roles.has
        ]
        doubts = {
            roles.unknown: by_branch,
            "" if roles.unknown else roles.unnumbered: any(value.by_number for value in computed),
            roles.parallel: self.by_chain,
            roles.uneven: self.by_block,
            roles.closed: self.closes,
        }
        reasons += [reason for reason, matters in doubts.items() if reason and matters]
        if not reasons:
            return
        if by_branch:
            reasons += roles.notes
        raise ValueError(
            f"`model` must be {self.kind}; otherwise write your own rules. "
            f"Received: model={roles.model.name!r} with {'; '.join(reasons)}"
        )


# What is said of each recipe, by its name.
ABOUT: dict[str, About] = {}


def recipe(**about: Any) -> Callable[[Callable[..., Table]], Recipe]:
    """Make a function that returns a table a recipe. For the arguments see `About`."""

    def register(table: Callable[..., Table]) -> Recipe:
        told = About(table, **about)
        has_sources = not isinstance(told.sources, str)

        @functools.wraps(table)
        def rules_of(model: keras.Model, **options: Any) -> Rules:
            roles = roles_of(check_model("model", model), options.get("roles"))
            source = options.get("source", first)
            if has_sources:
                check_choice("source", source, tuple(told.sources))
            values = told.tables()[source]
            told.check(roles, values)
            return _rules(values, roles)

        first = next(iter(told.sources)) if has_sources else ""
        parameters = [
            inspect.Parameter(
                "model", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=keras.Model
            )
        ]
        if has_sources:
            parameters.append(
                inspect.Parameter(
                    "source", inspect.Parameter.KEYWORD_ONLY, default=first, annotation=str
                )
            )
        parameters.append(
            inspect.Parameter(
                "roles",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=RolesGiven | None,
            )
        )
        del rules_of.__wrapped__
        signature = inspect.Signature(parameters, return_annotation=Rules)
        setattr(rules_of, "__signature__", signature)  # noqa: B010, no attribute by its type
        rules_of.__annotations__ = {one.name: one.annotation for one in parameters}
        rules_of.__annotations__["return"] = Rules
        rules_of.__doc__ = _documented(told)
        ABOUT[table.__name__] = told
        RECIPES[table.__name__] = rules_of
        return rules_of

    return register


def _rules(table: Table, roles: Roles) -> Rules:
    """Return the rules for a model, with what was found in its graph and what is left."""
    values: Rules = {}
    special = {}
    left = []
    for part in roles.parts:
        role = part.role if part.role in table else part.by_name
        special[part.weight.path] = role != part.by_name
        value = entry = table.get(role)
        if isinstance(value, Computed):
            value = value.of(part, roles)
        if value is not None:
            values[part.weight.path] = value
        elif (part.is_unknown or entry is LEFT) and part.weight.dtype in DTYPES:
            left.append(part.weight.path)
    rules = shortened(values, special)
    if table.get("others") is KEPT:
        rules["*"] = None
        left = []
    lines: list[str] = []
    if roles.notes and not table.keys() <= {"kernel", "bias", "embeddings"}:
        lines = ["Recognized in the graph of the model:", *(f"  {note}" for note in roles.notes)]
    lines += [f"As `roles` says: {line}" for line in roles.given]
    return NotedRules(rules, tuple(lines), tuple(left))


def shortened(values: Rules, paths: Mapping[str, bool]) -> Rules:
    """Return rules for these values by path, with a pattern where one is exact.

    Special rules come first: a pattern that ends with the names of the weight and of its layer, or
    otherwise a path. Then comes, for each name, what most weights of this name get that have no
    role of their own.

    Args:
        values: Initializers by path.
        paths: The paths of all weights, and whether each has a role of its own in the table.
    """
    texts = {path: repr(value) for path, value in values.items()}
    usual: dict[str, str] = {}
    for name in ("kernel", "bias", "embeddings"):
        for pattern in (f"*{name}", f"*/{name}"):
            matching = matching_paths(pattern, paths)
            if matching and texts.keys() >= set(matching):
                plain = [path for path in matching if not paths[path]] or matching
                ((text, _),) = Counter(texts[path] for path in plain).most_common(1)
                # The whole name, such as `dt_bias`, where all have the same.
                whole = {path.rpartition("/")[2] for path in matching}
                if len(whole) == 1:
                    pattern = pattern.removesuffix(name) + whole.pop()
                usual[pattern] = text
                break
    special: Rules = {}
    last: Rules = {}
    for path, value in values.items():
        text = texts[path]
        name = next((one for one in usual if matches_path(one, path)), "")
        if name and usual[name] == text:
            last[name] = value
            continue
        special[_exact_pattern(path, text, texts, paths)] = value
    return special | {ending: last[ending] for ending in usual if ending in last}


def _exact_pattern(path: str, text: str, texts: Mapping[str, str], paths: Collection[str]) -> str:
    """Return a pattern for all weights like that of a path, or the path if none is exact.

    It leaves out the layers around its own, all numbers, or all but the last.
    """
    layer = "*/" + "/".join(path.split("/")[-2:])
    all_numbers = re.sub(r"\d+", "*", path)
    all_but_last = re.sub(r"\d+(?=.*\d)", "*", path)
    for pattern in (layer, all_numbers, all_but_last):
        matched = [other for other in paths if matches_path(pattern, other)]
        if path in matched and len(matched) > 1 and all(texts.get(one) == text for one in matched):
            return pattern
    return path


def _documented(about: About) -> str:
    """Return the docstring of a recipe: with its weights and arguments before its example."""
    text, _, example = (inspect.getdoc(about.table) or "").partition("\nExample:\n")
    lines = [text.rstrip(), ""]
    state = random.getstate()  # initializers without a seed draw one
    tables = about.tables()
    random.setstate(state)
    for source, table in tables.items():
        lines += [f'Weights, by `"{source}"`:' if source else "Weights:", ""]
        lines += [f"- {role}: {described(value)}" for role, value in table.items()]
        lines.append("")
    lines += ["Args:", "    model: A built model."]
    roles = "    roles: See `initialize`."
    if len(tables) > 1:
        lines.append(
            f"    source: Whose numbers: {' or '.join(f'`{source!r}`' for source in tables)}."
        )
    return "\n".join([*lines, roles, "", "Example:", example])


def described(value: InitializerLike | Computed | None) -> str:
    """Return an entry of a table in words."""
    if isinstance(value, Computed):
        return value.text
    if value is None:
        return "left to its layer"
    return f"`{value!r}`" if not isinstance(value, str) else f"`{value}`"


def truncated_normal(stddev: float, bound: float) -> TruncatedNormal:
    """Return `N(0, stddev²)` truncated at `bound` times `stddev`, which makes it narrower."""
    remaining = truncated_quantiles(-bound, bound).stddev
    return TruncatedNormal(stddev=stddev * remaining, lower=-bound, upper=bound)
