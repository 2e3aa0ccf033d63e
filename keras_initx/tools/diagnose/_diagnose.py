"""The function `diagnose`: check its arguments, measure the model, and evaluate the rules."""

import warnings
from collections.abc import Sequence

import keras

from keras_initx._checks import check_choice, check_count, check_type
from keras_initx._keras import has_call
from keras_initx._received import show
from keras_initx.inspection._batch import Batch, Data, first_examples, make_batch
from keras_initx.inspection._build import run_with_built_layers
from keras_initx.inspection._inventory import Inventory, check_unshared, check_used
from keras_initx.report._terminal import Verbose, show_status, takes_verbose
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._report import DiagnosisReport, make_report
from keras_initx.tools.diagnose._rules import evaluate
from keras_initx.tools.diagnose._steps import check_optimizer
from keras_initx.tools.diagnose.losses.known import LossLike
from keras_initx.tools.diagnose.losses.training import check_loss
from keras_initx.tools.diagnose.verdicts import PROBES, RULES


@takes_verbose
def diagnose(
    model: keras.Model,
    x: Data,
    y: Data | None = None,
    *,
    loss: LossLike | None = None,
    batch_size: int = 1024,
    steps: int = 0,
    ignore: Sequence[str] = (),
    verbose: Verbose = "auto",
) -> DiagnosisReport:
    """Run a batch through your model, and report why it will not learn, with remedies.

    Use it before your first `fit`, or when training fails. It changes nothing: weights, other
    state, plain attributes of layers and random generators are as before. Do not call your model in
    another thread until `diagnose` returns.

    - The model runs in training mode. Dropout is active, and batch normalization uses the
      statistics of the batch.
    - `diagnose` reduces the output of each layer to a few statistics at once.
    - If you pass `y`, it makes a second forward pass and a backward pass. These keep the outputs of
      all layers in memory, like training, and only the norm of each gradient. If layers or
      regularizers add to the loss, it makes up to two more of both.
    - It measures weights in blocks, without a copy of the whole.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs, preprocessed as for training. One of:

            - an array, or a list or dict of arrays,
            - a batch `(x, y)`,
            - a dataset. `diagnose` uses the first batch. A generator loses this batch, and a
              `tf.data.Dataset` that shuffles is one pass further.
        y: Targets, unless `x` has them. With targets, you also get gradients, and each output's
            loss compared with a blind guess.
        loss: A loss, by default the one of the compiled model or of its `compute_loss`. A loss
            without a reduction counts with its mean. One of:

            - a name, or a `keras.losses.Loss`,
            - a function of targets and outputs,
            - a list or dict of these, one for each output.
        batch_size: Number of examples to use, taken from the start of `x`.
        steps: Number of training steps to take on the batch, with a fresh copy of the optimizer.
            They show a rate that is too large, a later NaN, and weights that do not change. They
            need `y`, unless you call `fit(x)`, and cannot follow a `train_step` of your own.
        ignore: Names of problems that you do not want to see, such as `("large first loss",)`.
            Their effects are hidden, too.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `DiagnosisReport`, which prints as a table. `rows` has the statistics, `verdicts` the
        problems, and `ok` is true if there are no errors and no warnings.

    Raises:
        NotImplementedError: If `y` is given and the backend has no gradients.
        TypeError: If `model` is not a Keras model, or `x` or `y` is not a dense array of numbers
            (`x` also of strings), or has complex values or a mask.
        ValueError: If `x` is empty, does not fit the inputs of `model`, or has another length than
            `y`. If you pass `y` and `x` has targets, `loss` is missing or unknown, `ignore` has a
            name that is not a problem, or an argument is out of range. On JAX, if other processes
            hold parts of the weights.

    Example:
        >>> from keras_initx import SmallNormal
        >>> model = keras.Sequential([keras.Input((100,))])
        >>> for _ in range(5):
        ...     kernel = SmallNormal()
        ...     model.add(keras.layers.Dense(100, "tanh", kernel_initializer=kernel))
        >>> report = diagnose(model, keras.random.normal((200, 100)))
        >>> [verdict.problem for verdict in report.verdicts]
        ['vanishing']
        >>> report.rows[-1].after.std < 1e-3
        True

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010, for the means and deviations of activations and gradients by layer.

    See Also:
        `SignalMonitor` diagnoses your model in training, and `initialize(model, report)` applies a
        remedy. The page "Diagnose a model" explains all problems.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_call(model)
    check_options(loss=loss, batch_size=batch_size, ignore=ignore)
    if check_count("steps", steps, least=0):
        check_optimizer(model)
    # `takes_verbose` is one call more.
    batch = drop_sample_weights(make_batch(model, x, y), level=4)
    if steps and loss is not None and batch.y is None:
        raise ValueError(
            f"`steps` needs `y`, the targets of `loss`. Received: loss={show(loss)} and y=None"
        )
    return run_diagnosis(model, batch, loss, batch_size, steps=steps, ignore=ignore)


def run_diagnosis(
    model: keras.Model,
    batch: Batch,
    loss: LossLike | None,
    batch_size: int,
    *,
    steps: int = 0,
    ignore: Sequence[str] = (),
    is_trained: bool = False,
) -> DiagnosisReport:
    """Return the report of `diagnose`, whose arguments are checked.

    Args:
        model: See `diagnose`.
        batch: Inputs and targets.
        loss: See `diagnose`.
        batch_size: See `diagnose`.
        steps: See `diagnose`.
        ignore: See `diagnose`.
        is_trained: Whether the weights have been trained, see `Diagnosis`.
    """
    x = first_examples(batch.x, batch_size)
    y = None if batch.y is None else first_examples(batch.y, batch_size)

    def run() -> DiagnosisReport:
        # After building: before, Keras has parameters that the model does not have later.
        inventory = Inventory(model)
        check_used("model", inventory)
        check_unshared("model", inventory)
        with show_status() as show:
            diagnosis = Diagnosis(
                inventory, x, y, loss=loss, steps=steps, is_trained=is_trained, progress=show
            )
            with diagnosis.measured(PROBES):
                verdicts = evaluate(diagnosis, RULES)
                verdicts = [verdict for verdict in verdicts if verdict.problem not in ignore]
                return make_report(diagnosis, verdicts)

    return run_with_built_layers(model, x, run)


def check_call(model: keras.Model) -> None:
    """Raise `ValueError` if a model has no `call`, such as a GAN that trains other models."""
    if has_call(model):
        return
    inner = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    raise ValueError(
        "`model` must have a `call`: pass one of the models that it trains, with its own inputs, "
        "targets and loss, for example `diagnose(model.discriminator, x, y, loss=...)`. Received: "
        f"model of type {type(model).__name__}, which has no `call`, and holds the models {inner}"
    )


def drop_sample_weights(batch: Batch, level: int = 3) -> Batch:
    """Return `batch` without sample weights, with a warning if it has any.

    Args:
        batch: The batch.
        level: The number of calls between here and the line of the user, which the warning names.
    """
    if batch.sample_weight is not None:
        warnings.warn(
            "the sample weights are ignored: all examples count equally", stacklevel=level
        )
    return batch._replace(sample_weight=None)


def check_options(
    loss: LossLike | None = None,
    batch_size: int = 1024,
    ignore: Sequence[str] = (),
) -> None:
    """Check keyword arguments of `diagnose`, and raise its errors."""
    check_count("batch_size", batch_size)
    check_loss(loss)
    for problem in check_type("ignore", ignore, list | tuple, "a list of names"):
        check_choice("ignore", problem, [rule.problem for rule in RULES])
