"""How often each verdict of `diagnose` was right, and how often wrong: the record on `docs/examination.md`.

PYTHONPATH=.:tests/support KERAS_BACKEND=torch python tests/hunt/verdicts.py RECORDS

It diagnoses about 900 networks, which takes a quarter of an hour, and writes the table of the page. What each is told
is a line of the file `RECORDS`, where an interrupted run goes on. The programs of the six draws are in the history of
the repository, which must be there.
"""

import collections
import contextlib
import io
import json
import pathlib
import runpy
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import numpy as np
import strangers
from diagnosed import FAULTY, HEALTHY
from keras import layers, ops
from programs import PROGRAMS

import keras_initx
from keras_initx.tools.diagnose.verdicts import RULES

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 1)).astype("float32")


class Report(NamedTuple):
    """A network, the verdicts that name its fault (`None` for a sound one), and the steps of its diagnosis."""

    build: Callable[[], tuple[keras.Model, Any, Any, Any]]
    fault: set[str] | None = None
    steps: int = 0


class Apply(layers.Layer):
    """Apply a function of one's own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def applying(function):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Apply(function), layers.Dense(1)])
        model.compile("adam", "mse")
        return model, X, Y, None

    return build


def noise(z):
    """Add numbers of NumPy, which differ at each call."""
    return z + ops.convert_to_tensor(np.random.default_rng().normal(size=(8,)).astype("float32"))


class Normalizer(layers.Layer):
    """Keep a running mean and variance, which the first batch throws far away."""

    def build(self, shape):
        self.mean = self.add_weight(shape=(8,), initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=(8,), initializer="ones", trainable=False, name="variance")

    def call(self, x, training=False):
        if training:
            self.variance.assign(self.variance - ops.square(ops.mean(x, 0) - self.mean))
            self.mean.assign(ops.mean(x, 0))
        return (x - self.mean) / ops.sqrt(self.variance)


def normalized(offset, scale):
    def build():
        model = keras.Sequential([keras.Input((8,)), Normalizer(), layers.Dense(4, "relu"), layers.Dense(1)])
        model.compile("adam", "mse")
        return model, offset + scale * X, Y, None

    return build


class ActNorm(layers.Layer):
    """Take shift and scale from the first batch, as in normalizing flows."""

    ready = False

    def build(self, shape):
        self.shift = self.add_weight(shape=shape[-1:], initializer="zeros", name="shift")
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        if not self.ready and not isinstance(x, keras.KerasTensor):
            self.shift.assign(-ops.mean(x, 0))
            self.scale.assign(1 / (ops.std(x, 0) + 1e-6))
            self.ready = True
        return (x + self.shift) * self.scale


def flow():
    return keras.Sequential([keras.Input((8,)), layers.Dense(8), ActNorm()]), 3 + X, None, None


class Squared(keras.losses.Loss):
    """The squared error without Keras' change of shapes."""

    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


class OwnLoss(keras.Model):
    """A model that computes its loss itself."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = layers.Dense(32, "relu"), layers.Dense(1)

    def call(self, x):
        return self.head(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y - y_pred))


def squared(y):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(32, "relu"), layers.Dense(1)])
        model.compile("adam", Squared())
        return model, X, y, None

    return build


def own_loss(y):
    def build():
        model = OwnLoss()
        model.build((None, 8))
        model.compile("adam")
        return model, X, y, None

    return build


class Counting(layers.Layer):
    """Divide by 0 from a call on."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x, training=False):
        y = x / ops.where(self.calls >= self.last, 0.0, 1.0)
        if training:
            self.calls.assign(self.calls + 1.0)
        return y


def counting(last):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Counting(last)])
        model.compile("adam", "mse")
        return model, X, X, None

    return build


