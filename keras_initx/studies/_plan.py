"""The plan of a run, derived from its settings: the trials with their names and seeds."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._checks import check_count, check_seed, check_type
from keras_initx._seeds import derived_seed
from keras_initx._version import __version__
from keras_initx.studies._data import data_digest
from keras_initx.studies._fingerprint import fingerprint, name_of
from keras_initx.studies._records import Data, Settings


def check_build(build: Any, *names: str) -> None:
    """Raise `TypeError` unless `build` is a function of arguments that are called `names`."""
    arguments = ", ".join(names)
    example = f"lambda {arguments}".strip()
    required = (
        f"`build` must be a function that returns a new compiled model, such as `{example}: "
        f"network({arguments})`. Received: build={build!r}"
    )
    # A model can be called too.
    if not callable(build) or isinstance(build, keras.Layer):
        raise TypeError(required)
    try:
        signature = inspect.signature(build, follow_wrapped=False)
    except ValueError:  # that of a built-in function may be unknown
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        raise TypeError(f"{required}, which takes other arguments: {error}") from None


def run_settings(
    build: Callable[..., Any],
    data: Data,
    epochs: int,
    batch_size: int,
    seed: int,
    title: str | None,
) -> Settings:
    """Return the settings that determine the results of any kind of run.

    Raises:
        TypeError: If a count or the seed is not an integer, or `title` is not a string.
        ValueError: If one of them is out of range.
    """
    check_type("seed", check_seed(seed), int, "an integer, from which all others are derived")
    check_type("title", title, str | None, "a string or `None`")
    return {
        "title": title or name_of(getattr(build, "func", build)),  # of a partial
        "build": fingerprint(build, unknown=[]),  # as far as it can be described
        "epochs": int(check_count("epochs", epochs)),  # JSON has no integers of NumPy
        "batch_size": int(check_count("batch_size", batch_size)),
        "seed": int(seed),
        "data": data_digest(data),
        "backend": keras.backend.backend(),
        **_config_settings(),
        "keras": keras.__version__,
        "keras_initx": __version__,
    }


# The settings that Keras keeps for a process or a thread. Older versions lack the last two.
_CONFIG = (
    "floatx",
    "epsilon",
    "image_data_format",
    "dtype_policy",
    "max_steps_per_epoch",
    "max_epochs",
)


def keras_config() -> dict[str, Any]:
    """Return the settings of Keras by name, for each of which it has a function `set_...`."""
    found = {}
    for name in _CONFIG:
        if hasattr(keras.config, name):
            found[name] = getattr(keras.config, name)()
    return found


def _config_settings() -> Settings:
    """Return the settings of Keras that determine results, as JSON types."""
    config = keras_config()
    # A trial that ends before its last epoch fails.
    config.pop("max_epochs", None)
    return config | {"dtype_policy": config["dtype_policy"].name}


class TrialPlan(NamedTuple):
    """One training run: a trial of a comparison, or a stage of a draw's training in restarts.

    Attributes:
        key: Its name in the folder.
        build_seed: Global seed under which its model is built.
        order_seed: Seed of the order of the examples and of all other randomness in training.
        end: Number of epochs trained afterward.
        begin: Number of epochs trained before.
        previous: Name of the trial whose final state it starts from, or `None` for the initial
            weights.
        keep_state: Whether to keep the final state.
        initializer: Name of the initializer, or `None` if `build` takes none.
        initializer_seed: Seed of its draws.
        arguments: Other arguments of `build`.
    """

    key: str
    build_seed: int
    order_seed: int
    end: int
    begin: int = 0
    previous: str | None = None
    keep_state: bool = False
    initializer: str | None = None
    initializer_seed: int = 0
    arguments: tuple[Any, ...] = ()


def comparison_keys(settings: Settings) -> dict[tuple[str, int], str]:
    """Return the names of the trials in the folder, by initializer and repeat, repeat by repeat."""
    keys = {}
    for repeat in range(1, settings["repeats"] + 1):
        for place, name in enumerate(settings["initializers"]):
            keys[name, repeat] = f"{place}-{repeat}"
    return keys


def plan_comparison(settings: Settings) -> list[TrialPlan]:
    """Return the trials of a comparison.

    All seeds derive from that of the repeat, which is the same for all initializers.
    """
    plans = []
    for (name, repeat), key in comparison_keys(settings).items():
        seed = derived_seed(settings["seed"], "repeat", repeat)
        plan = TrialPlan(
            key,
            build_seed=derived_seed(seed, "build"),
            order_seed=derived_seed(seed, "train"),
            end=settings["epochs"],
            initializer=name,
            initializer_seed=derived_seed(seed, "draw"),
        )
        plans.append(plan)
    return plans


# The name of a parametrization, a width, a learning rate and the number of a repeat.
RateTrial: TypeAlias = tuple[str, int, float, int]


def rate_keys(settings: Settings) -> dict[RateTrial, str]:
    """Return the names of the trials of learning rates in the folder.

    The repeats of a model come one after the other, because a process compiles it once.
    """
    keys: dict[RateTrial, str] = {}
    for place, name in enumerate(settings["builds"]):
        for width in settings["widths"]:
            for number, rate in enumerate(settings["rates"]):
                for repeat in range(1, settings["repeats"] + 1):
                    keys[name, width, rate, repeat] = f"{place}-{width}-{number}-{repeat}"
    return keys


def plan_rates(settings: Settings) -> list[TrialPlan]:
    """Return the trials of learning rates. All seeds derive from that of the repeat."""
    plans = []
    for (name, width, rate, repeat), key in rate_keys(settings).items():
        seed = derived_seed(settings["seed"], "repeat", repeat)
        plan = TrialPlan(
            key,
            build_seed=derived_seed(seed, "build"),
            order_seed=derived_seed(seed, "train"),
            end=settings["epochs"],
            arguments=(name, width, rate),
        )
        plans.append(plan)
    return plans


class Round(NamedTuple):
    """A round of successive halving.

    Attributes:
        number: 1 for the first.
        size: Number of draws in it.
        begin: Number of epochs trained before the round.
        end: Number of epochs trained after the round.
    """

    number: int
    size: int
    begin: int
    end: int


def plan_rounds(settings: Settings) -> list[Round]:
    """Return the rounds of restarts."""
    n = settings["n"]
    epochs = settings["epochs"]
    halvings = max(0, math.ceil(math.log2(n)) - 1)
    # By the number of epochs trained after the round.
    sizes: dict[int, int] = {}
    for i in range(halvings + 1):
        # With too few epochs to halve, there are fewer rounds.
        sizes.setdefault(math.ceil(epochs / 2 ** (halvings - i)), math.ceil(n / 2**i))
    rounds = []
    begin = 0
    for number, (end, size) in enumerate(sizes.items(), 1):
        rounds.append(Round(number, size, begin, end))
        begin = end
    return rounds


def draw_seed(settings: Settings, draw: int) -> int:
    """Return the seed of the draw of this number, 1 for the first."""
    return derived_seed(settings["seed"], "draw", draw)


def stage_key(draw: int, number: int) -> str:
    """Return the name of a draw's trial in the round of this number."""
    return f"draw{draw}-{number}"


