"""Measure what factors on the learning rates of weights add to the time of a training step.

    KERAS_BACKEND=jax python benchmarks/rate_factors.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import time

import _common
import _device

BATCH = 64
STEPS = 5  # in each round
OVERHEAD = 1.05


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (9 if arguments.quick else 31)
    cases = {name: _common.in_fresh_process(measure, name, rounds) for name in MODELS}
    results = {
        "rate_factors": cases,
        "targets": [
            _common.judge(f"{name}: one optimizer / with factors", case["ratio"], 1 / OVERHEAD)
            for name, case in cases.items()
        ],
    }
    path = _common.write_results(arguments, "rate_factors", results)
    print(report(results))
    print(f"\nWritten: {path}")


def perceptron(width):
    """Return a network of three hidden layers."""
    import keras

    hidden = [keras.layers.Dense(width, "relu") for _ in range(3)]
    return keras.Sequential([keras.Input((256,)), *hidden, keras.layers.Dense(8)])


def transformer(width):
    """Return a transformer of four blocks that reads vectors."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input((16, 16))
    x = layers.Dense(width, name="embedding")(x)
    for block in range(4):
        y = layers.LayerNormalization(name=f"block_{block}_norm_1")(x)
        x = x + layers.MultiHeadAttention(width // 32, 32, name=f"block_{block}_attention")(y, y)
        y = layers.LayerNormalization(name=f"block_{block}_norm_2")(x)
        y = layers.Dense(4 * width, "gelu", name=f"block_{block}_dense_1")(y)
        x = x + layers.Dense(width, name=f"block_{block}_dense_2")(y)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, layers.Dense(8, name="last")(x))


# The model, its width and that of the base model.
MODELS = {
    "MLP of 512 units": (perceptron, 512, 64),
    "transformer of 128 units": (transformer, 128, 64),
}


def measure(name, rounds):
    """Return the seconds of a step with one optimizer and with factors, in turns.

    Seconds of the processor, of all threads: other processes disturb them least.
    """
    import keras
    import numpy as np

    from keras_initx import scaling

    _device.prepare()
    network, width, base_width = MODELS[name]
    generator = np.random.default_rng(0)
    steps = {}
    for form in ("one optimizer", "with factors"):
        model = network(width)
        optimizer = keras.optimizers.Adam(0.001)
        if form == "with factors":
            table = scaling.mup(model, network(base_width))
            optimizer = table.optimizer(optimizer)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        steps[form] = model
    x = generator.normal(size=(BATCH, *model.input_shape[1:])).astype("float32")
    y = generator.integers(0, 8, BATCH)
    seconds = {form: [] for form in steps}
    for round_number in range(rounds + 1):
        # Each goes first in every second round.
        for form in list(steps)[:: 1 if round_number % 2 else -1]:
            begin = time.process_time()
            for _ in range(STEPS):
                steps[form].train_on_batch(x, y)
            if round_number:  # the first compiles
                seconds[form].append((time.process_time() - begin) / STEPS)
    plain, ours = seconds.values()
    return {
        "factors": len(set(optimizer.factors)),
        "plain": _common.spread(plain),
        "ours": _common.spread(ours),
        "ratio": _common.ratio(plain, ours),
    }


def report(results):
    """Return the results as a Markdown table."""
    rows = []
    for name, case in results["rate_factors"].items():
        times = [_common.with_spread(case[form], 1000) for form in ("plain", "ours")]
        rows.append((name, case["factors"], *times, _common.with_spread(case["ratio"])))
    header = ("step of Adam", "distinct factors", "one optimizer, CPU ms", "with factors", "ratio")
    return _common.table(header, rows)


if __name__ == "__main__":
    main()
