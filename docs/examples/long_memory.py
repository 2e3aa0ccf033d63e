"""Train LSTMs or GRUs with several biases of the gates, on a task that needs a long memory.

`KERAS_BACKEND=jax python docs/examples/long_memory.py recall`, the same with `adding`, and both
with `--layer gru`; it needs the extra `plot`.
"""

from dataclasses import dataclass
from typing import Any

import keras_initx

import _figures
import keras
import numpy as np
from matplotlib.ticker import MaxNLocator

# Each layer with its bias initializer, the number of its gates, and further arguments.
LAYERS = {
    "lstm": (keras.layers.LSTM, keras_initx.LSTMForgetBias, 4, {"unit_forget_bias": False}),
    "gru": (keras.layers.GRU, keras_initx.GRUUpdateBias, 3, {}),
}
# Biases, and whether the recurrent kernel is orthogonal for each gate or, as in Keras, as a whole.
STARTS = {
    "0": (0.0, True),
    "1": (1.0, True),
    "1, whole": (1.0, False),
    "2": (2.0, True),
    "chrono": (None, True),
}


def recall(count, steps, draws):
    """Return sequences of noise, and signs as 0 and 1.

    The first step of a sequence has its sign as a second input.
    """
    inputs = np.zeros((count, steps, 2), "float32")
    signs = draws.integers(0, 2, count)
    inputs[:, 0, 0] = 2 * signs - 1
    inputs[:, :, 1] = draws.normal(size=(count, steps))
    return inputs, signs[:, None].astype("float32")


def adding(count, steps, draws):
    """Return sequences of numbers, one marked in each half, and the sums of the two marked."""
    inputs = np.zeros((count, steps, 2), "float32")
    inputs[:, :, 0] = draws.uniform(size=(count, steps))
    rows = np.arange(count)
    places = draws.integers(0, steps // 2, count), draws.integers(steps // 2, steps, count)
    for place in places:
        inputs[rows, place, 1] = 1
    return inputs, sum(inputs[rows, place, 0] for place in places)[:, None]


@dataclass(frozen=True)
class Task:
    """A task and its network.

    A loss of `guess` means nothing learned, a loss below `solved` means solved.
    """

    data: Any
    steps: int
    count: int
    units: int
    rate: float
    activation: str | None
    loss: str
    guess: float
    solved: float


TASKS = {
    "recall": Task(
        recall,
        100,
        2048,
        16,
        0.003,
        "sigmoid",
        "binary_crossentropy",
        guess=float(np.log(2)),
        solved=0.1,
    ),
    "adding": Task(adding, 60, 6400, 32, 0.005, None, "mse", guess=1 / 6, solved=0.01),
}


def train(task, layer, start, seed, epochs):
    """Return the loss on test data after each epoch."""
    cls, gate_bias, gates, options = LAYERS[layer]
    value, by_gate = start
    bias = (
        keras_initx.ChronoBias(task.steps, seed=10 * seed + 2)
        if value is None
        else gate_bias(value)
    )
    draws = np.random.default_rng(seed)
    train_set, test_set = (
        task.data(task.count, task.steps, draws),
        task.data(500, task.steps, draws),
    )
    recurrent = cls(
        task.units,
        kernel_initializer=keras_initx.GlorotUniform(seed=10 * seed),
        recurrent_initializer=keras_initx.Orthogonal(
            blocks=gates if by_gate else 1, seed=10 * seed + 1
        ),
        bias_initializer=bias,
        **options,
    )
    output = keras.layers.Dense(
        1, task.activation, kernel_initializer=keras_initx.GlorotUniform(seed=10 * seed + 3)
    )
    model = keras.Sequential([keras.Input((task.steps, 2)), recurrent, output])
    model.compile(keras.optimizers.Adam(task.rate), task.loss)
    keras.utils.set_random_seed(seed)  # the order of the examples
    history = model.fit(
        *train_set,
        batch_size=64,
        epochs=epochs,
        verbose=0,
        validation_data=test_set,
        validation_batch_size=500,
    )
    return history.history["val_loss"]


def draw(title, task, losses):
    """Return a figure with a panel for each start, and a line for each seed."""
    figure = _figures.new(9, 3.2)
    for axes, (bias, runs) in zip(
        figure.subplots(1, len(losses), sharey=True), losses.items(), strict=True
    ):
        axes.axhline(task.guess, color="0.5", linestyle="--", linewidth=1)
        axes.plot(
            range(1, runs.shape[1] + 1), runs.T, color=_figures.BLUE, linewidth=1.2, alpha=0.8
        )
        name = f"ChronoBias({task.steps})" if bias == "chrono" else f"bias {bias}"
        axes.set(title=name, yscale="log", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _figures.tidy([axes])
    figure.axes[0].set_ylabel("loss on test data")
    figure.suptitle(
        f"{title}, {task.steps} steps: a line for each seed. Dashed: the best guess", fontsize=11
    )
    return figure


def main(arguments=None):
    """Train, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--layer", choices=list(LAYERS), default="lstm", help="by default lstm")
    parser.add_argument("--epochs", type=int, default=12, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    task, losses = TASKS[options.task], {}
    title = f"{options.task.capitalize()}, {options.layer.upper()}"
    print(
        f"{title}: {task.steps} steps, {options.repeats} seeds; the best guess has a loss of "
        f"{task.guess:.3f}"
    )
    print(f"{'':8}{'loss at the end':^27}   epochs until it is below {task.solved:g}")
    print(f"{'bias':8}{'best':>9}{'median':>9}{'worst':>9}   for each seed, - for never")
    for name, start in STARTS.items():
        runs = np.array(
            [
                train(task, options.layer, start, seed, options.epochs)
                for seed in range(options.repeats)
            ]
        )
        losses[name], last = runs, runs[:, -1]
        below = runs < task.solved
        epochs = "".join(f"{row.argmax() + 1 if row.any() else '-':>4}" for row in below)
        print(
            f"{name:8}{last.min():9.4f}{np.median(last):9.4f}{last.max():9.4f}   {epochs}",
            flush=True,
        )
    name = (
        f"long_memory_{options.task}"
        if options.layer == "lstm"
        else f"long_memory_{options.task}_{options.layer}"
    )
    _figures.save(draw(title, task, losses), options.out / f"{name}.png")


if __name__ == "__main__":
    main()
