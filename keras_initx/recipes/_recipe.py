"""What makes a function a recipe: what is said of it in one place, and all that follows from that.

A recipe is a function of a model that returns rules. The decorator says what the function is for,
whose numbers it has and how its models are recognized. From this follow the checks of its
arguments, the error that names another recipe, and the table of the page.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import keras

from keras_initx._checks import check_choice
from keras_initx._recipe_names import RECIPES
from keras_initx._typing import InitializerLike
from keras_initx.initializers import TruncatedNormal
from keras_initx.recipes._network import Network, network_of
from keras_initx.sampling import truncated_quantiles

# Maps patterns to initializers.
Recipe: TypeAlias = dict[str, InitializerLike | None]

Function = TypeVar("Function", bound=Callable[..., Recipe])


@dataclass(frozen=True)
class About:
    """What is said of a recipe.

    Attributes:
        function: The function that returns the rules.
        kind: The models that it is for, in words.
        sources: Whose numbers it has: a paper or code. For a function with the argument `source`,
            a dict with one for each value.
        marks: How the weights of its models are called: patterns of which one matches, or a
            function that says so.
        layers: A function that says whether a network has the layers of its models. For names that
            no recipe knows.
        refuses: Whether models without the marks and the layers are refused. If not, the function
            itself says what it refuses.
    """

    function: Callable[..., Recipe]
    kind: str
    sources: str | Mapping[str, str]
    marks: Sequence[str] | Callable[[Network], Any]
    layers: Callable[[Network], Any] | None
    refuses: bool

    @property
    def argument(self) -> str:
        """The name of the argument that takes the model."""
        return next(iter(inspect.signature(self.function).parameters))

    @property
    def takes_number(self) -> bool:
        """Whether this argument may be a number of blocks too."""
        annotation = inspect.signature(self.function).parameters[self.argument].annotation
        return int in typing.get_args(annotation)

    def knows(self, network: Network) -> bool:
        """Return whether weights are called as those of its models."""
        if callable(self.marks):
            return bool(self.marks(network))
        return network.has(*self.marks)

    def has_layers(self, network: Network) -> bool:
        """Return whether a network has the layers of its models."""
        return self.layers is not None and bool(self.layers(network))


# What is said of each recipe, by its name.
ABOUT: dict[str, About] = {}


def recipe(
    *,
    kind: str,
    sources: str | Mapping[str, str],
    marks: Sequence[str] | Callable[[Network], Any] = (),
    layers: Callable[[Network], Any] | None = None,
    refuses: bool = True,
) -> Callable[[Function], Function]:
    """Make a function that returns rules for a model a recipe. For the arguments see `About`.

    The function is called with a source that it has, and with a model that has its marks or its
    layers, if there are any. Rules that match none of the weights are left out.
    """

    def register(function: Function) -> Function:
        about = About(function, kind, sources, marks, layers, refuses and bool(marks or layers))
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Any, **options: Any) -> Recipe:
            given = signature.bind(*args, **options).arguments
            model = given[about.argument]
            if "source" in given and given["source"] != signature.parameters["source"].default:
                check_choice("source", given["source"], tuple(sources))
            if about.takes_number and not isinstance(model, keras.Model):
                return function(*args, **options)  # of a number of blocks
            network = network_of(about.argument, model)
            if about.refuses:
                check_fits(about, network)
            rules = function(*args, **options)
            for pattern in list(rules):
                if not network.has(pattern):
                    del rules[pattern]
            return rules

        ABOUT[function.__name__] = about
        RECIPES[function.__name__] = checked
        return cast(Function, checked)

    return register


def known(network: Network) -> list[str]:
    """Return the names of the recipes whose models have weights that are called so."""
    return sorted(name for name, about in ABOUT.items() if about.knows(network))


def check_fits(about: About, network: Network) -> None:
    """Raise `ValueError`, with the recipes that fit, if a recipe is not for a network."""
    if about.knows(network) or about.has_layers(network):
        return
    fitting = known(network)
    if not fitting:
        fitting = sorted(name for name, other in ABOUT.items() if other.has_layers(network))
    instead = "write your own rules"
    if fitting:
        names = " or ".join(f"`{name}`" for name in fitting)
        instead = f"use {names}, or {instead}"
    first, *others = network.shapes
    evidence = f"{first!r} and {len(others)} other weights"
    if about.layers is not None:
        evidence = network.described
    elif network.architecture.branches and network.architecture.attends:
        evidence = "; ".join(network.recognized)
    hidden = network.architecture.hidden
    if hidden:
        evidence += f", and {network.path_of(hidden[0])!r}, whose `call` cannot be followed"
    raise ValueError(
        f"`{about.argument}` must be {about.kind}; otherwise {instead}. "
        f"Received: {about.argument}={network.model.name!r} with {evidence}"
    )


def truncated_normal(stddev: float, bound: float) -> TruncatedNormal:
    """Return `N(0, stddev²)` truncated at `bound` times `stddev`, which makes it narrower."""
    remaining = truncated_quantiles(-bound, bound).stddev
    return TruncatedNormal(stddev=stddev * remaining, lower=-bound, upper=bound)
