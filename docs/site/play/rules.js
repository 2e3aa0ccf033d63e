"use strict";
/* What `diagnose` says of the network: its rules, as far as a network of dense layers can break them, with its thresholds
   and texts from `package.js`. */

const rules = (() => {
  const { thresholds, texts, remedies, limits } = PACKAGE;

  /** Return the problems of a network, each with its level, layers, evidence and remedy; notes come last. */
  function diagnose({ inputs, targets, layers, width }) {
    const lost = lostSignals(layers), last = layers.at(-1), found = [];

    /** Add a problem in the layers `hit`, whose text depends on `condition` and on their number. */
    function add(problem, condition, hit, roles = {}) {
      const variant = [condition, hit.length > 1 ? "many" : "one"].filter(Boolean).join(", ");
      const all = { inputs, first: hit[0], worst: hit[0], lost: hit[0], last: hit.at(-1), ...roles };
      const names = hit.map((layer) => `${layer.name}/kernel`);
      const weights = names.slice(0, 4).join(", ") + (names.length > 4 ? ` and ${names.length - 4} more` : "");
      const given = remedies[last.activation];
      const plain = { weights, count: hit.length, examples: network.EXAMPLES, activation: last.activation, ...given,
        signals: given.signals[layers.length < 10 ? 0 : 1] };
      const [level, evidence, remedy] = texts[`${problem}: ${variant}`].map((text) => filled(text, all, plain));
      found.push({ problem, level, evidence, remedy, layers: hit.map((layer) => layer.name) });
    }

    /** Add a problem with a level where it does harm, and as a note elsewhere. */
    function addByHarm(problem, level, hit, doesHarm) {
      for (const [condition, group] of [[level, hit.filter(doesHarm)], ["note", hit.filter((x) => !doesHarm(x))]]) {
        if (group.length) add(problem, condition, group);
      }
    }

    const zeros = layers.filter((layer) => layer.isZero);
    const someAreLost = zeros.some((layer) => lost.causes.has(layer));
    addByHarm("all-zero weights", "error", zeros, (layer) => lost.causes.has(layer) || (someAreLost && lost.starved.has(layer)));

    const constant = layers.filter((layer) => layer.isConstant && !layer.isZero);
    if (constant.length) add("constant weights", "", constant);

    const exploding = layers.filter((layer) => layer.nonfinite || layer.std > thresholds.exploding);
    const infinite = exploding.find((layer) => layer.nonfinite);
    if (exploding.length) add("exploding", infinite ? "lost" : "finite", exploding, infinite && { lost: infinite });

    const addWorst = (problem, hit, measured, condition = () => "") => {
      if (!hit.length) return;
      const worst = hit.reduce((most, layer) => (layer[measured] > most[measured] ? layer : most));
      add(problem, condition(worst), hit, { worst });
    };
    const isFinalSigmoid = (layer) => layer === last && layer.activation === "sigmoid";
    addWorst("saturated", layers.filter((layer) => layer.saturated > thresholds.saturated && !isFinalSigmoid(layer)),
      "saturated");
    last.certain = isFinalSigmoid(last) ? certainty(last, width) : 0;
    addWorst("saturated output", last.certain > thresholds.saturated_output ? [last] : [], "certain");
    measureLoss(last, targets, width);
    const isLarge = last.ratio > thresholds.first_loss && last.std <= thresholds.exploding;
    addWorst("large first loss", isLarge && !(last.certain > thresholds.saturated_output) ? [last] : [], "ratio");
    addWorst("dead units", layers.filter((layer) => layer.dead > thresholds.dead), "dead",
      (worst) => (worst.dead === 1 ? "all" : "some"));

    // A kernel of zeros causes everything after it, and has its own verdict.
    const firstLoss = layers.findIndex((layer) => layer.isZero && lost.causes.has(layer));
    const small = (firstLoss < 0 ? layers : layers.slice(0, firstLoss))
      .filter((layer) => !layer.nonfinite && layer.std < thresholds.vanishing && !(layer.isZero && layer.zeros === 1));
    const level = !zeros.length && layers[0].gradient_norm === 0 ? "error" : "warning";
    addByHarm("vanishing", level, small, (layer) => lost.causes.has(layer) || lost.starved.has(layer));

    addAlike(layers, width, lost, add);
    addVanishingGradient(layers, zeros, add);
    addExplodingGradient(layers, add);
    return [...found.filter(({ level }) => level !== "note"), ...found.filter(({ level }) => level === "note")];
  }

  /** Add the problem of a last layer that gets nearly the same inputs for all examples. */
  function addAlike(layers, width, lost, add) {
    const first = layers[0], last = layers.at(-1), limit = thresholds.inputs_differ;
    // Weights that are no random numbers have their own verdicts.
    if (first === last || lost.causes.size || layers.some((layer) => layer.isConstant)) return;
    for (const layer of [first, last]) {
      const squares = layer.inputs.reduce((sum, x) => sum + x * x, 0);
      layer.inputs_differ = network.spread(layer.inputs) / Math.sqrt(squares / layer.inputs.length);
    }
    if (last.inputs_differ <= limit && first.inputs_differ > 10 * limit) add("alike", "", [last], { first });
  }

  function addVanishingGradient(layers, zeros, add) {
    const strongest = layers.reduce((most, layer) => (layer.gradient_norm > most.gradient_norm ? layer : most));
    const largest = strongest.gradient_norm;
    const end = layers.findIndex((layer) => !(layer.gradient_norm <= thresholds.vanishing_gradient * largest));
    // No gradient passes through zeros, which have their own verdict.
    const hit = layers.slice(0, end < 0 ? layers.length : end).filter((layer) => !zeros.length || layer.gradient_norm);
    if (hit.length && Number.isFinite(largest)) add("vanishing gradient", largest ? "some" : "all", hit, { strongest });
  }

  function addExplodingGradient(layers, add) {
    const hit = layers.filter((layer) => !(layer.gradient_norm <= thresholds.exploding_gradient));
    const isFinite = hit.every((layer) => Number.isFinite(layer.gradient_norm));
    const condition = (isFinite ? "finite" : "infinite") + (layers.some((layer) => layer.nonfinite) ? " and lost" : "");
    if (hit.length) add("exploding gradient", condition, hit);
  }

  /** Return the layers with nearly zero output because of which a later kernel gets equal inputs, and these kernels. */
  function lostSignals(layers) {
    const causes = new Set(), starved = new Set();
    let row = [], isOver = false; // the most recent consecutive layers whose output was nearly zero
    for (const layer of layers) {
      const differs = row.length ? network.spread(layer.inputs) : Infinity;
      const largest = row.length ? layer.inputs.reduce((most, x) => Math.max(most, Math.abs(x)), 0) : 0;
      const isWeak = differs < thresholds.vanishing, isSame = differs <= 1e-5 * largest;
      const suspects = row.filter((suspect) => (suspect.isZero ? isSame : isWeak));
      for (const suspect of suspects) causes.add(suspect);
      if (suspects.length) starved.add(layer);
      const isSmall = layer.isZero || layer.std < thresholds.vanishing;
      if (isSmall) row = [...(isOver ? [] : row), layer];
      isOver = !isSmall;
    }
    return { causes, starved };
  }

  /** Compare the root mean square of the errors with that of a blind guess, the mean of the targets. */
  function measureLoss(layer, targets, width) {
    const squares = layer.after.reduce((sum, output, i) => sum + (output - targets[i]) ** 2, 0);
    layer.loss = Math.sqrt(squares / targets.length);
    layer.blind_loss = network.spread(network.transposed(targets, width));
    layer.ratio = layer.loss / Math.max(layer.blind_loss, 1);
  }

  /** Return the share of a final sigmoid's outputs near 0 or 1, unless they are the same for all examples. */
  function certainty(layer, width) {
    const needed = Math.log(1 / thresholds.saturation_margin - 1) / 2;
    return network.spread(network.transposed(layer.before, width)) < needed ? 0 : layer.saturated;
  }

  /** Fill the slots of a text: `{first}`, `{first.std:.3g}`, `{count}`. */
  function filled(text, roles, plain) {
    return text.replace(/\{(\w+)\.?(\w*):?([^}]*)\}/g, (_, name, measured, format) => {
      if (name in plain) return plain[name];
      return measured ? formatted(roles[name][measured], format) : roles[name].name;
    });
  }

  /** Format a number as Python does. */
  function formatted(x, format) {
    if (Number.isNaN(x)) return "nan";
    if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
    if (format.endsWith("%")) return `${(100 * x).toFixed(0)}%`;
    if (x === 0) return "0";
    const [mantissa, exponent] = x.toExponential(parseInt(format.slice(1)) - 1).split("e").map(Number);
    if (exponent >= -4 && exponent < parseInt(format.slice(1))) return `${Number(`${mantissa}e${exponent}`)}`;
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }

  return { diagnose, formatted, limits };
})();
