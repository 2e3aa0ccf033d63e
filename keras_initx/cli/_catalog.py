"""The commands `list`, the catalog of initializers, and `show`, one of them with a sample."""

import argparse
import inspect
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_initx.initializers._initializer import (
    CatalogEntry,
    ConstantInitializer,
    Initializer,
    catalog,
)
from keras_initx.report._figures import choose_color, new_figure, save_figure, tidy
from keras_initx.report._table import Column, Table
from keras_initx.report._terminal import line_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A sample has the first of these shapes that the initializer supports: a kernel, a square kernel, a
# bias (also of an LSTM or a GRU), a GRU bias with two rows, a convolution kernel.
SHAPES = ((256, 128), (128, 128), (384,), (2, 384), (3, 3, 64, 64))
# The values are copied several times, in float64 too. With memory overcommit, a process that takes
# too much is killed without a message.
_MAX_ELEMENTS = 2**26
# In a plot: up to this many distinct values are shown as bars, others in a histogram with this many
# bins.
_FEW = 8
_BINS = 60


def list_(_parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `list`: print the catalog, by family."""
    if arguments.markdown:
        sys.stdout.write(catalog().table("`").as_markdown())
    else:
        sys.stdout.write(write_families())
    return 0


# The class is below its ids, so that the table fits a terminal.
_COLUMNS: list[Column[CatalogEntry]] = [
    Column("id, class", lambda entry: "\n".join((*entry.ids, entry.cls.__name__)), is_text=True),
    Column("values", lambda entry: entry.formula, is_text=True),
    Column("when to use it", lambda entry: _drop_backticks(entry.use), is_text=True),
]


def write_families() -> str:
    """Write the catalog as text, with a table for each family."""
    parts = []
    for title, entries in list_families():
        table = Table.fitted(_COLUMNS, entries, line_width())
        parts.append(f"{title}\n\n{table.as_text()}")
    return "\n".join(parts)


def _drop_backticks(text: str) -> str:
    return text.replace("`", "")


def list_families() -> list[tuple[str, list[CatalogEntry]]]:
    """List the title of each family, the first word of its files, and its entries.

    The largest come first.
    """
    entries: dict[str, list[CatalogEntry]] = {}
    for entry in catalog().values():
        _, _, file = entry.cls.__module__.rpartition("._")
        word, _, _ = file.partition("_")
        entries.setdefault(word.capitalize(), []).append(entry)
    return sorted(entries.items(), key=lambda family: (-len(family[1]), family[0]))


def show(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run `show`: print the documentation of an initializer and statistics of a sample."""
    (entry,) = (entry for entry in catalog().values() if entry.cls.__name__ == arguments.name)
    sys.stdout.write(_write_documentation(entry))
    sys.stdout.flush()  # before any error

    options = (arguments.config, arguments.shape, arguments.seed, arguments.plot)
    required = _list_required_arguments(entry)
    if required and all(option is None for option in options):
        example = ", ".join(f'"{name}": ...' for name in required)
        sys.stdout.write(
            f"\nFor a sample, pass the required arguments:\n  --config '{{{example}}}'\n"
        )
        return 0
    try:
        config = arguments.config or {}
        initializer, values = _sample(entry.cls, config, arguments.shape, arguments.seed or 0)
    except (MemoryError, OSError, TypeError, ValueError) as error:
        parser.error(
            f"no sample of {entry.cls.__name__}: {error}\n"
            "use --config to set arguments, --shape to set the shape"
        )
    sys.stdout.write(f"\n{_format_sample(initializer, values)}")
    if arguments.plot:
        try:
            _plot(arguments.plot, initializer, values)
        except (OSError, ValueError) as error:
            parser.error(f"cannot plot: {error}")
    return 0


def _write_documentation(entry: CatalogEntry) -> str:
    parameters = inspect.signature(entry.cls).parameters.values()
    # Without types, which the docstring describes in words.
    untyped = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    about = (
        ("ids", ", ".join(entry.ids)),
        ("class", f"keras_initx.{entry.cls.__name__}{inspect.Signature(untyped)}"),
        ("values", entry.formula),
        ("use", _drop_backticks(entry.use)),
    )
    table = Table((), about, are_text=(True, True)).wrapped(line_width())
    return f"{table.as_text()}\n{_wrap_docstring(inspect.getdoc(entry.cls) or '', line_width())}\n"


def _wrap_docstring(docstring: str, width: int) -> str:
    """Wrap a docstring for a terminal: in lines of `width` characters, without backticks.

    Examples stay as they are. Each line of a list of arguments or errors that is not indented
    further begins an entry.
    """
    lines: list[str] = []
    for paragraph in docstring.split("\n\n"):
        title, _, rest = paragraph.partition("\n")
        if title == "Example:":
            lines += [paragraph, ""]
            continue
        if rest.startswith("    "):
            lines.append(title)
            texts = re.split(r"\n    (?=\S)", f"\n{rest}")[1:]
            indents = (4, 8) if title != "Reference:" else (4, 4)
        else:
            texts, indents = [paragraph], (0, 0)
        for text in texts:
            first, further = (" " * indent for indent in indents)
            plain = " ".join(_drop_backticks(text).split())
            lines += textwrap.wrap(
                plain,
                width,
                initial_indent=first,
                subsequent_indent=further,
                break_long_words=False,
                break_on_hyphens=False,
            )
        lines.append("")
    return "\n".join(lines[:-1])


def _list_required_arguments(entry: CatalogEntry) -> list[str]:
    parameters = inspect.signature(entry.cls).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def _sample(
    cls: type[Initializer], config: dict[str, Any], shape: tuple[int, ...] | None, seed: int
) -> tuple[Initializer, np.ndarray]:
    """Create an initializer and draw a sample.

    Args:
        cls: Class of the initializer.
        config: Dict of its arguments.
        shape: Shape of the sample, or `None` for the first suitable one.
        seed: The seed to use if `cls` takes one and `config` has none.

    Returns:
        The initializer, and its values as a float32 array.

    Raises:
        OSError: If the initializer cannot read its file.
        TypeError: If an argument is missing or has the wrong type.
        ValueError: If an argument or the shape is invalid for the initializer, or the shape is too
            large.
    """
    if shape and math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError(
            f"`shape` must have at most {_MAX_ELEMENTS} elements, {_format_size(_MAX_ELEMENTS)} of "
            f"float32. Received: shape={shape}, {_format_size(math.prod(shape))}"
        )
    if "seed" in inspect.signature(cls).parameters:
        config = {"seed": seed, **config}
    initializer = cls.from_config(config)
    shapes: Sequence[tuple[int, ...]] = SHAPES
    if shape:
        shapes = [shape]
    elif isinstance(initializer, ConstantInitializer):
        # Random values are mostly for kernels. Constants are mostly for biases, but would also fill
        # a kernel.
        shapes = sorted(SHAPES, key=len)
    errors = []
    for tried in shapes:
        try:
            tensor = initializer(tried, "float32")
            return initializer, np.asarray(keras.ops.convert_to_numpy(tensor))
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _format_size(elements: int) -> str:
    """Format the size of this many float32 elements."""
    return f"{4 * elements / 2**30:.4g} GiB"


def _format_sample(initializer: Initializer, values: np.ndarray) -> str:
    rows = {
        "sample of": repr(initializer),
        "shape": str(values.shape),
        "mean": f"{values.mean(dtype='float64'):.4g}",
        "std": f"{values.std(dtype='float64'):.4g}",
        "min": f"{values.min():.4g}",
        "max": f"{values.max():.4g}",
        "zeros": f"{np.mean(values == 0):.2%}",
    }
    return Table((), tuple(rows.items()), are_text=(True, True)).as_text()


def _plot(path: str, initializer: Initializer, values: np.ndarray) -> None:
    """Plot the distribution of `values`.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If its suffix is not a supported format.
    """
    from matplotlib.ticker import PercentFormatter

    title = textwrap.fill(repr(initializer), 65)
    figure = new_figure(f"{title}\nshape {values.shape}", size=(6, 4.2))
    axis = figure.subplots()
    _plot_values(axis, values, choose_color(type(initializer).__name__))
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    tidy([axis], axis="y")
    save_figure(figure, path)


def _plot_values(axis: "Axes", values: np.ndarray, color: str) -> None:
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW:
        shares = counts / values.size
        names = [f"{value:.6g}" for value in distinct]
        bars = axis.bar(names, shares, width=0.5, color=color)
        axis.bar_label(bars, [f"{share:.1%}" for share in shares], padding=2)
        axis.set_title("Values", fontsize=10)
        axis.set(xlabel="value", ylabel="fraction of all entries")
        axis.set(xlim=(-0.75, len(distinct) - 0.25), ylim=(0, 1.1), yticks=np.linspace(0, 1, 6))
        return
    title = "Values"
    shown = values.astype("float64").ravel()
    # A single frequent value would hide all others.
    zeros = np.mean(shown == 0)
    if zeros > 0.01:
        title = f"Values other than zero ({1 - zeros:.1%} of all)"
        shown = shown[shown != 0]
    axis.hist(shown, _BINS, weights=np.full(shown.size, 1 / values.size), color=color)
    moments = f"mean {shown.mean():.2g}, standard deviation {shown.std():.3g}"
    axis.set_title(f"{title}\n{moments}", fontsize=10)
    axis.set(xlabel="value", ylabel=f"share of all entries, in each of {_BINS} bins")
