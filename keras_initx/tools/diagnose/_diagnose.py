"""The function `diagnose`: check its arguments, measure the model, and evaluate the rules."""

import warnings
from collections.abc import Sequence

import keras

from keras_initx._checks import check_choice, check_count, check_type
from keras_initx._keras import has_call
from keras_initx.inspection._batch import Batch, Data, first_examples, make_batch
from keras_initx.inspection._build import run_with_built_layers
from keras_initx.inspection._inventory import Inventory, check_unshared, check_used
from keras_initx.report._terminal import Verbose, show_status, takes_verbose
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._report import DiagnosisReport, report_of
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
    """Run a batch through `model` and report problems caused by its weights.

    Each problem comes with its location and a remedy.

    The model runs in training mode: dropout is active, and batch normalization uses batch
    statistics instead of its initial moving averages. The output of each layer is reduced to a few
    statistics at once and not stored, unless it is one of the model and has targets. With `y`,
    there is a second forward pass and a backward pass, which keep the outputs of all layers in
    memory, as in training, but of each gradient only its norm; where layers or regularizers add to
    the loss, up to two more of both. Weights are measured in blocks, without a copy of the whole.
    Weights, other state, plain attributes of layers and random generators are left unchanged. Until
    it returns, no other thread may call the model.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: What `fit` takes: inputs of `model`, as an array or a list or dict of arrays, or a
            dataset, of which the first batch is used; a generator does not yield it again, and a
            `tf.data.Dataset` that shuffles is one pass further. Also a batch `(x, y)`. Preprocess
            inputs as for training.
        y: Targets, unless `x` has them. With targets, gradients are measured too, and the loss of
            each output is compared with that of a blind guess.
        loss: A loss as in `compile`: a name, a `keras.losses.Loss`, a function of targets and
            outputs, or a list or dict of them, one for each output. It is computed as in training;
            a loss without a reduction counts with its mean. By default the loss that `model` is
            compiled with, or that of its own `compute_loss`.
        batch_size: Number of examples to use, taken from the start of `x`.
        steps: Number of steps of training to take on the batch, with the optimizer that `model` is
            compiled with, as from its start. What layers write goes from step to step, as in
            `fit`, and is put back with the weights. They show a rate that is too large, a NaN of a
            later step, and weights that stay as they are; where a rate fails, some others are
            tried. A step of a model with a `train_step` of its own is not this one. They need `y`
            unless the model is fitted without, as `fit(x)`.
        ignore: Names of problems that are not reported, such as `("large first loss",)`. What they
            are the cause of is not reported either.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        A `DiagnosisReport`, which `print` shows as a table. `rows` has the statistics, `verdicts`
        the problems, and `ok` is true if there are no errors or warnings.

    Raises:
        NotImplementedError: If `y` is given and the backend has no gradients.
        TypeError: If `model` is not a Keras model, or `x` or `y` is not a dense array of numbers
            (`x` also of strings), or has complex values or a mask.
        ValueError: If `x` is empty, does not fit to the inputs of `model` or has another length
            than `y`, `y` is given though `x` has targets, `loss` is missing or unknown, `ignore`
            has a name of no problem, an argument is out of range, or on JAX other processes hold
            parts of the weights.

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
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_call(model)
    check_options(loss=loss, batch_size=batch_size, ignore=ignore)
    if check_count("steps", steps, least=0):
        check_optimizer(model)
    batch = without_weights(make_batch(model, x, y), level=4)  # `takes_verbose` is one call more
    if steps and loss is not None and batch.y is None:
        raise ValueError(
            f"`steps` needs `y`, the targets of `loss`. Received: loss={loss!r} without `y`"
        )
    return measured(model, batch, loss, batch_size, steps=steps, ignore=ignore)


def measured(
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
        # Once it is built: before, Keras has parameters that are none of it.
        inventory = Inventory(model)
        check_used("model", inventory)
        check_unshared("model", inventory)
        with show_status() as show:
            of = Diagnosis(
                inventory, x, y, loss=loss, steps=steps, is_trained=is_trained, progress=show
            )
            with of.measured(PROBES):
                verdicts = [one for one in evaluate(of, RULES) if one.problem not in ignore]
                return report_of(of, verdicts)

    return run_with_built_layers(model, x, run)


def check_call(model: keras.Model) -> None:
    """Raise `ValueError` if a model has no `call`, as one whose `train_step` trains others."""
    if has_call(model):
        return
    inner = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    raise ValueError(
        "`model` must have a `call`: pass one of the models that it trains, with its own inputs, "
        "targets and loss, as in `diagnose(model.discriminator, x, y, loss=...)`. Received: model "
        f"of type {type(model).__name__}, which has no `call`, and holds the models {inner}"
    )


def without_weights(batch: Batch, level: int = 3) -> Batch:
    """Return `batch` without sample weights, with a warning if it has any.

    Args:
        batch: The batch.
        level: How many calls above is the line of the user, which the warning names.
    """
    if batch.sample_weight is not None:
        warnings.warn("the sample weights are ignored: all examples count alike", stacklevel=level)
    return batch._replace(sample_weight=None)


def check_options(
    loss: LossLike | None = None,
    batch_size: int = 1024,
    ignore: Sequence[str] = (),
) -> None:
    """Check the keyword arguments of `diagnose`. Errors are those of `diagnose`."""
    check_count("batch_size", batch_size)
    check_loss(loss)
    for problem in check_type("ignore", ignore, list | tuple, "a list of names"):
        check_choice("ignore", problem, [rule.problem for rule in RULES])
