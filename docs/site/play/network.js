"use strict";
/* A network of dense layers of equal width: its outputs, the gradients of its weights, and statistics of both. A change
   recomputes the weights that it concerns, the layers after the first that differs, and the gradients. */

function makeNetwork() {
  const EXAMPLES = 50, BINS = 61, LAST_SEED = 99;
  /** The range of the histograms of an activation: its limits, or where most of a signal of standard size is. */
  const RANGES = { tanh: [-1, 1], relu: [-1, 4], sigmoid: [0, 1], gelu: [-1, 4] };

  /** The labels of their axes. */
  const TICKS = { tanh: [-1, 0, 1], relu: [0, 2, 4], sigmoid: [0, 0.5, 1], gelu: [0, 2, 4] };

  /** For each activation a function that writes the outputs for `z`, and their slopes. */
  const ACTIVATIONS = {
    tanh(z, out, slope) {
      for (let i = 0; i < z.length; i++) slope[i] = 1 - (out[i] = Math.tanh(z[i])) ** 2;
    },
    relu(z, out, slope) {
      for (let i = 0; i < z.length; i++) {
        out[i] = Math.max(z[i], 0);
        slope[i] = z[i] > 0 ? 1 : 0;
      }
    },
    sigmoid(z, out, slope) {
      for (let i = 0; i < z.length; i++) {
        const value = 1 / (1 + Math.exp(-z[i]));
        out[i] = value;
        slope[i] = value * (1 - value);
      }
    },
    gelu(z, out, slope) {
      for (let i = 0; i < z.length; i++) {
        const x = z[i], bell = Math.exp(-x * x / 2), share = normalShare(x, bell);
        out[i] = x * share;
        slope[i] = share + x * bell * 0.3989422804014327;
      }
    },
  };

  /** The normal distribution function (Abramowitz and Stegun, 7.1.26); `bell` is exp(-x * x / 2). */
  function normalShare(x, bell) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x) * Math.SQRT1_2);
    const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return x > 0 ? 1 - series * bell / 2 : series * bell / 2;
  }

  /** Write the product of `a` and `b` to `out`. The rows of `a` are an even number, the columns of `b` a multiple of 4. */
  function multiply(a, b, out, inner, columns) {
    for (let j = 0; j < columns; j += 4) {
      for (let i = 0; i < out.length / columns; i += 2) {
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
        for (let p = i * inner, q = p + inner, end = q, r = j; p < end; p++, q++, r += columns) {
          const x = a[p], y = a[q], b0 = b[r], b1 = b[r + 1], b2 = b[r + 2], b3 = b[r + 3];
          s0 += x * b0, s1 += x * b1, s2 += x * b2, s3 += x * b3;
          t0 += y * b0, t1 += y * b1, t2 += y * b2, t3 += y * b3;
        }
        const top = i * columns + j, low = top + columns;
        out[top] = s0, out[top + 1] = s1, out[top + 2] = s2, out[top + 3] = s3;
        out[low] = t0, out[low + 1] = t1, out[low + 2] = t2, out[low + 3] = t3;
      }
    }
  }

  function transposed(a, columns) {
    const out = new Float32Array(a.length), rows = a.length / columns;
    for (let i = 0, at = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) out[j * rows + i] = a[at++];
    }
    return out;
  }

  /** Return statistics of the finite numbers of an array, and the share of the others. */
  function moments(values) {
    let sum = 0, zeros = 0, deviations = 0;
    for (let i = 0; i < values.length; i++) {
      sum += values[i];
      zeros += values[i] === 0 ? 1 : 0;
    }
    if (!Number.isFinite(sum)) {
      const finite = values.filter(Number.isFinite);
      return { ...moments(finite), zeros: zeros / values.length, nonfinite: 1 - finite.length / values.length };
    }
    const size = Math.max(values.length, 1), mean = sum / size;
    for (let i = 0; i < values.length; i++) deviations += (values[i] - mean) * (values[i] - mean);
    return { mean, std: Math.sqrt(deviations / size), zeros: zeros / size, nonfinite: 0 };
  }

  /** Return the standard deviation between examples, for rows that are units. */
  function spread(units) {
    let sum = 0;
    for (let start = 0; start < units.length; start += EXAMPLES) {
      const { std, nonfinite } = moments(units.subarray(start, start + EXAMPLES));
      sum += nonfinite ? NaN : std * std;
    }
    return Math.sqrt(sum * EXAMPLES / units.length);
  }

  function histogram(values, [low, high]) {
    const counts = new Uint32Array(BINS), factor = BINS / (high - low);
    for (let i = 0; i < values.length; i++) {
      const bin = Math.floor((values[i] - low) * factor);
      if (bin === bin) counts[Math.max(0, Math.min(BINS - 1, bin))]++;
    }
    return counts;
  }

  /** Return the share of units that an activation makes zero for all examples. */
  function deadShare(before, after, columns) {
    let dead = 0;
    for (let j = 0; j < columns; j++) {
      let isZero = true, wasZero = true;
      for (let i = j; i < after.length && isZero; i += columns) {
        isZero = after[i] === 0;
        wasZero &&= before[i] === 0;
      }
      dead += isZero && !wasZero;
    }
    return dead / columns;
  }

  function saturatedShare(values, [low, high]) {
    const margin = PACKAGE.thresholds.saturation_margin * (high - low);
    let count = 0;
    for (let i = 0; i < values.length; i++) count += values[i] <= low + margin || values[i] >= high - margin;
    return count / values.length;
  }

  const data = {}; // inputs and targets
  const layers = [];
  const scratch = { upstream: new Float32Array(0), delta: new Float32Array(0), gradient: new Float32Array(0) };

  /** The seed of layer `number` from 1 on; 0 is for the inputs, and 99 for the targets. */
  const seedOf = (settings, number) => 100 * settings.seed + number;

  /** Return the network for these settings: statistics of its inputs, and its layers with theirs. */
  function run(settings) {
    const { width, depth, activation } = settings, dataKey = `${settings.seed} ${width} ${activation}`;
    let isOld = data.key === dataKey;
    if (!isOld) {
      const inputs = initx.examples(seedOf(settings, 0), EXAMPLES, width);
      // Outputs of the last layer can reach them.
      const targets = initx.examples(seedOf(settings, LAST_SEED), EXAMPLES, width);
      ACTIVATIONS[activation](targets, targets, new Float32Array(targets.length));
      Object.assign(data, { key: dataKey, inputs, targets, before: moments(inputs) });
    }
    layers.length = Math.min(layers.length, depth);
    for (let index = 0; index < depth; index++) {
      const layer = (layers[index] ??= { name: `layer_${index + 1}` });
      isOld = setWeights(layer, settings, seedOf(settings, index + 1)) && isOld && layer.activation === activation;
      if (!isOld) forward(layer, index ? layers[index - 1].after : data.inputs, width, activation);
    }
    backward(width);
    return { inputs: data.before, targets: data.targets, layers, width };
  }

  const gainOf = ({ activation }) => PACKAGE.gains[activation] ?? 1;

  /** The factor on a kernel that was drawn: the scale, and the gain where it is no argument of the draw. */
  function factorOf(settings) {
    return settings.initializer === "orthogonal" ? gainOf(settings) * settings.scale : settings.scale;
  }

  /** Make the kernel of a layer, and return whether it is the same as before. */
  function setWeights(layer, settings, seed) {
    const { initializer, width } = settings, gain = gainOf(settings), factor = factorOf(settings);
    const drawn = [initializer, width, seed, initializer === "sparse" && gain].join(), key = `${drawn} ${factor}`;
    if (layer.key === key) return true;
    if (layer.drawn !== drawn) layer.unscaled = initx.KERNELS[initializer](seed, width, gain);
    layer.kernel = initx.scaled(layer.unscaled, factor);
    const isConstant = layer.kernel.every((weight) => weight === layer.kernel[0]);
    const weight = isConstant ? layer.kernel[0] : NaN;
    const isZero = weight === 0, turned = transposed(layer.kernel, width);
    Object.assign(layer, { drawn, key, isConstant, weight, isZero, turned });
    return false;
  }

  function forward(layer, inputs, width, activation) {
    if (layer.before?.length !== inputs.length) {
      for (const name of ["before", "after", "slope"]) layer[name] = new Float32Array(inputs.length);
    }
    const { before, after, slope } = layer;
    multiply(inputs, layer.kernel, before, width, width);
    ACTIVATIONS[activation](before, after, slope);
    const limits = PACKAGE.limits[activation];
    Object.assign(layer, moments(before), {
      activation,
      inputs: transposed(inputs, width),
      output: moments(after),
      counts: histogram(after, RANGES[activation]),
      saturated: limits ? saturatedShare(after, limits) : null,
      dead: limits ? null : deadShare(before, after, width),
    });
  }

  /** Compute the norm of the gradient of each layer's kernel and bias, for the mean squared error. */
  function backward(width) {
    const size = EXAMPLES * width, { targets } = data, outputs = layers.at(-1).after;
    if (scratch.delta.length !== size) {
      for (const name of ["upstream", "delta"]) scratch[name] = new Float32Array(size);
      scratch.gradient = new Float32Array(width * width);
    }
    const { upstream, delta, gradient } = scratch;
    for (let i = 0; i < size; i++) upstream[i] = 2 * (outputs[i] - targets[i]) / size;
    for (let index = layers.length - 1; index >= 0; index--) {
      const layer = layers[index];
      for (let i = 0; i < size; i++) delta[i] = upstream[i] * layer.slope[i];
      multiply(layer.inputs, delta, gradient, EXAMPLES, width);
      layer.gradient_norm = Math.sqrt(squares(gradient) + squares(columnSums(delta, width)));
      if (index) multiply(delta, layer.turned, upstream, width, width);
    }
  }

  function columnSums(values, columns) {
    const sums = new Float32Array(columns);
    for (let i = 0; i < values.length; i += columns) {
      for (let j = 0; j < columns; j++) sums[j] += values[i + j];
    }
    return sums;
  }

  function squares(values) {
    let sum = 0;
    for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
    return sum;
  }

  return {
    run, spread, transposed, multiply, columnSums, gainOf, factorOf, seedOf, ACTIVATIONS, EXAMPLES, BINS, LAST_SEED, RANGES, TICKS,
  };
}

const network = makeNetwork();
