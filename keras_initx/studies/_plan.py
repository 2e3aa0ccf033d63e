"""The plan of a run, derived from its settings: the trials with their names and seeds."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from keras_initx._checks import check_count, check_seed
from keras_initx._seeds import derived_seed
from keras_initx._version import __version__
from keras_initx.studies._data import data_digest
from keras_initx.studies._records import Arrays, Mode, Settings


def run_settings(
    build: Callable[..., Any], data: Arrays, epochs: int, batch_size: int, seed: int, title: str | None
) -> Settings:
    """Return the settings that determine the results of any kind of run.

    Raises:
        TypeError: If `build` is not callable, a count or the seed is not an integer, or `title` is not a string.
        ValueError: If one of them is out of range.
    """
    if not callable(build):
        raise TypeError(f"`build` must be a function that returns a compiled model. Received: {build=!r}")
    if not isinstance(check_seed(seed), int):
        raise TypeError(f"`seed` must be an integer, from which all others are derived. Received: {seed=!r}")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"`title` must be a string or `None`. Received: {title=!r}")
    return {
        "title": title or str(fingerprint(build)),
        "build": fingerprint(build),
        "epochs": int(check_count("epochs", epochs)),  # JSON has no integers of NumPy
        "batch_size": int(check_count("batch_size", batch_size)),
        "seed": int(seed),
        "data": data_digest(data),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_initx": __version__,
    }


def fingerprint(value: Any) -> Any:
    """Return a JSON-serializable description of a function, an initializer, or another value that identifies a run."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): fingerprint(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fingerprint(item) for item in value]
    if isinstance(value, keras.initializers.Initializer):
        return [type(value).__name__, fingerprint(value.get_config())]
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@dataclass(frozen=True)
class Run:
    """The parameters that all trials of a run share.

    Attributes:
        path: Folder of the run.
        data: The result of `checked_data`.
        batch_size: Number of examples in a batch.
        monitor: Name of a required metric, or `None`.
        mode: Its direction, `"max"`, `"min"` or `"auto"`.
        first: Key of the first trial, whose metrics all others must have, or `None`.
    """

    path: Path
    data: Arrays
    batch_size: int
    monitor: str | None
    mode: Mode = "auto"
    first: str | None = None


@dataclass(frozen=True)
class TrialPlan:
    """One trial of a comparison.

    Attributes:
        key: Its name in the folder.
        initializer: Name of the initializer.
        repeat: Number of the repeat, 1 for the first.
        seed: Seed of the repeat, the same for all initializers.
    """

    key: str
    initializer: str
    repeat: int
    seed: int


def plan_trials(settings: Settings) -> list[TrialPlan]:
    """Return the trials of a comparison, repeat by repeat."""
    return [
        TrialPlan(f"{place}-{repeat}", name, repeat, derived_seed(settings["seed"], "repeat", repeat))
        for repeat in range(1, settings["repeats"] + 1)
        for place, name in enumerate(settings["initializers"])
    ]


@dataclass(frozen=True)
class Round:
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


@dataclass(frozen=True)
class StagePlan:
    """One trial of restarts: a draw of the initial weights, trained from one epoch to another.

    Attributes:
        key: Its name in the folder.
        previous: Name of the trial whose final state it starts from, or `None` for the initial
            weights.
        draw_seed: Seed of the draw.
        order_seed: Seed of the order of the examples.
        begin: Number of epochs trained before.
        end: Number of epochs trained afterward.
        keep_state: Whether to keep the final state.
    """

    key: str
    previous: str | None
    draw_seed: int
    order_seed: int
    begin: int
    end: int
    keep_state: bool


def plan_rounds(settings: Settings) -> list[Round]:
    """Return the rounds of restarts."""
    n, epochs = settings["n"], settings["epochs"]
    halvings = max(0, math.ceil(math.log2(n)) - 1)
    sizes: dict[int, int] = {}
    for i in range(halvings + 1):
        # With too few epochs to halve, there are fewer rounds.
        sizes.setdefault(math.ceil(epochs / 2 ** (halvings - i)), math.ceil(n / 2**i))
    ends = list(sizes)
    return [Round(i, sizes[end], begin, end) for i, (begin, end) in enumerate(zip([0, *ends], ends, strict=False), 1)]


def draw_seed(settings: Settings, draw: int) -> int:
    """Return the seed of the draw of this number, 1 for the first."""
    return derived_seed(settings["seed"], "draw", draw)


def stage_key(draw: int, number: int) -> str:
    """Return the name of a draw's trial in the round of this number."""
    return f"draw{draw}-{number}"


def plan_stage(settings: Settings, draw: int, round_: Round) -> StagePlan:
    """Return the trial of a draw in a round."""
    return StagePlan(
        stage_key(draw, round_.number),
        stage_key(draw, round_.number - 1) if round_.begin else None,
        draw_seed(settings, draw),
        derived_seed(settings["seed"], "train"),
        round_.begin,
        round_.end,
        keep_state=True,
    )


def check_keys(settings: Settings) -> list[tuple[str, str]]:
    """Return the names of each pair of trials: the chosen draw, and a draw that was not in the search."""
    return [(f"check{i}-chosen", f"check{i}-other") for i in range(1, settings["checks"] + 1)]


def plan_checks(settings: Settings, chosen: int) -> list[StagePlan]:
    """Return the trials of the pairs. Both trials of a pair share a new order of the examples."""
    return [
        StagePlan(
            key,
            None,
            draw_seed(settings, draw),
            derived_seed(settings["seed"], "check", i),
            0,
            settings["epochs"],
            keep_state=False,
        )
        for i, keys in enumerate(check_keys(settings), 1)
        for key, draw in zip(keys, (chosen, settings["n"] + i), strict=True)
    ]