REPORTS = {
    "power of 80": Report(applying(lambda z: (z / 3) ** 80)),
    "steep exponential": Report(applying(lambda z: ops.exp(20 * (z - 3)))),
    "noise of NumPy": Report(applying(noise)),
    "sine of 30": Report(applying(lambda z: ops.sin(30 * z))),
    "running normalizer, far inputs": Report(normalized(1800, 30), {"not finite"}),
    "running normalizer, near inputs": Report(normalized(3, 1), {"not finite"}),
    "normalizing flow that starts from its data": Report(flow),
    "own loss, targets of another rank": Report(squared(Y[:, 0]), {"unsuitable labels"}),
    "own loss, targets of its rank": Report(squared(X[:, :1])),
    "own compute_loss, targets of another rank": Report(own_loss(Y[:, 0]), {"unsuitable labels"}),
    "own compute_loss, targets of its rank": Report(own_loss(X[:, :1])),
    "division by 0 at the third call": Report(counting(2), {"diverging steps"}, 10),
    "division by 0 at no call": Report(counting(1000), None, 10),
}


ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "examination.md"
BEGIN, END = "<!-- record -->\n\n", "\n<!-- end of record -->"
# Where the programs of the six draws are, and in which of its folders.
COMMIT, UNSEEN = "015473e4", "tests/unseen"
DRAWS = ("first", "second", "third", "fourth", "fifth", "sixth")

# The verdicts that name a kind of fault of the six draws: the table of their protocol, with the names of today.
NAMES = {
    "inputs: scale or offset": {"unscaled inputs"},
    "inputs: not finite": {"not finite"},
    "inputs: other": {"alike", "equal inputs", "exchanged axes"},
    "targets: scale": {"unscaled targets", "large first loss"},
    "targets: beyond the last activation": {"unreachable targets"},
    "labels: form does not fit the loss or the output": {"unsuitable labels", "single class"},
    "labels: wrong or shifted": {"unsuitable labels", "not finite"},
    "loss: wrong kind for the task": {"no probabilities", "unsuitable labels", "unreachable targets", "single class"},
    "loss: probabilities and logits confused": {"no probabilities"},
    "loss: value or gradient not finite": {"undefined loss", "not finite"},
    "loss: cannot be met by the shapes": {"unsuitable labels"},
    "loss: sign or formula": {"undefined loss", "no gradient"},
    "last layer: softmax of one unit, or along a wrong axis": {"single class", "no probabilities"},
    "classes: rare": {"rare labels"},
    "weights: zero, equal or twins": {"equal units", "twin tensors"},
    "weights: too large": {"exploding", "saturated", "large first loss"},
    "weights: too small": {"vanishing", "vanishing gradient", "alike"},
    "activation: saturated": {"saturated", "alike", "vanishing gradient"},
    "activation: dead units": {"dead units"},
    "activation: missing or wrong": {"no probabilities", "unreachable targets", "single class", "linear layers"},
    "depth: signal or gradient vanishes": {"vanishing", "vanishing gradient", "alike"},
    "depth: signal or gradient explodes": {"exploding", "large first loss"},
    "gradient: blocked": {"no gradient", "vanishing gradient"},
    "weights: not in the model": {"untracked weights"},
    "normalization: misused": {"no gradient", "alike", "unscaled inputs"},
    "recurrence: memory": {"memory", "vanishing gradient"},
    "attention: mask or scale": {"alike"},
    "optimizer: rate too large": {"rate"},
    "optimizer: rate too small": {"rate"},
    "optimizer: sign": {"rate"},
    "optimizer: settings and precision": {"rate"},
    "regularization: too strong": {"dropped output"},
}
# Faults that source texts name (zeros and equal values, saturation, dead units, vanishing, exploding), whose verdicts
# stay whatever the record says.
TEXTBOOK = {"equal units", "twin tensors", "saturated", "dead units", "vanishing", "vanishing gradient", "exploding"}
# Examples in a batch: some losses of pairs and triplets take gigabytes for more.
SMALL = {"batch_size": 128}
# In fewer programs that it could be told of, nothing is known of a verdict.
EVIDENCE = 3


class Network(NamedTuple):
    """A network that is diagnosed.

    Attributes:
        source: What it is from.
        name: Its name there.
        build: Function that returns a model, inputs, targets and a loss, `None` for a compiled one.
        fault: The verdicts that name its fault, `None` for a sound network.
        notes: The notes that are right for it.
        options: Arguments of `diagnose`.
        is_visible: Whether a batch shows the fault.
    """

    source: str
    name: str
    build: Callable[[], tuple[keras.Model, Any, Any, Any]]
    fault: set[str] | None
    notes: Collection[str] = ()
    options: Mapping[str, int] = MappingProxyType({})
    is_visible: bool = True


