"""Measure the trials per minute of a comparison of initializers, compared to a loop of `fit`.

    KERAS_BACKEND=jax python benchmarks/trials.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import contextlib
import functools
import time
from unittest import mock

import _common

INITIALIZERS = ("he_normal", "glorot_uniform")
REPEATS = 2
EPOCHS = 3
ANEW = "compiled anew"
LOOP = "loop of `fit`"


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (3 if arguments.quick else 7)
    results = {"trials": _common.in_fresh_process(measure, rounds), "targets": []}
    path = _common.write_results(arguments, "trials", results)
    print(report(results))
    print(f"\nWritten: {path}")


def measure(rounds):
    """Return the trials per minute of each form and the ratios.

    All forms take turns in one process.
    """
    data = digits()
    forms = {
        "study": functools.partial(study, data),
        "study, no diagnosis": functools.partial(study, data, diagnosis=False),
        ANEW: functools.partial(compiled_anew, data),
        LOOP: functools.partial(loop, data),
    }
    forms[LOOP](seed=0)  # Warm-up: one-time compilation and reads do not count for any form.
    seconds = {name: [] for name in forms}
    for seed in range(1, rounds + 1):
        for name, form in forms.items():
            begin = time.perf_counter()
            form(seed=seed)
            seconds[name].append(time.perf_counter() - begin)
    trials = len(INITIALIZERS) * REPEATS
    return {
        name: {
            "per_minute": _common.spread([60 * trials / value for value in own]),
            "ratio": {
                peer: _common.ratio(seconds[peer], own)
                for peer in (ANEW, LOOP)
                if name not in (ANEW, LOOP)
            },
        }
        for name, own in seconds.items()
    }


def digits():
    """Return 1347 images of 8 by 8 pixels with their labels, and 450 to validate with."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    images, other_images, labels, other_labels = train_test_split(images, labels, random_state=0)
    return (images, labels), (other_images, other_labels)


def build(initializer):
    """Return a compiled network with two convolutions."""
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", kernel_initializer=initializer),
            layers.Conv2D(32, 3, strides=2, activation="relu", kernel_initializer=initializer),
            layers.Flatten(),
            layers.Dense(10, "softmax", kernel_initializer=initializer),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def study(data, *, seed, diagnosis=True):
    """Compare the initializers, as the first study of a process."""
    from keras_initx.studies import compare_initializers

    forget_programs()
    options = {"repeats": REPEATS, "epochs": EPOCHS, "seed": seed, "diagnosis": diagnosis}
    found = compare_initializers(build, INITIALIZERS, data, **options)
    assert {trial["status"] for trial in found.trials.values()} == {"finished"}


def compiled_anew(data, *, seed):
    """Compare the initializers in the way in which Keras compiles."""
    with mock.patch("keras_initx.studies._trial._compiled_once", contextlib.nullcontext):
        study(data, seed=seed)


def forget_programs():
    """Drop the compiled programs that this process keeps, which are those of JAX."""
    import keras

    if keras.backend.backend() == "jax":
        from keras_initx.backends import _jax

        _jax._PROGRAMS.clear()


def loop(data, *, seed):
    """Train the same number of models for the same number of epochs, without records."""
    import keras

    train, validation = data
    for repeat in range(REPEATS):
        for initializer in INITIALIZERS:
            keras.utils.set_random_seed(seed * REPEATS + repeat)
            model = build(initializer)
            model.fit(*train, batch_size=32, epochs=EPOCHS, verbose=0, validation_data=validation)


def report(results):
    """Return the results as a Markdown table."""
    rows = [
        (
            name,
            _common.with_spread(case["per_minute"]),
            *(_common.with_spread(case["ratio"].get(p)) for p in (ANEW, LOOP)),
        )
        for name, case in results["trials"].items()
    ]
    return _common.table(
        ("form", "trials a minute", f"time {ANEW} / ours", f"time of a {LOOP} / ours"), rows
    )


if __name__ == "__main__":
    main()
