"""Ask of a finished study when early stopping would have ended its trials, and what energy it took.

`KERAS_BACKEND=jax python docs/examples/early_stopping.py FOLDER`; it needs the extra `studies`. The
study compares accuracies: more is better.
"""

import argparse

from keras_initx.studies import Study

import numpy as np

WINDOW = 5  # epochs that a smooth curve averages


def smooth(curve):
    """Return the mean of each value and the four before it, or as many as there are."""
    means = []
    for end in range(1, len(curve) + 1):
        begin = max(0, end - WINDOW)
        means.append(np.mean(curve[begin:end]))
    return np.array(means)


def stop(curve, patience):
    """Return the epoch after which `patience` epochs brought no better value, or the last."""
    best = 0
    for epoch in range(len(curve)):
        if curve[epoch] > curve[best]:
            best = epoch
        elif epoch - best == patience:
            return epoch
    return len(curve) - 1


def at_stops(curves, patience, prepare):
    """Return the mean epoch of stopping, and the mean accuracy there."""
    epochs = [stop(prepare(curve), patience) for curve in curves]
    values = [curve[epoch] for curve, epoch in zip(curves, epochs, strict=True)]
    return np.mean(epochs), np.mean(values)


def main(arguments=None):
    """Read the study and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="the folder of a study, its --out")
    parser.add_argument("--patience", type=int, default=3, help="epochs to wait")
    parser.add_argument("--watts", type=float, default=15.0, help="power of the machine")
    parser.add_argument("--grid", type=float, help="grams of CO2 for a kWh of your grid")
    options = parser.parse_args(arguments)
    study = Study.read(options.folder)
    print(f"{study.monitor} where early stopping ends, after {options.patience} epochs")
    print("without a better value: means of the repeats")
    print(f"{'':16}{'curve':>15}{'smooth':>15}{'no stop':>15}")
    print(f"{'initializer':16}" + f"{'epoch':>9}{'value':>6}" * 3)
    for name in dict.fromkeys(record["initializer"] for record in study.records):
        curves = study.curves(name, study.monitor)
        line = f"{name:16}"
        for prepare in np.array, smooth:
            epoch, value = at_stops(curves, options.patience, prepare)
            line += f"{epoch:9.1f}{value:6.2f}"
        print(f"{line}{curves.shape[1] - 1:9}{curves[:, -1].mean():6.2f}")
    seconds = sum(record.get("seconds", 0) for record in study.records)
    energy = seconds * options.watts / 3600
    print(f"The study: {seconds:.0f} s at {options.watts:g} W are {energy:.2g} Wh")
    if options.grid is not None:
        print(f"At {options.grid:g} g/kWh these are {energy / 1000 * options.grid:.2g} g of CO2")


if __name__ == "__main__":
    main()
