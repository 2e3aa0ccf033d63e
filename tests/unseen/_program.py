"""What the programs of this folder have in common: scores, and the run of one of them.

A program is a file with `URL`, `YEAR`, `TOPIC`, `CONFIRMED`, `KINDS`, `VISIBLE` and `EVIDENCE`, and these functions:

    build(repaired)     a compiled model, its inputs and its targets; the same data in both forms
    train(model, x, y)  what the program does to train it, shortened
    score(model, x, y)  how well it does its task, from 0 for a blind guess, or worse, to 1
"""

import runpy
import statistics
import sys

import keras
import numpy as np

SEEDS = (0, 1, 2)
# From which difference of the medians on a repair is one.
DIFFERENCE = 0.1


def predictions(model, x):
    """Return the outputs of a model as an array of float64."""
    return np.asarray(model.predict(x, verbose=0), "float64")


def explained(outputs, targets):
    """Return the explained share of the variance of the targets, also of scaled ones, at least 0."""
    outputs, targets = np.ravel(outputs), np.ravel(np.asarray(targets, "float64"))
    if not np.isfinite(outputs).all():
        return 0.0
    return float(np.clip(1 - np.mean((outputs - targets) ** 2) / np.var(targets), 0, 1))


def accuracy(outputs, labels):
    """Return how much of the way from the best constant guess to all right answers was gone, at least 0.

    Args:
        outputs: Scores of the classes along the last axis, or one score for two classes.
        labels: Class numbers, or rows with a single one.
    """
    labels = np.asarray(labels)
    if not np.isfinite(outputs).all():
        return 0.0
    if outputs.shape[-1] == 1:
        return separated(outputs, labels)
    if labels.shape == outputs.shape:
        labels = labels.argmax(-1)
    labels = labels.reshape(outputs.shape[:-1])
    frequencies = np.bincount(labels.astype(int).ravel()) / labels.size
    guess = frequencies.max()
    if guess == 1:
        return float(np.mean(outputs.argmax(-1) == labels))
    return float(np.clip((np.mean(outputs.argmax(-1) == labels) - guess) / (1 - guess), 0, 1))


def separated(outputs, labels):
    """Return how well outputs separate ones from zeros: 2 times the area under the curve less 1, at least 0."""
    outputs, labels = np.ravel(outputs), np.ravel(labels) > 0.5
    if not np.isfinite(outputs).all() or labels.all() or not labels.any():
        return 0.0
    _, ranks, counts = np.unique(outputs, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts - 1) / 2
    ones = int(labels.sum())
    area = (middles[ranks][labels].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))
    return float(np.clip(2 * area - 1, 0, 1))


def scored(program, repaired, seed):
    """Return the score of a program after training; an error, or a number that is not finite, scores 0."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    try:
        model, x, y = program["build"](repaired)
        program["train"](model, x, y)
        value = program["score"](model, x, y)
    except Exception as error:  # each backend has errors of its own
        print(f"  {type(error).__name__}: {str(error)[:200]}")
        return 0.0
    return float(value) if np.isfinite(value) else 0.0


def reproduced(faulty, repaired):
    """Return whether the scores of both forms show a fault and its repair."""
    return statistics.median(repaired) - statistics.median(faulty) >= DIFFERENCE and min(repaired) > max(faulty)


def main(path):
    """Print the scores of both forms of a program for each seed."""
    program = runpy.run_path(path)
    scores = {}
    for repaired in (False, True):
        scores[repaired] = [scored(program, repaired, seed) for seed in SEEDS]
        print("repaired" if repaired else "faulty  ", [f"{value:.2f}" for value in scores[repaired]])
    print("reproduced" if reproduced(scores[False], scores[True]) else "not reproduced")


if __name__ == "__main__":
    main(sys.argv[1])
