"""A parameter that is one on one side and several on the other is told, because training moves them apart."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

torch = pytest.importorskip("torch")

WORDS, WIDTH, LENGTH = 20, 8, 6
TOKENS = np.random.default_rng(0).integers(0, WORDS, (4, LENGTH))
X = np.random.default_rng(0).normal(size=(4, WIDTH)).astype("float32")


class WordModel(torch.nn.Module):
    def __init__(self, *, is_tied):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Linear(WIDTH, WORDS, bias=False)
        if is_tied:
            self.head.weight = self.embed.weight
        else:  # with the same values
            with torch.no_grad():
                self.head.weight.copy_(self.embed.weight)

    def forward(self, tokens):
        return self.head(torch.tanh(self.embed(tokens)))


class Tied(keras.Model):
    def __init__(self):
        super().__init__()
        self.embed = layers.Embedding(WORDS, WIDTH, name="embed")

    def call(self, tokens):
        return ops.matmul(ops.tanh(self.embed(tokens)), ops.transpose(self.embed.embeddings))


def make_tied():
    model = Tied()
    model(TOKENS)
    return model


def make_untied():
    inputs = keras.Input((LENGTH,), dtype="int32")
    hidden = ops.tanh(layers.Embedding(WORDS, WIDTH, name="embed")(inputs))
    return keras.Model(inputs, layers.Dense(WORDS, use_bias=False, name="head")(hidden))


def report_on(model, module, *y, x=TOKENS, names=None, loss=None):
    loaded = keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    inputs = {"model": x, "module": torch.as_tensor(x)}
    return keras_initx.port_report(model, module.eval(), inputs, *y, loaded=loaded, loss=loss)


TIED_THERE = (
    "in training these differ: embed.weight and head.weight are one parameter there and 2 weights here, "
    "embed/embeddings and head/kernel, which part at the first update."
)
TIED_HERE = (
    "in training these differ: embed.weight and head.weight are 2 parameters with equal values there, which part at "
    "the first update, and one weight here, embed/embeddings."
)


@pytest.mark.parametrize(
    ("is_tied", "make", "end"),
    [
        pytest.param(True, make_untied, TIED_THERE, id="tied there alone"),
        pytest.param(False, make_tied, TIED_HERE, id="tied here alone"),
    ],
)
def test_a_table_that_is_tied_on_one_side_alone_is_told(is_tied, make, end):
    report = report_on(make(), WordModel(is_tied=is_tied))
    assert report.ok  # its outputs are equal
    assert report.summary == f"The port is equal: weights, outputs; {end}"
    (tie,) = report.weights.ties
    assert tie.sources == ("embed.weight", "head.weight")


@pytest.mark.parametrize(
    ("is_tied", "make"),
    [pytest.param(True, make_tied, id="tied in both"), pytest.param(False, make_untied, id="two in both")],
)
def test_nothing_is_told_if_both_sides_have_as_many(is_tied, make):
    report = report_on(make(), WordModel(is_tied=is_tied))
    assert report.summary == "The port is equal: weights, outputs."
    assert report.weights.ties == []
    assert report.weights.unused == {}  # `head.weight` is another name of the table
    assert report["weights"].detail.startswith(f"{len(report.weights.rows)} of ")
    (count,) = [count for count in report.weights.counts if count.kind == "trained parameters"]
    assert count.model == count.module


def test_with_targets_a_tie_on_one_side_counts():
    model = make_untied()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    def loss(outputs, y):
        return torch.nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())

    report = report_on(model, WordModel(is_tied=True), TOKENS, loss=loss)
    assert not report.ok
    assert report.summary.startswith("The port differs: in the first step, head/kernel: gradient")
    assert report.summary.endswith(TIED_THERE)
    assert report.weights.ties[0].text in [problem.text for problem in report.problems]


class Twice(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.fc(torch.relu(self.fc(x)))


@pytest.mark.parametrize("count", [1, 2])
def test_a_layer_that_is_used_twice_there_and_two_layers_here_are_told(count):
    names = ["fc", "fc_b"][:count]
    used = [layers.Dense(WIDTH, name=name) for name in names]
    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, used[-1](ops.relu(used[0](inputs))))
    report = report_on(model, Twice(), x=X, names=dict.fromkeys(names, "fc"))
    assert report.ok
    texts = [tie.text for tie in report.weights.ties]
    if count == 1:
        assert texts == []
        assert report.summary == "The port is equal: weights, outputs."
    else:
        assert texts[0] == (
            "fc.weight is one parameter there and 2 weights here, fc/kernel and fc_b/kernel, which part at the first "
            "update"
        )
        assert report.summary.endswith("at the first update; the same holds for 1 parameter more.")


def test_parts_of_one_parameter_are_no_tie():
    class Fused(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = torch.nn.Linear(WIDTH, 2 * WIDTH)
            torch.nn.init.zeros_(self.qkv.bias)

        def forward(self, x):
            query, key = self.qkv(x).chunk(2, -1)
            return query * key

    inputs = keras.Input((WIDTH,))
    model = keras.Model(inputs, layers.Dense(WIDTH, name="q")(inputs) * layers.Dense(WIDTH, name="k")(inputs))
    names = {}
    for name, part in (("q", np.s_[:WIDTH]), ("k", np.s_[WIDTH:])):
        names |= {f"{name}/kernel": ("qkv.weight", part), f"{name}/bias": ("qkv.bias", part)}
    report = report_on(model, Fused(), x=X, names=names)
    assert report.summary == "The port is equal: weights, outputs."
    assert report.weights.ties == []


def report_on_padded(model, *, is_tied, **options):
    """Report on the first step of a model of words, whose module pads with the word 0."""
    module = WordModel(is_tied=is_tied)
    embed = torch.nn.Embedding(WORDS, WIDTH, padding_idx=0, **options)
    embed.weight = module.embed.weight
    module.embed = embed
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    y = np.random.default_rng(1).integers(0, WORDS, (4, LENGTH))
    tokens = np.where(TOKENS < 5, 0, TOKENS)
    names = {"embed": "embed"} if is_tied else None

    def loss(outputs, y):
        return torch.nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())

    return report_on(model, module, y, x=tokens, names=names, loss=loss)


PADDED_ROW = "torch computes no gradient for the row 0 of an embedding (`padding_idx`)"


def test_a_row_that_torch_does_not_train_is_explained():
    report = report_on_padded(make_untied(), is_tied=False)
    assert report.ok
    reason = f"{PADDED_ROW}, and Keras does (embed/embeddings)"
    assert report.summary == f"The port is equal but for what the frameworks do differently: {reason}."
    assert report["loss and gradients"].status == "explained"
    assert f"gradients: equal for 1 weight; explained: {reason}" in " ".join(str(report).split())


def test_a_gradient_that_differs_in_other_rows_is_not_explained():
    report = report_on_padded(make_untied(), is_tied=False, scale_grad_by_freq=True)
    assert not report.ok
    assert report.outputs.step["embed/embeddings"].status == "differs"


def test_a_row_that_a_tied_layer_trains_is_not_compared():
    report = report_on_padded(make_tied(), is_tied=True)
    (row,) = report.outputs.step.rows
    assert (row.path, row.status) == ("embed/embeddings", "not compared")
    assert row.detail == f"{PADDED_ROW}, and another layer has it too; the other rows are equal"
    assert not report.ok
