"""The command `list`: print the catalog of initializers."""

import argparse
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from keras_initx.rendering._table import Column, Table
from keras_initx.rendering._terminal import is_rich

if TYPE_CHECKING:
    from keras_initx.initializers import CatalogEntry

_DESCRIPTION: "tuple[Column[CatalogEntry], ...]" = (
    Column("values", lambda entry: entry.formula, is_text=True),
    Column("when to use it", lambda entry: entry.use, is_text=True),
)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "list",
        help="list all initializers",
        description="List all initializers: the string ids for layers, the class, a formula for the values, and "
        "when to use them.",
    )
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import keras_initx

    entries = keras_initx.catalog()
    sys.stdout.write(markdown(entries)) if arguments.markdown else write(entries)
    return 0


def table(entries: "Iterable[CatalogEntry]", quote: str = "") -> Table:
    """Return the table of `entries`, with `quote` around code."""
    columns: tuple[Column[CatalogEntry], ...] = (
        Column("id", lambda entry: ", ".join(f"{quote}{name}{quote}" for name in entry.ids), is_text=True),
        Column("class", lambda entry: f"{quote}{entry.cls.__name__}{quote}", is_text=True),
        *_DESCRIPTION,
    )
    return Table.of(columns, entries)


def markdown(entries: "Iterable[CatalogEntry]") -> str:
    """Return the table for the README and the documentation."""
    return table(entries, "`").as_markdown()


def write(entries: "Iterable[CatalogEntry]") -> None:
    """Write the table to standard output: wrapped on a terminal, otherwise in plain aligned columns."""
    if not is_rich(sys.stdout):
        sys.stdout.write(table(entries).as_text())
        return
    from rich.console import Console

    # The class is below its ids, so that the table fits 80 columns.
    names: Column[CatalogEntry] = Column(
        "id, class", lambda entry: "\n".join((*entry.ids, entry.cls.__name__)), is_text=True
    )
    Console().print(Table.of((names, *_DESCRIPTION), entries).as_rich(leading=1))
