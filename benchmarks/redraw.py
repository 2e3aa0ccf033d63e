"""Measure the time to reinitialize a model's weights, compared to building the model.

    KERAS_BACKEND=jax python benchmarks/redraw.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import time

import _common
import _device

FORMS = ("first in a process", "second in a process")


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (3 if arguments.quick else 7)
    seconds = [_common.in_fresh_process(measure) for _ in range(rounds)]
    cases = {form: _case([found[form] for found in seconds]) for form in FORMS}
    results = {
        "redraw": cases,
        "targets": [
            _common.judge(f"ResNet-50, {form}: build / initialize", cases[form]["ratio"], 1)
            for form in FORMS
        ],
    }
    path = _common.write_results(arguments, "redraw", results)
    print(report(results))
    plot(path, arguments.environment, results)
    print(f"\nWritten: {path}.json and {path}.png")


def measure():
    """Return the seconds to build ResNet-50 and to reinitialize it, for the first two times."""
    import keras

    import keras_initx
    from keras_initx.models import weights_digest

    _device.prepare()
    found, digests = {}, set()
    for seed, form in enumerate(FORMS):
        begin = time.perf_counter()
        model = keras.applications.ResNet50(weights=None)
        built = time.perf_counter()
        keras_initx.initialize(model, seed=seed)
        found[form] = built - begin, time.perf_counter() - built
        digests.add(weights_digest(model))  # which waits for the device
    assert len(digests) == len(FORMS)
    return found


def _case(seconds):
    """Return the spreads of the build and draw times and of their ratio.

    Each round runs in a separate process.
    """
    built, drawn = zip(*seconds, strict=True)
    return {
        "build": _common.spread(built),
        "draw": _common.spread(drawn),
        "ratio": _common.ratio(built, drawn),
    }


def plot(path, environment, results):
    """Draw the ratios."""
    points = {form: {"keras, build": case["ratio"]} for form, case in results["redraw"].items()}
    _common.plot_ratios(
        path,
        f"ResNet-50 re-initialized: {environment['backend']} on {environment['device']}",
        points,
    )


def report(results):
    """Return the results as a Markdown table."""
    rows = [
        (form, *(_common.with_spread(case[key]) for key in ("build", "draw", "ratio")))
        for form, case in results["redraw"].items()
    ]
    return _common.table(
        ("ResNet-50", "seconds to build", "seconds to re-initialize", "ratio"), rows
    )


if __name__ == "__main__":
    main()
