"""One stage of restarts: train a draw from one epoch to another, and keep its state for the next stage."""

import keras

from keras_initx.studies import _state
from keras_initx.studies._folder import Folder
from keras_initx.studies._log import DamagedFileError, RecordError
from keras_initx.studies._monitor import MonitorError, check_monitor
from keras_initx.studies._seeds import alone
from keras_initx.studies._training import build_like_fit, diverged, judge, train_epoch


def run_stage(key, path, build, data, batch_size, before, draw, order, begin, end, keep, monitor=None, on_epoch=None):
    """Train a draw from one epoch to another and record it, whatever happens.

    Args:
        key: Name of the trial in the folder.
        path: Path of the folder.
        build: See `restarts`.
        data: See `restarts`.
        batch_size: See `restarts`.
        before: Name of the trial that this goes on from, or `None`.
        draw: Seed of the draw.
        order: Seed of the examples' order.
        begin: Number of epochs that it has been trained for.
        end: Number of epochs that it will have been trained for.
        keep: Whether to keep the state at the end.
        monitor: See `restarts`.
        on_epoch: Function to call after each epoch.

    Raises:
        MonitorError: If the model has no figure called `monitor`.
        RecordError: If a record does not reach the disk.
    """
    folder = Folder(path)
    with alone(), folder.begin(key) as log:
        try:
            if before:
                model = restored(build, draw, data, read_state(folder, before))
            else:
                model = _initial(build, draw)
                figures = judge(model, data)
                check_monitor(monitor, figures)
                log.write(event="epoch", figures={"epoch": 0, **figures})
            status, result = "finished", {}
            for epoch in range(begin + 1, end + 1):
                figures = train_epoch(model, data, epoch, batch_size, order)
                log.write(event="epoch", figures={"epoch": epoch, **figures})
                if on_epoch:
                    on_epoch()
                if diverged(figures):
                    status = "diverged"
                    break
            if keep:
                content = _state.state(model)
                result["state"] = _state.digest(content)
                folder.keep(_state_file(key, result["state"]), content)
            log.write(event="end", status=status, **result)
        except (MonitorError, RecordError):
            raise
        except Exception as error:
            log.fail(error)


def _initial(build, seed):
    keras.utils.set_random_seed(seed)
    return build()


def restored(build, seed, data, state):
    """Return the model of a draw with all that it had learned."""
    model = _initial(build, seed)
    build_like_fit(model, data)
    _state.restore(model, state)
    return model


def read_state(folder, key):
    """Return the state at the end of a stage.

    Raises:
        DamagedFileError: If the file is missing, or not as it was written.
    """
    digest = folder.trial(key).end["state"]
    path = folder.path / "trials" / _state_file(key, digest)
    if not path.exists() or _state.digest(content := path.read_bytes()) != digest:
        raise DamagedFileError(f"{path} is missing, or not as it was written")
    return content


def _state_file(key, digest):
    """Return the name of a state's file, by its content: two runs in one folder may differ in the last bits."""
    return f"{key}.{digest[:16]}.state"