def plan_stage(settings: Settings, draw: int, round_: Round) -> TrialPlan:
    """Return the trial of a draw in a round."""
    previous = None
    if round_.begin:
        previous = stage_key(draw, round_.number - 1)
    return TrialPlan(
        stage_key(draw, round_.number),
        build_seed=draw_seed(settings, draw),
        order_seed=derived_seed(settings["seed"], "train"),
        end=round_.end,
        begin=round_.begin,
        previous=previous,
        keep_state=True,
    )


def check_keys(settings: Settings, chosen: int) -> list[tuple[str, str]]:
    """Return the names of each pair of trials.

    They are of the chosen draw, and of a draw that was not in the search.
    """
    return [(f"check{i}-draw{chosen}", f"check{i}-other") for i in range(1, settings["checks"] + 1)]


def plan_checks(settings: Settings, chosen: int) -> list[TrialPlan]:
    """Return the trials of the pairs. Both trials of a pair share a new order of the examples."""
    plans = []
    for i, keys in enumerate(check_keys(settings, chosen), 1):
        order_seed = derived_seed(settings["seed"], "check", i)
        for key, draw in zip(keys, (chosen, settings["n"] + i), strict=True):
            build_seed = draw_seed(settings, draw)
            plans.append(TrialPlan(key, build_seed, order_seed, settings["epochs"]))
    return plans
