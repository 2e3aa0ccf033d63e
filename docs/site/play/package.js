// Thresholds and texts of `diagnose` in keras_initx 0.1.0 of 27 November 2026 (commit 015473e4).
const PACKAGE = {
 "thresholds": {
  "vanishing": 0.001,
  "exploding": 1000.0,
  "saturated": 0.25,
  "saturation_margin": 0.005,
  "dead": 0.75,
  "saturated_output": 0.6,
  "first_loss": 8,
  "inputs_differ": 0.01,
  "vanishing_gradient": 0.0001,
  "exploding_gradient": 100000.0
 },
 "limits": {
  "tanh": [
   -1.0,
   1.0
  ],
  "relu": null,
  "sigmoid": [
   0.0,
   1.0
  ],
  "gelu": null
 },
 "gains": {
  "relu": 1.4142135623730951,
  "gelu": 1.53353
 },
 "remedies": {
  "tanh": {
   "random": "draw random weights: keras_initx.GlorotUniform()",
   "signals": [
    "use keras_initx.GlorotUniform() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)",
    "use keras_initx.Orthogonal() or keras_initx.GlorotUniform() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)"
   ],
   "gradients": "use keras_initx.Orthogonal() or keras_initx.GlorotUniform() in all layers",
   "smaller": "draw smaller weights: keras_initx.Orthogonal() or keras_initx.GlorotUniform()"
  },
  "relu": {
   "random": "draw random weights: keras_initx.HeNormal()",
   "signals": [
    "use keras_initx.HeNormal() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)",
    "use keras_initx.Orthogonal(gain=\"relu\") or keras_initx.HeNormal() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)"
   ],
   "gradients": "use keras_initx.Orthogonal(gain=\"relu\") or keras_initx.HeNormal() in all layers",
   "smaller": "draw smaller weights: keras_initx.Orthogonal(gain=\"relu\") or keras_initx.HeNormal()"
  },
  "sigmoid": {
   "random": "draw random weights: keras_initx.GlorotUniform()",
   "signals": [
    "use keras_initx.GlorotUniform() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)",
    "use keras_initx.Orthogonal() or keras_initx.GlorotUniform() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)"
   ],
   "gradients": "use activation=\"tanh\" with keras_initx.GlorotUniform() instead of sigmoid, or add keras.layers.BatchNormalization() before it, because the slope of sigmoid is at most 1/4, and no initializer makes up for that",
   "smaller": "draw smaller weights: keras_initx.Orthogonal() or keras_initx.GlorotUniform()"
  },
  "gelu": {
   "random": "draw random weights: keras_initx.HeNormal()",
   "signals": [
    "use keras_initx.HeNormal() in this and all earlier layers; if they have it, use keras_initx.lsuv(model, x)",
    "use keras_initx.lsuv(model, x), and train with Adam"
   ],
   "gradients": "use keras_initx.lsuv(model, x), and train with Adam",
   "smaller": "use keras_initx.lsuv(model, x), and train with Adam"
  }
 },
 "texts": {
  "saturated output: one": [
   "warning",
   "{worst} is saturated for {worst.certain:.0%} of the examples before training; the values before its activation have standard deviation {worst.std:.3g}. The loss starts far above a guess, and the first steps only undo this",
   "draw smaller weights in the last layer: keras_initx.GlorotUniform()"
  ],
  "large first loss: one": [
   "warning",
   "{worst} starts with a loss of {worst.loss:.3g}; guessing would cost {worst.blind_loss:.3g}. Its outputs have standard deviation {worst.std:.3g}. The first steps only undo this",
   "draw smaller weights in the last layer: keras_initx.GlorotUniform()"
  ],
  "alike: one": [
   "warning",
   "the inputs of {last} differ between examples by {last.inputs_differ:.1g} of their root mean square; the inputs of {first} differ by {first.inputs_differ:.1g}. The last layer gets nearly the same for all examples",
   "{gradients}"
  ],
  "all-zero weights: error, one": [
   "error",
   "all weights of {weights} are 0. Their units have the same output, and no gradient passes back through them",
   "{random}"
  ],
  "all-zero weights: note, one": [
   "note",
   "all weights of {weights} are 0. No later layer gets equal inputs for all examples because of this",
   "{random}, unless the zeros are intended, for example at the end of a residual branch, at the output, in an adapter or in a position embedding"
  ],
  "constant weights: one": [
   "error",
   "all weights of {weights} are equal, {first.weight:.3g}. The units are identical, and training updates them in the same way",
   "{random}"
  ],
  "exploding: finite, one": [
   "error",
   "the standard deviation grows from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first}",
   "{signals}"
  ],
  "exploding: lost, one": [
   "error",
   "the standard deviation grows from {inputs.std:.3g} at the inputs to {lost.std:.3g} in {lost}; {lost.nonfinite:.0%} of the outputs of {lost} are not finite",
   "{signals}"
  ],
  "saturated: one": [
   "warning",
   "{worst.saturated:.0%} of the outputs of {worst} are at the limits of {activation}, where its gradient is almost 0; the values before its activation have standard deviation {worst.std:.3g}",
   "{signals}"
  ],
  "dead units: some, one": [
   "warning",
   "{worst.dead:.0%} of the units of {worst} output 0 for all {examples} examples; their inputs have mean {worst.mean:.3g} and standard deviation {worst.std:.3g}. These units get no gradient",
   "use keras_initx.HeNormal() with bias_initializer=keras_initx.ReLUBias(0.01): weights of mean 0 and a small positive bias"
  ],
  "dead units: all, one": [
   "error",
   "{worst.dead:.0%} of the units of {worst} output 0 for all {examples} examples; their inputs have mean {worst.mean:.3g} and standard deviation {worst.std:.3g}. These units get no gradient",
   "use keras_initx.HeNormal() with bias_initializer=keras_initx.ReLUBias(0.01): weights of mean 0 and a small positive bias"
  ],
  "vanishing: warning, one": [
   "warning",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first}",
   "{signals}"
  ],
  "vanishing: error, one": [
   "error",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first}",
   "{signals}"
  ],
  "vanishing: note, one": [
   "note",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first}. No later layer gets too small inputs because of this",
   "{signals}"
  ],
  "vanishing gradient: some, one": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g}; the gradient norm of {strongest} is {strongest.gradient_norm:.3g}. No single rate suits both",
   "{gradients}"
  ],
  "vanishing gradient: all, one": [
   "error",
   "all gradients are 0",
   "{gradients}"
  ],
  "exploding gradient: finite, one": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g}; the limit is 100000",
   "use a loss that matches the outputs (`from_logits=True` if there is no softmax), or {smaller}"
  ],
  "exploding gradient: finite and lost, one": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g}; the limit is 100000",
   "{smaller}"
  ],
  "exploding gradient: infinite, one": [
   "error",
   "the gradient norm of {first} is {first.gradient_norm:.3g}; the limit is 100000",
   "use a loss that matches the outputs (`from_logits=True` if there is no softmax), or {smaller}"
  ],
  "exploding gradient: infinite and lost, one": [
   "error",
   "the gradient norm of {first} is {first.gradient_norm:.3g}; the limit is 100000",
   "{smaller}"
  ],
  "all-zero weights: error, many": [
   "error",
   "all weights of {weights} are 0. Their units have the same output, and no gradient passes back through them",
   "{random}"
  ],
  "all-zero weights: note, many": [
   "note",
   "all weights of {weights} are 0. No later layer gets equal inputs for all examples because of this",
   "{random}, unless the zeros are intended, for example at the end of a residual branch, at the output, in an adapter or in a position embedding"
  ],
  "constant weights: many": [
   "error",
   "all weights of {weights} are equal, {first.weight:.3g} in {first}/kernel. The units are identical, and training updates them in the same way",
   "{random}"
  ],
  "exploding: finite, many": [
   "error",
   "the standard deviation grows from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first} and {last.std:.3g} in {last} ({count} layers)",
   "{signals}"
  ],
  "exploding: lost, many": [
   "error",
   "the standard deviation grows from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first} and {last.std:.3g} in {last} ({count} layers); {lost.nonfinite:.0%} of the outputs of {lost} are not finite",
   "{signals}"
  ],
  "saturated: many": [
   "warning",
   "{worst.saturated:.0%} of the outputs of {worst} are at the limits of {activation} ({count} layers), where its gradient is almost 0; the values before its activation have standard deviation {worst.std:.3g}",
   "{signals}"
  ],
  "dead units: some, many": [
   "warning",
   "{worst.dead:.0%} of the units of {worst} output 0 for all {examples} examples ({count} layers); their inputs have mean {worst.mean:.3g} and standard deviation {worst.std:.3g}. These units get no gradient",
   "use keras_initx.HeNormal() with bias_initializer=keras_initx.ReLUBias(0.01): weights of mean 0 and a small positive bias"
  ],
  "dead units: all, many": [
   "error",
   "{worst.dead:.0%} of the units of {worst} output 0 for all {examples} examples ({count} layers); their inputs have mean {worst.mean:.3g} and standard deviation {worst.std:.3g}. These units get no gradient",
   "use keras_initx.HeNormal() with bias_initializer=keras_initx.ReLUBias(0.01): weights of mean 0 and a small positive bias"
  ],
  "vanishing: warning, many": [
   "warning",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first} and {last.std:.3g} in {last} ({count} layers)",
   "{signals}"
  ],
  "vanishing: error, many": [
   "error",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first} and {last.std:.3g} in {last} ({count} layers)",
   "{signals}"
  ],
  "vanishing: note, many": [
   "note",
   "the standard deviation falls from {inputs.std:.3g} at the inputs to {first.std:.3g} in {first} and {last.std:.3g} in {last} ({count} layers). No later layer gets too small inputs because of this",
   "{signals}"
  ],
  "vanishing gradient: some, many": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g} ({count} layers); the gradient norm of {strongest} is {strongest.gradient_norm:.3g}. No single rate suits both",
   "{gradients}"
  ],
  "vanishing gradient: all, many": [
   "error",
   "all gradients are 0 ({count} layers)",
   "{gradients}"
  ],
  "exploding gradient: finite, many": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g} ({count} layers); the limit is 100000",
   "use a loss that matches the outputs (`from_logits=True` if there is no softmax), or {smaller}"
  ],
  "exploding gradient: finite and lost, many": [
   "warning",
   "the gradient norm of {first} is {first.gradient_norm:.3g} ({count} layers); the limit is 100000",
   "{smaller}"
  ],
  "exploding gradient: infinite, many": [
   "error",
   "the gradient norm of {first} is {first.gradient_norm:.3g} ({count} layers); the limit is 100000",
   "use a loss that matches the outputs (`from_logits=True` if there is no softmax), or {smaller}"
  ],
  "exploding gradient: infinite and lost, many": [
   "error",
   "the gradient norm of {first} is {first.gradient_norm:.3g} ({count} layers); the limit is 100000",
   "{smaller}"
  ]
 }
};
