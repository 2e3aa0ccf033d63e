"use strict";
/* The initializers of keras_initx for square kernels, with the same bits; orthogonal kernels are equal to rounding. The
   page "Design" of the documentation explains the methods. Typed arrays round to float32 as NumPy does. Sizes are
   multiples of 4. */

function makeInitx() {
  const { fround, sqrt, floor, imul } = Math;
  const VALUES = 0, SUPPORT = 1, FRAME = 2; // the draws of the package

  /** Return the first `count` words of a draw: Threefry-2x32 with 20 rounds (Salmon and others, SC 2011). */
  function words(seed, draw, count) {
    const key = Int32Array.of(seed, 0, seed ^ 0x1BD11BDA);
    const out = new Int32Array(count + (count & 1));
    for (let i = 0; i < out.length; i += 2) {
      let x0 = ((i >>> 1) + key[0]) | 0, x1 = (draw + key[1]) | 0;
      for (let group = 1; group <= 5; group++) {
        if (group & 1) {
          x0 = (x0 + x1) | 0, x1 = ((x1 << 13) | (x1 >>> 19)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 15) | (x1 >>> 17)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 26) | (x1 >>> 6)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 6) | (x1 >>> 26)) ^ x0;
        } else {
          x0 = (x0 + x1) | 0, x1 = ((x1 << 17) | (x1 >>> 15)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 29) | (x1 >>> 3)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 16) | (x1 >>> 16)) ^ x0;
          x0 = (x0 + x1) | 0, x1 = ((x1 << 24) | (x1 >>> 8)) ^ x0;
        }
        x0 = (x0 + key[group % 3]) | 0;
        x1 = (x1 + key[(group + 1) % 3] + group) | 0;
      }
      out[i] = x0;
      out[i + 1] = x1;
    }
    return out.subarray(0, count);
  }

  /** Return `(x + shift) * factor` for each of the numbers, limited to `±bound`. */
  function finished(values, offset, factor, bound) {
    const shift = fround(offset / factor), scale = fround(factor), limit = roundedDown(bound);
    for (let i = 0; i < values.length; i++) {
      values[i] = Math.max(-limit, Math.min(limit, fround(fround(values[i] + shift) * scale)));
    }
    return values;
  }

  /** Return the largest float32 that is not above a positive number. */
  function roundedDown(x) {
    const nearest = Float32Array.of(x);
    if (nearest[0] > x) new Int32Array(nearest.buffer)[0] -= 1;
    return nearest[0];
  }

  function uniform(seed, count, limit) {
    const drawn = words(seed, VALUES, count), out = new Float32Array(count);
    for (let i = 0; i < count; i++) out[i] = ((drawn[i] >>> 9) + 0.5) / 2 ** 23;
    return finished(out, -limit, 2 * limit, limit);
  }

  /** Return draws from N(0, stddev^2): the sum of two entries of the table (Thomas, ACM TRETS 2015). */
  function normal(seed, draw, count, stddev = 1, zero = 0) {
    const table = normalTable(), drawn = words(seed, draw, count), out = new Float32Array(count);
    const factor = fround(stddev);
    for (let i = 0; i < count; i++) {
      out[i] = (fround(table[drawn[i] >>> 16] + table[drawn[i] & 0xFFFF]) || zero) * factor;
    }
    return out;
  }

  /** Return draws from a normal distribution truncated at twice the deviation it had before. */
  function truncatedNormal(seed, count, stddev) {
    const { knots, deviation } = quantiles(), unit = 4 / 2 ** 24, scale = stddev / deviation;
    const drawn = words(seed, VALUES, count), out = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const low = knots[drawn[i] >>> 16], width = knots[(drawn[i] >>> 16) + 1] - low;
      out[i] = low + (imul(width, ((drawn[i] >>> 8) & 0xFE) | 1) >>> 8);
    }
    return finished(out, scale * (-2 + unit / 2), scale * unit, 2 * scale);
  }

  /** Return a kernel with `k` nonzero weights for each unit, at places chosen by Floyd's algorithm (CACM 1987). */
  function sparse(seed, size, gain) {
    const k = Math.min(10, size), out = new Float32Array(size * size), rows = new Int32Array(k);
    const drawn = words(seed, SUPPORT, k * size);
    const values = normal(seed, VALUES, k * size, gain / sqrt(k), 2 ** -15);
    for (let unit = 0; unit < size; unit++) {
      for (let step = 0; step < k; step++) {
        const last = step + size - k, row = floor((drawn[step * size + unit] >>> 0) * (last + 1) / 2 ** 32);
        rows[step] = rows.subarray(0, step).includes(row) ? last : row;
        out[rows[step] * size + unit] = values[step * size + unit];
      }
    }
    return out;
  }

  /** Return an orthogonal kernel: a product of random reflections (Stewart, SIAM J. Numer. Anal. 1980). */
  function orthogonal(seed, size) {
    const panel = 64; // columns whose vectors are drawn with the same length
    const before = (first) => first * size - first * (first - panel) / 2;
    const lastPanel = size - 1 - (size - 1) % panel;
    const draws = normal(seed, FRAME, before(lastPanel) + (size - lastPanel) ** 2);
    const columns = new Float64Array(size * size), vector = new Float64Array(size), out = new Float32Array(size * size);
    const signs = new Float64Array(size);
    for (let j = size - 1; j >= 0; j--) {
      const first = j - j % panel, start = before(first) + (j - first) * (size - first) - first;
      let squares = 0;
      for (let i = j; i < size; i++) squares += draws[start + i] * draws[start + i];
      // A vector of zeros is replaced by the first axis.
      const norm = sqrt(squares) || 1, head = squares ? draws[start + j] : 1, sign = head < 0 ? -1 : 1;
      const scale = 1 / sqrt(norm * (norm + Math.abs(head)));
      for (let i = j; i < size; i++) vector[i] = draws[start + i] * scale;
      vector[j] = (head + sign * norm) * scale;
      columns[j * size + j] = 1;
      signs[j] = -sign;
      reflect(columns, vector, size, j);
    }
    for (let i = 0; i < size; i++) {
      for (let j = 0; j < size; j++) out[i * size + j] = columns[j * size + i] * signs[j];
    }
    return out;
  }

  /** Subtract `v (v' c)` from each column `c`, four at a time. Columns before `j` are zero from row `j` on. */
  function reflect(columns, vector, size, j) {
    for (let p = (j & ~3) * size; p < columns.length; p += 4 * size) {
      const q = p + size, r = q + size, s = r + size;
      let a = 0, b = 0, c = 0, d = 0;
      for (let i = j; i < size; i++) {
        const v = vector[i];
        a += v * columns[p + i], b += v * columns[q + i], c += v * columns[r + i], d += v * columns[s + i];
      }
      for (let i = j; i < size; i++) {
        const v = vector[i];
        columns[p + i] -= a * v, columns[q + i] -= b * v, columns[r + i] -= c * v, columns[s + i] -= d * v;
      }
    }
  }

  const once = (make) => {
    let made;
    return () => (made ??= make());
  };
  const polynomial = (coefficients, x) => coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
  const ratio = ([numerator, denominator], x) => polynomial(numerator, x) / polynomial(denominator, x);

  // Wichura, "Algorithm AS 241", Applied Statistics 37 (1988), PPND16.
  const CENTER = [
    [2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
      1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.3871328727963666080e0],
    [5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
      5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1.0],
  ];
  const TAIL = [
    [7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e0,
      3.64784832476320460504e0, 5.76949722146069140550e0, 4.63033784615654529590e0, 1.42343711074968357734e0],
    [1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
      6.89767334985100004550e-1, 1.67638483018380384940e0, 2.05319162663775882187e0, 1.0],
  ];

  /** The normal quantiles at the midpoints of 65,536 equal intervals, scaled to variance one half. */
  const normalTable = once(() => {
    const half = 1 << 15, table = new Float32Array(2 * half), scale = sqrt(2 * 0.9999797186525821);
    for (let i = 0; i < half; i++) {
      const q = (i + 0.5) / (2 * half);
      const quantile = q > 0.425 ? ratio(TAIL, sqrt(-logarithm(0.5 - q)) - 1.6) : q * ratio(CENTER, 0.180625 - q * q);
      table[half + i] = quantile / scale;
      table[half - 1 - i] = -quantile / scale;
    }
    return table;
  });

  const LOGARITHM = Array.from({ length: 23 }, (_, i) => 2 / (45 - 2 * i));

  /** The natural logarithm, from operations that are rounded the same everywhere. */
  function logarithm(x) {
    let exponent = 0;
    for (; x < 0.5; exponent--) x *= 2;
    const s = (x - 1) / (x + 1);
    return exponent * 0.6931471805599453 + s * polynomial(LOGARITHM, s * s);
  }

  /** The quantiles of N(0, 1) between -2 and 2, as integers up to 2^24, and the deviation of draws from them. */
  const quantiles = once(() => {
    const cells = 1 << 16, share = new Float64Array(cells + 1), levels = new Float64Array(cells + 1);
    const x = (i) => -2 + 4 / cells * i;
    for (let i = 0, mass = 0; i < cells; i++) {
      mass += density(x(i)) + 4 * density(x(i) + 2 / cells) + density(x(i + 1));
      share[i + 1] = mass;
    }
    for (let i = 0, total = share[cells]; i <= cells; i++) share[i] /= total;
    for (let i = 0, cell = 0; i <= cells; i++) {
      const level = i / cells;
      while (cell < cells - 1 && share[cell + 1] <= level) cell++;
      levels[i] = (cell + (level - share[cell]) / (share[cell + 1] - share[cell])) / cells;
    }
    const knots = Int32Array.from(levels, (level, i) => nearest((level + (1 - levels[cells - i])) / 2 * 2 ** 24));
    const middle = (i) => (knots[i] + knots[i + 1]) / 2, square = (x) => x * x;
    let mean = 0;
    for (let i = 0; i < cells; i++) mean += middle(i);
    mean /= cells;
    let sum = 0, lost = 0; // what the sum has lost by rounding (Neumaier, 1974)
    for (let i = 0; i < cells; i++) {
      const term = square(middle(i) - mean) + square(knots[i + 1] - knots[i]) / 12;
      const next = sum + term;
      lost += sum >= term ? sum - next + term : term - next + sum;
      sum = next;
    }
    return { knots, deviation: 4 / 2 ** 24 * sqrt((sum + lost) / cells) };
  });

  const factorial = (n) => (n ? n * factorial(n - 1) : 1);
  const EXPONENTIAL = Array.from({ length: 16 }, (_, i) => 1 / factorial(15 - i));

  /** `exp(-x * x / 2)`, from operations that are rounded the same everywhere. */
  function density(x) {
    const power = -x * (x / 2), twos = nearest(power * 1.4426950408889634);
    return polynomial(EXPONENTIAL, power - twos * 0.6931471805599453) * 2 ** twos;
  }

  /** The nearest integer, the even one of two that are equally near. */
  const nearest = (x) => x + 6755399441055744 - 6755399441055744;

  /** Return a kernel of shape `(inputs, units)` from N(0, 1 / inputs). */
  const fanIn = (seed, inputs, units) => normal(seed, VALUES, inputs * units, sqrt(1 / inputs));

  const CONSTANT = 0.1;
  /** For each choice the kernel of shape `(size, size)` for a seed; only `sparse` takes a gain here. */
  const KERNELS = {
    zeros: (seed, size) => new Float32Array(size * size),
    equal: (seed, size) => new Float32Array(size * size).fill(CONSTANT),
    small: (seed, size) => normal(seed, VALUES, size * size, 0.01),
    fan_in: (seed, size) => fanIn(seed, size, size),
    glorot: (seed, size) => uniform(seed, size * size, sqrt(3) * sqrt(1 / size)),
    he: (seed, size) => truncatedNormal(seed, size * size, sqrt(2 / size)),
    sparse,
    orthogonal,
  };

  /** Return `kernel * factor`. */
  function scaled(kernel, factor) {
    if (factor === 1) return kernel;
    const out = new Float32Array(kernel.length), rounded = fround(factor);
    for (let i = 0; i < out.length; i++) out[i] = kernel[i] * rounded;
    return out;
  }

  /** Return standard normal examples. */
  const examples = (seed, count, size) => normal(seed, VALUES, count * size);

  return { KERNELS, scaled, examples, fanIn };
}

const initx = makeInitx();