class Observation(NamedTuple):
    """What `diagnose` says of a network: pairs of a problem and a level, or `None` for an error."""

    network: Network
    verdicts: list[tuple[str, str]] | None


def public_programs() -> Iterator[Network]:
    """Yield the seventy programs of others in both forms."""
    for program in PROGRAMS:
        names = {name for problems in program.expected for name in problems.split("|")}
        for repaired in (False, True):
            # What is bound now, of this turn of the loop.
            def build(program=program, repaired=repaired):
                return (*program.build(repaired), None)

            label = f"{program.source}: {program.id}{', repaired' * repaired}"
            fault = None if repaired else names
            yield Network("seventy programs", label, build, fault, is_visible=bool(names))


def drawn_programs(folder: pathlib.Path) -> Iterator[Network]:
    """Yield the programs of the six draws whose fault was reproduced, in both forms, and the sound ones."""
    sys.path.append(str(folder))
    for draw in (*DRAWS, "sound"):
        for path in sorted((folder / draw).glob("*.py")):
            with quiet():
                program = runpy.run_path(str(path))
            if draw == "sound":

                def build(program=program):
                    return (*program["build"](), None)

                yield Network("sound programs", path.stem, build, None, options=SMALL)
            elif program.get("REPRODUCED", True):
                names = set().union(*(NAMES.get(kind.partition(" (")[0], set()) for kind in program["KINDS"]))
                for repaired in (False, True):

                    def build(program=program, repaired=repaired):
                        return (*program["build"](repaired), None)

                    label = f"{draw}: {path.stem}{', repaired' * repaired}"
                    fault = None if repaired else names
                    yield Network("six draws", label, build, fault, options=SMALL, is_visible=program["VISIBLE"])


def networks_of_strangers() -> Iterator[Network]:
    """Yield small models after public examples, without targets."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, strangers.TOKENS, (16, strangers.LENGTH))
    images = rng.random((16, 8, 8, 3)).astype("float32")
    builders = {
        "text classifier": (strangers.text_classifier, tokens),
        "nanoGPT": (strangers.gpt, tokens),
        "vision transformer": (strangers.vision_transformer, images[:, :4, :4]),
        "ResNet": (strangers.resnet, images),
        "perceptron": (strangers.perceptron, rng.normal(size=(64, 4)).astype("float32")),
        "residual network": (strangers.conv_net, images),
        "translator": (strangers.translator, [tokens, tokens[::-1]]),
        "plain translator": (strangers.plain_translator, [tokens, tokens[::-1]]),
        "translator that normalizes": (
            lambda: strangers.plain_translator(keras.layers.LayerNormalization),
            [tokens, tokens[::-1]],
        ),
    }
    for form in ("x + a + m", "x + (a + m)", "Add"):
        builders[f"parallel GPT, {form}"] = (lambda form=form: strangers.parallel_gpt(form), tokens)
    for name, (build, x) in builders.items():
        yield Network("strangers' networks", name, lambda build=build, x=x: (build(), x, None, None), None)


def own_cases() -> Iterator[Network]:
    """Yield the cases of the tests: faulty, repaired and healthy."""
    for name, case in FAULTY.items():
        yield Network(
            "own cases", name, lambda case=case: case.build(False), set(case.problems), options={"steps": case.steps}
        )
        repaired = f"{name}, repaired"
        yield Network("own cases", repaired, lambda case=case: case.build(True), None, options={"steps": case.steps})
    # Zeros at the end of a branch or of the network, what ReZero multiplies by zero.
    notes = ("equal units", "vanishing")
    for name, build in HEALTHY.items():
        yield Network("own cases", name, build, None, notes)


def rebuilt_reports() -> Iterator[Network]:
    """Yield networks after reports of people, of which some got a verdict that was not so."""
    for name, report in REPORTS.items():
        yield Network("reports", name, report.build, report.fault, options={"steps": report.steps})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what programs print and warn of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def told(network: Network) -> list[tuple[str, str]] | None:
    """Return the verdicts on a network with their levels, or `None` if it cannot be diagnosed."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    verdicts = None
    with quiet(), contextlib.suppress(Exception):
        model, x, y, loss = network.build()
        report = keras_initx.diagnose(model, x, y, loss=loss, **network.options)
        verdicts = [(verdict.problem, verdict.level) for verdict in report.verdicts]
    return verdicts


