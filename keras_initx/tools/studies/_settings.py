"""What all studies take of their user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keras_initx._checks import check_count, check_seed, check_type, is_integer
from keras_initx._received import show
from keras_initx.tools.studies._data import checked_data
from keras_initx.tools.studies._metric import check_monitor
from keras_initx.tools.studies._types import CheckedData, DataLike, Mode


@dataclass(frozen=True)
class Settings:
    """The checked arguments that all studies have, see `compare_initializers`."""

    data: CheckedData
    epochs: int
    batch_size: int
    seed: int
    n_jobs: int
    out: str | Path | None
    title: str | None
    monitor: str | None
    mode: Mode

    @classmethod
    def checked(
        cls,
        data: DataLike,
        *,
        epochs: int,
        batch_size: int,
        seed: int,
        n_jobs: int,
        out: str | Path | None,
        title: str | None,
        monitor: str | None,
        mode: Mode,
    ) -> Self:
        """Check arguments, and return them.

        Raises:
            TypeError: If one has the wrong type.
            ValueError: If one is invalid.
        """
        arrays = checked_data(data)
        check_monitor(monitor, mode)
        check_type("title", title, str | None, "a string or `None`")
        check_type("seed", check_seed(seed), int, "an integer, from which all others are derived")
        required = f"`n_jobs` must be an integer other than 0. Received: n_jobs={show(n_jobs)}"
        if not is_integer(n_jobs):
            raise TypeError(required)
        if n_jobs == 0:
            raise ValueError(required)
        # JSON has no integers of NumPy.
        epochs = int(check_count("epochs", epochs))
        batch_size = int(check_count("batch_size", batch_size))
        return cls(arrays, epochs, batch_size, int(seed), n_jobs, out, title, monitor, mode)
