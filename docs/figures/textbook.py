"""Run the textbook comparison of initializers and save its table and plots.

Run `python docs/figures/textbook.py`.

An interrupted run resumes where it stopped. Requires the extra `studies`.
"""

import shutil
from pathlib import Path

import keras_initx
from keras_initx.cli import _data, _networks

INITIALIZERS = {
    "glorot_uniform": "initx.glorot_uniform",
    "glorot_normal": "initx.glorot_normal",
    "he_uniform": "initx.he_uniform",
    "he_normal": "initx.he_normal",
    "random_uniform": "initx.random_uniform",
    "random_normal": "initx.random_normal",
    "sparse(gain=relu)": keras_initx.Sparse(gain="relu"),
    "orthogonal(gain=relu)": keras_initx.Orthogonal(gain="relu"),
}
OUT = Path("out", "textbook")
PLOTS = ("curves", "first-batch")  # those that the page shows


def main():
    """Train 8 times 5 networks for 30 epochs."""
    data = _data.digits()
    build = _networks.Network("cnn", data.shape, data.classes, "sgd", 0.1)
    study = keras_initx.compare_initializers(
        build,
        INITIALIZERS,
        (data.train, data.validation),
        repeats=5,
        epochs=30,
        batch_size=512,
        out=OUT,
        title=f"{build.name} on {data.name}",
    )
    here = Path(__file__).parent
    here.joinpath("textbook.txt").write_text(f"{study}\n", encoding="utf-8")
    study.plots(OUT / "plots")
    for name in PLOTS:
        shutil.copy(OUT / "plots" / f"{name}.png", here / f"textbook-{name}.png")
    study.report(OUT / "report.html")


if __name__ == "__main__":
    main()
