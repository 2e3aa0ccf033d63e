"""Draw random numbers that are the same in each run of a model, on every backend.

The numbers depend on the shape, and on the *rank* of the generator: its position among the
generators that draw numbers of this shape, ordered by the first draw of each. Two dropouts of shape
(4, 8) in a model have the ranks 0 and 1. So the names of layers, their order of creation and the
number of their draws do not matter: a loop of torch draws in each step, a program of JAX once.
Numbers that are drawn independently stay independent.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_initx._keras import draw_site, replace_draws
from keras_initx._typing import Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling._namespace import HOST
from keras_initx.sampling._stream import Stream

# A function of `keras.random`, which `equal_draws` replaces.
_Draw = Callable[..., Tensor]


@dataclass
class Draws:
    """The random numbers that a model has drawn in a pass.

    Attributes:
        is_random: Whether a random generator has drawn.
        repeated: The names of the layers that draw numbers of one shape at several places from one
            generator. The numbers would be the same.
        by_backend: The sources of numbers that differ from backend to backend, in words.
    """

    is_random: bool = False
    repeated: list[str] = field(default_factory=list)
    by_backend: list[str] = field(default_factory=list)
    _ranks: dict[Hashable, dict[Hashable, int]] = field(default_factory=dict)
    _places: dict[Hashable, Hashable] = field(default_factory=dict)
    _generators: list[Any] = field(default_factory=list)

    def find_obstacle(self, other: "Draws", *, is_same_backend: bool) -> str:
        """Say why this and another model draw different numbers, empty if they draw the same."""
        for draws in (self, other):
            if draws.repeated:
                return draws.obstacle_in_itself
            if draws.by_backend and not is_same_backend:
                return f"{draws.by_backend[0]} draws other numbers on each backend"
        return ""

    @property
    def obstacle_in_itself(self) -> str:
        """Why this model cannot draw the same numbers in each run, empty if it can."""
        if not self.repeated:
            return ""
        return f"one random generator draws at several places, in {', '.join(self.repeated)}"

    def rank(self, shape: Shape | None, generator: Any) -> int:
        """Find the rank of a generator among those that draw numbers of a shape, from 0."""
        self.is_random = True
        self._generators.append(generator)  # so that no other one gets its id
        site = draw_site()
        drawer = shape, id(generator), site.inner
        ranks = self._ranks.setdefault(shape, {})
        rank = ranks.setdefault(drawer, len(ranks))
        name = "the model" if site.layer is None else site.layer.name
        if self._places.setdefault(drawer, site.outer) != site.outer and name not in self.repeated:
            self.repeated.append(name)
        return rank

    def note_function(self, ending: str = "") -> None:
        """Note the function that draws numbers of the backend."""
        text = f"`keras.random.{draw_site().function}`{ending}"
        if text not in self.by_backend:
            self.by_backend.append(text)


@contextlib.contextmanager
def equal_draws() -> Iterator[Draws]:
    """Yield a context that lets `keras.random` draw such numbers in this thread, for one pass.

    Dropout, and uniform, normal and integer numbers, are the same on every backend. Other functions
    of `keras.random` get an equal seed, but each backend makes other numbers from it. An integer
    seed stays. Other means of drawing stay random.
    """
    draws = Draws()

    def draw_seed(draw: Callable[[Any], Tensor], seed: Any) -> Tensor:
        if backend.is_abstract():
            return draw(seed)
        if _is_generator(seed):
            draws.note_function()
            return draw(draws.rank(None, seed) + 1)
        draws.note_function(" with an integer seed")
        return draw(seed)

    def bind_draws(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda *args, **kwargs: function(draws, *args, **kwargs)

    functions: dict[str, Callable[..., Tensor]] = {
        "dropout": _dropout,
        "normal": _normal,
        "randint": _randint,
        "truncated_normal": _truncated_normal,
        "uniform": _uniform,
    }
    replaced = {name: bind_draws(function) for name, function in functions.items()}
    with replace_draws({**replaced, "draw_seed": draw_seed}):
        yield draws


def _is_generator(seed: Any) -> bool:
    # Without a seed, Keras draws from a generator that all share.
    return seed is None or isinstance(seed, keras.random.SeedGenerator)


def _is_drawn(shape: Sequence[Any], seed: Any) -> bool:
    """Say whether numbers can be drawn here: the shape has no tensors, and nothing is traced."""
    has_lengths = all(isinstance(length, int) for length in shape)
    return has_lengths and _is_generator(seed) and not backend.is_abstract()


def _draw_uniforms(draws: Draws, shape: Sequence[Any], seed: Any) -> Any:
    return _make_stream(draws, shape, seed).uniform(0, tuple(shape))


def _draw_normals(draws: Draws, shape: Sequence[Any], seed: Any) -> Any:
    return _make_stream(draws, shape, seed).normal(0, tuple(shape))


def _make_stream(draws: Draws, shape: Sequence[Any], seed: Any) -> Stream:
    return Stream((draws.rank(tuple(shape), seed), 0), xp=HOST)


def _uniform(
    draws: Draws,
    draw: _Draw,
    shape: Shape,
    minval: Any = 0.0,
    maxval: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_drawn(shape, seed):
        return draw(shape, minval, maxval, dtype=dtype, seed=seed)
    numbers = _draw_uniforms(draws, shape, seed)
    values = keras.ops.convert_to_tensor(numbers, dtype or keras.config.floatx())
    return values * (maxval - minval) + minval


def _normal(
    draws: Draws,
    draw: _Draw,
    shape: Shape,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_drawn(shape, seed):
        return draw(shape, mean, stddev, dtype=dtype, seed=seed)
    numbers = _draw_normals(draws, shape, seed)
    values = keras.ops.convert_to_tensor(numbers, dtype or keras.config.floatx())
    return values * stddev + mean


def _truncated_normal(
    draws: Draws,
    draw: _Draw,
    shape: Shape,
    mean: Any = 0.0,
    stddev: Any = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    if not _is_drawn(shape, seed):
        return draw(shape, mean, stddev, dtype=dtype, seed=seed)
    numbers = _draw_normals(draws, shape, seed).clip(-2, 2)
    values = keras.ops.convert_to_tensor(numbers, dtype or keras.config.floatx())
    return values * stddev + mean


def _randint(
    draws: Draws,
    draw: _Draw,
    shape: Shape,
    minval: Any,
    maxval: Any,
    dtype: Any = "int32",
    seed: Any = None,
) -> Tensor:
    if not _is_drawn(shape, seed):
        return draw(shape, minval, maxval, dtype=dtype, seed=seed)
    values = keras.ops.convert_to_tensor(_draw_uniforms(draws, shape, seed), "float32")
    return keras.ops.cast(keras.ops.floor(values * (maxval - minval)) + minval, dtype)


def _dropout(
    draws: Draws,
    draw: _Draw,
    inputs: Tensor,
    rate: float,
    noise_shape: Any = None,
    seed: Any = None,
) -> Tensor:
    shape = tuple(inputs.shape)
    if noise_shape is not None:
        shape = tuple(
            own if length is None else length
            for own, length in zip(shape, noise_shape, strict=True)
        )
    if not _is_drawn(shape, seed):
        return draw(inputs, rate, noise_shape=noise_shape, seed=seed)
    is_kept = keras.ops.convert_to_tensor(_draw_uniforms(draws, shape, seed) >= rate)
    zeros = keras.ops.zeros_like(inputs)
    if rate >= 1:
        return zeros
    return keras.ops.where(is_kept, inputs / (1 - rate), zeros)
