"""One trial of restarts: train a draw from one epoch to another, and keep its state for the next stage."""

from typing import Any

import keras

from keras_initx.studies import _state
from keras_initx.studies._folder import Folder
from keras_initx.studies._log import DamagedFileError, RecordError
from keras_initx.studies._metric import BuildError
from keras_initx.studies._plan import Run, StagePlan
from keras_initx.studies._reuse import compiled_once
from keras_initx.studies._seeds import isolated_rng
from keras_initx.studies._training import build_like_fit, diverged, train_epoch
from keras_initx.studies._types import Arrays, Build, Model, OnEpoch, Status
from keras_initx.studies._untrained import before_training, new_model


def run_stage(run: Run, build: Build, plan: StagePlan, on_epoch: OnEpoch | None = None) -> None:
    """Train a draw from one epoch to another and record it. Exceptions are recorded too.

    Args:
        run: The parameters that all trials share.
        build: See `random_restarts`.
        plan: The stage.
        on_epoch: Function to call after each epoch.

    Raises:
        BuildError: If the trial could not be compared with others.
        RecordError: If a record does not reach the disk.
    """
    folder = Folder(run.path)
    with isolated_rng(), folder.begin(plan.key) as log:
        try:
            with compiled_once(initial(build, plan.draw_seed)) as model:
                if plan.previous:
                    restore(model, run.data, read_state(folder, plan.previous))
                else:
                    log.write(event="epoch", **before_training(model, run))
                status: Status = "finished"
                result: dict[str, Any] = {}
                for epoch in range(plan.begin + 1, plan.end + 1):
                    metrics = train_epoch(model, run.data, epoch, run.batch_size, plan.order_seed)
                    log.write(event="epoch", metrics={"epoch": epoch, **metrics})
                    if on_epoch:
                        on_epoch()
                    if diverged(metrics):
                        status = "diverged"
                        break
                if plan.keep_state:
                    content = _state.state(model)
                    result["state"] = _state.digest(content)
                    folder.keep(_state_file(plan.key, result["state"]), content)
                log.write(event="end", status=status, **result)
        except (BuildError, RecordError):
            raise
        except Exception as error:
            log.fail(error)


def initial(build: Build, seed: int) -> Model:
    """Return the untrained model of a draw."""
    keras.utils.set_random_seed(seed)
    return new_model(build)


def restore(model: Model, data: Arrays, state: bytes) -> None:
    """Restore a training state of a draw into its model."""
    build_like_fit(model, data)
    _state.restore(model, state)


def read_state(folder: Folder, key: str) -> bytes:
    """Return the final state of a stage.

    Raises:
        DamagedFileError: If the file is missing or damaged.
    """
    digest = folder.trial(key).end["state"]
    path = folder.path / "trials" / _state_file(key, digest)
    if not path.exists() or _state.digest(content := path.read_bytes()) != digest:
        raise DamagedFileError(f"{path} is missing or damaged")
    return content


def _state_file(key: str, digest: str) -> str:
    """Return a file name that depends on the content, because two runs in one folder may differ in the last bits."""
    return f"{key}.{digest[:16]}.state"
