"""Which figure a run is judged by, and which value of it is best."""

from keras_initx.initializers._checks import check_choice

_GREATEST_IS_BEST = ("acc", "auc", "precision", "recall", "f1", "iou", "r2", "similarity")


def resolved(trials, monitor, mode):
    """Return name and mode of the figure to judge by.

    Args:
        trials: The trials whose figures there are to choose from.
        monitor: A name, or `None` for the first metric on the validation data, or the loss if there is none.
        mode: `"max"`, `"min"`, or `"auto"` to go by the name.

    Raises:
        ValueError: If there is no such figure.
    """
    check_choice("mode", mode, ("auto", "max", "min"))
    known = {name for trial in trials for figures in trial.epochs for name in figures}
    names = sorted(name for name in known if name.startswith("val_"))
    if monitor is None:
        monitor = next((name for name in names if name != "val_loss"), "val_loss")
    elif names and monitor not in names:
        raise ValueError(f"`monitor` must be one of {tuple(names)}. Received: monitor={monitor!r}")
    if mode == "auto":
        mode = "max" if any(word in monitor for word in _GREATEST_IS_BEST) else "min"
    return monitor, mode