class Count:
    """What the record says of one verdict.

    Attributes:
        right: Programs whose fault it names.
        missed: Programs whose fault it could name, and nothing names it.
        beside: Faulty programs in which it is told beside the fault that is known, which says nothing of it.
        wrong: Sound programs in which it is an error or a warning.
        noted: Sound programs in which it is a note.
        own: Cases of the tests that it was written for, and is right in.
    """

    def __init__(self) -> None:
        self.right = self.missed = self.beside = self.wrong = self.noted = self.own = 0

    @property
    def could(self) -> int:
        """The programs of others in which it is told or could be."""
        return self.right + self.missed + self.beside + self.wrong + self.noted


def count(observations: list[Observation]) -> dict[str, Count]:
    """Count what each verdict did."""
    counts: dict[str, Count] = collections.defaultdict(Count)
    for observation in observations:
        network, verdicts = observation
        is_own = network.source == "own cases"
        if verdicts is None:
            continue
        levels = dict(reversed(verdicts))  # of several the first, which is the most serious one
        fault = network.fault
        for problem, level in levels.items():
            if fault is None:
                if level == "note" and problem in network.notes:
                    continue
                if level == "note":
                    counts[problem].noted += not is_own
                else:
                    counts[problem].wrong += 1
            elif problem not in fault:
                counts[problem].beside += not is_own
            elif is_own:
                counts[problem].own += 1
            else:
                counts[problem].right += 1
        if fault and network.is_visible and not is_own and not fault & levels.keys():
            for problem in fault:
                counts[problem].missed += 1
    return counts


def judgement(problem: str, counted: Count) -> str:
    """Return what follows for a verdict."""
    if counted.right > counted.wrong:
        return "stays"
    if problem in TEXTBOOK:
        return "stays: source texts name the fault"
    if counted.could < EVIDENCE:
        return "stays: no evidence"
    return "to be mended, or goes"


def table(observations: list[Observation]) -> str:
    """Return the table of the page."""
    counts = count(observations)
    lines = [
        "| verdict | right | missed | beside another fault | wrong | note on a sound program | own cases | it |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rule in RULES:
        one = counts[rule.problem]
        numbers = (one.right, one.missed, one.beside, one.wrong, one.noted, one.own)
        cells = [rule.problem, *map(str, numbers), judgement(rule.problem, one)]
        lines.append(f"| {' | '.join(cells)} |")
    sources = collections.Counter(observation.network.source for observation in observations)
    failed = sum(observation.verdicts is None for observation in observations)
    listed = ", ".join(f"{number} of {source}" for source, number in sources.items())
    lines += ["", f"{len(observations)} networks: {listed}; {failed} could not be diagnosed."]
    return "\n".join(lines) + "\n"


def main(records: str) -> None:
    file = pathlib.Path(records)
    file.touch()
    verdicts = dict(json.loads(line) for line in file.read_text().splitlines())
    observations = []
    with tempfile.TemporaryDirectory() as folder, file.open("a") as new:
        archive = subprocess.run(["git", "archive", COMMIT, UNSEEN], cwd=ROOT, capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        for network in (
            *public_programs(),
            *networks_of_strangers(),
            *rebuilt_reports(),
            *own_cases(),
            *drawn_programs(pathlib.Path(folder, UNSEEN)),
        ):
            key = f"{network.source}: {network.name}"
            if key not in verdicts:
                verdicts[key] = told(network)
                print(json.dumps([key, verdicts[key]]), file=new, flush=True)
            observations.append(Observation(network, verdicts[key]))
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(observations)}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1])
