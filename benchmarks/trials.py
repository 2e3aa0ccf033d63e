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
    from keras_initx.cli import _data, _networks

    data = _data.load("digits")
    build = _networks.Network("cnn", data.shape, data.classes)
    forms = {
        "study": functools.partial(study, build, data),
        "study, no diagnosis": functools.partial(study, build, data, diagnosis=False),
        ANEW: functools.partial(compiled_anew, build, data),
        LOOP: functools.partial(loop, build, data),
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


def study(build, data, *, seed, diagnosis=True):
    """Compare the initializers, as the first study of a process."""
    from keras_initx.studies import compare_initializers

    forget_programs()
    pairs = data.train, data.validation
    options = {"repeats": REPEATS, "epochs": EPOCHS, "seed": seed, "diagnosis": diagnosis}
    found = compare_initializers(build, INITIALIZERS, pairs, **options)
    assert {trial.status for trial in found.trials.values()} == {"finished"}


def compiled_anew(build, data, *, seed):
    """Compare the initializers in the way in which Keras compiles."""
    with mock.patch("keras_initx.studies._trial._compiled_once", contextlib.nullcontext):
        study(build, data, seed=seed)


def forget_programs():
    """Drop the compiled programs that this process keeps, which are those of JAX."""
    import keras

    if keras.backend.backend() == "jax":
        from keras_initx.backends import _jax

        _jax._PROGRAMS.clear()


def loop(build, data, *, seed):
    """Train the same number of models for the same number of epochs, without records."""
    import keras

    for repeat in range(REPEATS):
        for initializer in INITIALIZERS:
            keras.utils.set_random_seed(seed * REPEATS + repeat)
            model = build(initializer)
            model.fit(
                *data.train,
                batch_size=32,
                epochs=EPOCHS,
                verbose=0,
                validation_data=data.validation,
            )


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
