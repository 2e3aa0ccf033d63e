"use strict";
/* Training by stochastic gradient descent, on two spirals or on digits, which are odd or even. Two networks that are compared
   have the first and the last layer, the data and their order in common, and differ in the weights of the layers between. */

function makeTraining() {
  const POINTS = 200, BATCH = 50, EPOCHS = 100, GRID = 20, REACH = 2.1, PIXELS = 64, SHOWN = 100;
  const FIRST_SEED = 97, OUTPUT_SEED = 98;

  /** Return the points of two spirals, in an order in which each batch has points from everywhere, and their classes. */
  function spirals() {
    const x = new Float32Array(2 * POINTS), y = new Uint8Array(POINTS);
    for (let row = 0; row < POINTS; row++) {
      const i = (37 * row) % POINTS, t = (i + 0.5) / POINTS, angle = 8 * t + Math.PI * (i % 2);
      x[2 * row] = 2 * t * Math.cos(angle);
      x[2 * row + 1] = 2 * t * Math.sin(angle);
      y[row] = i % 2;
    }
    return { x, y };
  }

  /** Return the points of a grid over the picture, row by row from the top. */
  function grid() {
    const points = new Float32Array(2 * GRID * GRID), place = (i) => REACH * (2 * (i + 0.5) / GRID - 1);
    for (let i = 0; i < GRID * GRID; i++) {
      points[2 * i] = place(i % GRID);
      points[2 * i + 1] = -place(Math.floor(i / GRID));
    }
    return points;
  }

  /** Return images of digits, and which of them are odd. */
  function digits() {
    const x = new Float32Array(PIXELS * POINTS), y = new Uint8Array(POINTS);
    DIGITS.forEach((text, row) => {
      for (let i = 0; i < PIXELS; i++) x[PIXELS * row + i] = (text.charCodeAt(i) - 97 - 5) / 6;
      y[row] = text[PIXELS] % 2;
    });
    return { x, y };
  }

  /** For each choice of data the numbers of an example, the function that makes them, and what the picture shows. */
  const DATA = {
    spirals: { size: 2, make: spirals, shown: grid },
    digits: { size: PIXELS, make: digits, shown: () => digits().x.subarray(0, PIXELS * SHOWN) },
  };

  /** Return a network before its first step, for examples of `size` numbers. */
  function start(settings, size) {
    const { width, depth, activation, initializer } = settings, seedOf = (number) => network.seedOf(settings, number);
    const dense = (kernel) => ({ kernel, bias: new Float32Array(width), gradient: new Float32Array(kernel.length) });
    const layers = [dense(initx.fanIn(seedOf(FIRST_SEED), size, width))];
    for (let number = 1; number <= depth; number++) {
      const drawn = initx.KERNELS[initializer](seedOf(number), width, network.gainOf(settings));
      layers.push(dense(initx.scaled(drawn, network.factorOf(settings))));
    }
    return { size, width, activation, layers, output: initx.fanIn(seedOf(OUTPUT_SEED), width, 1), bias: 0 };
  }

  /** Return the outputs of a network: the logarithm of the odds that an example is of the second class. */
  function outputs({ size, width, activation, layers, output, bias }, x) {
    const rows = x.length / size, found = new Float32Array(rows);
    let inputs = x;
    for (const layer of layers) {
      const before = new Float32Array(rows * width);
      layer.inputs = inputs;
      layer.after = new Float32Array(before.length);
      layer.slope = new Float32Array(before.length);
      network.multiply(inputs, layer.kernel, before, inputs.length / rows, width);
      for (let i = 0; i < before.length; i++) before[i] += layer.bias[i % width];
      network.ACTIVATIONS[activation](before, layer.after, layer.slope);
      inputs = layer.after;
    }
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let j = 0; j < width; j++) sum += inputs[row * width + j] * output[j];
      found[row] = sum + bias;
    }
    return found;
  }

  /** Take one step of gradient descent. Return the loss before it, the binary cross-entropy, and how many were right. */
  function step(net, x, y, rate) {
    const { width, layers, output } = net, rows = y.length, found = outputs(net, x);
    const { after } = layers.at(-1), shift = new Float32Array(width);
    let upstream = new Float32Array(rows * width), loss = 0, errors = 0, right = 0;
    for (let row = 0; row < rows; row++) {
      const logit = found[row], error = (1 / (1 + Math.exp(-logit)) - y[row]) / rows;
      loss += (Math.max(logit, 0) - logit * y[row] + Math.log1p(Math.exp(-Math.abs(logit)))) / rows;
      errors += error;
      right += logit > 0 === (y[row] === 1);
      for (let j = 0; j < width; j++) {
        upstream[row * width + j] = error * output[j];
        shift[j] += error * after[row * width + j];
      }
    }
    descend(output, shift, rate);
    net.bias -= rate * errors;
    for (const layer of layers.toReversed()) {
      const { kernel, inputs, slope, gradient, bias } = layer, columns = inputs.length / rows;
      for (let i = 0; i < slope.length; i++) slope[i] *= upstream[i];
      network.multiply(network.transposed(inputs, columns), slope, gradient, rows, width);
      if (layer !== layers[0]) {
        upstream = new Float32Array(rows * width);
        network.multiply(slope, network.transposed(kernel, width), upstream, width, columns);
      }
      descend(kernel, gradient, rate);
      descend(bias, network.columnSums(slope, width), rate);
    }
    return { loss, right };
  }

  function descend(weights, gradient, rate) {
    for (let i = 0; i < weights.length; i++) weights[i] -= rate * gradient[i];
  }

  /** Take the steps of an epoch. Return the mean of their losses, as `fit` does, and the share of examples that were right. */
  function epoch(net, { x, y }, rate) {
    const { size } = net, sum = { loss: 0, right: 0 };
    for (let first = 0; first < POINTS; first += BATCH) {
      const last = first + BATCH;
      const taken = step(net, x.subarray(size * first, size * last), y.subarray(first, last), rate);
      sum.loss += taken.loss;
      sum.right += taken.right;
    }
    return { loss: sum.loss / (POINTS / BATCH), right: sum.right / POINTS };
  }

  /** Train a network, and report the outputs for what is shown, before training and after each epoch. */
  function work({ settings, rate, data }, report) {
    const { size, make, shown } = DATA[data], examples = make(), points = shown(), net = start(settings, size);
    report({ odds: outputs(net, points) });
    for (let count = 0; count < EPOCHS; count++) report({ ...epoch(net, examples, rate), odds: outputs(net, points) });
  }

  return { DATA, spirals, digits, work, EPOCHS, GRID, REACH, PIXELS, FIRST_SEED, OUTPUT_SEED };
}

const training = makeTraining();
