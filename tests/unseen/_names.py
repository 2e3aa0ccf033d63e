"""Which problems of `diagnose` name which kind of fault, written before any program was drawn.

A fault is named if a problem is printed, as an error or a warning, that stands beside one of its kinds. A note names
`classes: rare` only, whose verdict is one. Names that `diagnose` did not have then are those of verdicts to come.

Added after the first draw, with verdicts that it led to: "constant inputs", "dropped output", "exclusive classes",
"limited output", "no activation", "small steps", "unread words". Before the third draw was run: "wrong loss".
Before the fourth: "targets not finite". Before the fifth: "outweighed loss".
After it: "constant targets", "drowned signal", "exchanged axes", "hidden softmax", "large decay", "narrow constraint",
"one-sided weights". After the sixth, for `steps`: "diverging steps", "stuck loss", "unbounded loss", "unmoved
weights".
"""

NAMES = {
    "inputs: scale or offset": ("unscaled inputs",),
    "inputs: not finite": ("inputs not finite",),
    "inputs: examples mixed": ("mixed examples",),
    "inputs: other": ("alike", "mixed examples", "constant inputs", "drowned signal", "exchanged axes"),
    "targets: scale": ("unscaled targets", "large first loss"),
    "targets: beyond the last activation": ("unreachable targets",),
    "labels: form does not fit the loss or the output": ("unsuitable labels", "single class"),
    "labels: wrong or shifted": ("unsuitable labels", "targets not finite", "constant targets"),
    "loss: wrong kind for the task": (
        "no probabilities",
        "unsuitable labels",
        "unreachable targets",
        "single class",
        "exclusive classes",
    ),
    "loss: probabilities and logits confused": ("no probabilities", "probabilities as logits", "unbounded loss"),
    "loss: value or gradient not finite": ("undefined loss", "targets not finite"),
    "loss: cannot be met by the shapes": ("impossible labels",),
    "loss: sign or formula": ("undefined loss", "no gradient", "wrong loss", "outweighed loss", "unbounded loss"),
    "last layer: softmax of one unit, or along a wrong axis": ("single class", "no probabilities"),
    "classes: rare": ("rare class",),
    "weights: zero, equal or twins": (
        "all-zero weights",
        "constant weights",
        "identical units",
        "one-sided weights",
        "twin tensors",
    ),
    "weights: too large": (
        "exploding",
        "saturated",
        "saturated output",
        "large first loss",
        "exploding gradient",
        "focused attention",
        "steep activation",
    ),
    "weights: too small": ("vanishing", "vanishing gradient", "alike"),
    "activation: saturated": ("saturated", "saturated output", "alike", "vanishing gradient"),
    "activation: dead units": ("dead units",),
    "activation: missing or wrong": (
        "no probabilities",
        "unreachable targets",
        "single class",
        "no activation",
        "hidden softmax",
    ),
    "depth: signal or gradient vanishes": ("vanishing", "vanishing gradient", "alike"),
    "depth: signal or gradient explodes": ("exploding", "exploding gradient", "large first loss"),
    "gradient: blocked": ("no gradient", "vanishing gradient", "wrong loss"),
    "weights: not in the model": ("untracked weights",),
    "normalization: misused": ("no gradient", "alike", "unscaled inputs", "limited output"),
    "recurrence: memory": (
        "shut gates",
        "recurrent kernel",
        "forget bias overwritten",
        "vanishing gradient",
        "unread words",
    ),
    "attention: mask or scale": ("focused attention", "alike"),
    "optimizer: rate too large": ("large steps", "diverging steps", "stuck loss"),
    "optimizer: rate too small": ("small steps", "stuck loss"),
    "optimizer: sign": ("negative rate",),
    "optimizer: settings and precision": (
        "lost precision",
        "large decay",
        "small steps",
        "diverging steps",
        "stuck loss",
        "unmoved weights",
    ),
    "regularization: too strong": (
        "dropped output",
        "drowned signal",
        "large decay",
        "narrow constraint",
        "outweighed loss",
    ),
    "training: epochs, batches, order": (),
    "data: too little, overfitting": (),
    "capacity": (),
    "evaluation or other code": (),
    "other": (),
}
