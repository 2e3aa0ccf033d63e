"""One trial of a comparison: train a model with one initializer, and record it."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_initx.initializers._seeding import derived_seed
from keras_initx.studies._first_batch import diagnose_first_batch
from keras_initx.studies._folder import Folder
from keras_initx.studies._log import RecordError
from keras_initx.studies._metric import BuildError
from keras_initx.studies._plan import Run, TrialPlan
from keras_initx.studies._reuse import compiled_once
from keras_initx.studies._seeds import isolated_rng, seeded
from keras_initx.studies._training import diverged, train_epoch
from keras_initx.studies._types import BuildWith, OnEpoch, Status
from keras_initx.studies._untrained import before_training, new_model


def run_trial(
    run: Run,
    build: BuildWith,
    initializers: Mapping[str, Any],
    epochs: int,
    diagnosis: bool,
    plan: TrialPlan,
    on_epoch: OnEpoch | None = None,
) -> None:
    """Train one model and record it. Exceptions are recorded too.

    Args:
        run: The parameters that all trials share.
        build: See `compare_initializers`.
        initializers: The initializers by name.
        epochs: Number of epochs.
        diagnosis: Whether to diagnose the first batch.
        plan: The trial.
        on_epoch: Function to call after each epoch.

    Raises:
        BuildError: If the trial could not be compared with others.
        RecordError: If a record does not reach the disk.
    """
    with isolated_rng(), Folder(run.path).begin(plan.key) as log:
        try:
            # Before the global seed is set, so that the draws of `build` do not depend on the initializer.
            initializer = seeded(initializers[plan.initializer], derived_seed(plan.seed, "draw"))
            keras.utils.set_random_seed(derived_seed(plan.seed, "build"))
            with compiled_once(new_model(build, initializer)) as model:
                order = derived_seed(plan.seed, "train")
                status: Status = "finished"
                record, epoch = before_training(model, run), 0
                if diagnosis:
                    found = diagnose_first_batch(model, run.data, run.batch_size, order)
                    log.write(event="first batch", diagnosis=found)
                while True:
                    log.write(event="epoch", **record)
                    if epoch and on_epoch:
                        on_epoch()
                    if diverged(record["metrics"]):
                        status = "diverged"
                    if status == "diverged" or epoch == epochs:
                        break
                    epoch += 1
                    metrics = train_epoch(model, run.data, epoch, run.batch_size, order)
                    record = {"metrics": {"epoch": epoch, **metrics}}
                log.write(event="end", status=status)
        except (BuildError, RecordError):
            raise
        except Exception as error:
            log.fail(error)
