"use strict";
/* The page: reads the controls, shows the network, and keeps its settings in the address, so that others can link to
   them: `#activation=relu&weights=he&depth=30`. What is not in the address is as in `DEFAULTS`. */

const DEFAULTS = { activation: "tanh", weights: "small", depth: 10, width: 100, scale: 1, seed: 0 };
const RANGES = { depth: [1, 50, 1], width: [20, 200, 4], scale: [0.1, 10, 0], seed: [0, 9999, 1] };
/** The classes of the package that remedies name, and the choice on this page. */
const CURES = { HeNormal: "he", GlorotUniform: "glorot", Orthogonal: "orthogonal" };

/** Why weights need a certain size under an activation. */
const REASONS = {
  tanh: "Near 0 tanh changes little, so a variance of 1/n keeps the signal.",
  relu: "ReLU removes half of the mean square; the 2 in He’s variance 2/n makes up for it.",
  sigmoid: "Its slope is at most 1/4, so each layer shrinks the gradient at a variance of 1/n.",
  gelu: `GELU keeps ${(100 / PACKAGE.gains.gelu ** 2).toFixed(0)}% of the mean square; He’s 2 nearly makes up for it.`,
};
/** Networks with more weights are computed in a worker, and shown with this number of units while it computes. */
const LARGE = 1e6, COARSE_UNITS = 40;

const $ = (selector) => document.querySelector(selector);
const form = $("form");
let settings, shown;

/** Return the settings in an address. */
function parsed(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, "")), found = { ...DEFAULTS };
  for (const [name, text] of given) {
    if (name in RANGES && text !== "" && Number.isFinite(+text)) {
      const [low, high, step] = RANGES[name], value = Math.min(high, Math.max(low, +text));
      found[name] = step ? low + Math.round((value - low) / step) * step : value;
    } else if (form.querySelector(`[name="${CSS.escape(name)}"][type="radio"][value="${CSS.escape(text)}"]`)) {
      found[name] = text;
    }
  }
  return found;
}

/** Return the address of settings. */
function hashOf(values) {
  return `#${new URLSearchParams(Object.entries(values).filter(([name, value]) => value !== DEFAULTS[name]))}`;
}

const rounded = (x) => Number(x.toPrecision(3));

function writeControls() {
  for (const [name, value] of Object.entries(settings)) {
    form.elements[name].value = name === "scale" ? Math.log10(value) : value;
  }
}

function readControls(event) {
  const { name, value } = event.target;
  if (name === "scale") settings = { ...settings, scale: rounded(10 ** +value) };
  else settings = parsed(hashOf({ ...settings, [name]: value }));
  show();
}

function setTo(values) {
  settings = values;
  writeControls();
  show();
}

let isPlanned = false, pause, outlines = [], rested = [];

/** Show the settings before the next frame, and write them down when they rest: browsers limit how often. */
function show() {
  if (!isPlanned) requestAnimationFrame(render);
  isPlanned = true;
  clearTimeout(pause);
  pause = setTimeout(() => {
    if (location.hash !== hashOf(settings) && (location.hash || hashOf(settings) !== "#")) {
      history.replaceState(null, "", hashOf(settings));
    }
    rested = outlines;
    if (!shown) return;
    const named = shown.found.map(({ problem, level }) => `${problem} (${level})`);
    $("[role=status]").textContent = [$(".headline").textContent, ...named].join(" ");
  }, 400);
}

/** Show the settings; a large network first as one of few units, and whole when a worker has computed it. */
function render() {
  isPlanned = false;
  const { depth, width, scale } = settings;
  for (const [name, text] of Object.entries({ depth, width, scale: `× ${scale}` })) {
    $(`output[for=${name}]`).textContent = text;
    form.elements[name].setAttribute("aria-valuetext", text);
  }
  renderCase();
  $(".reason").textContent = REASONS[settings.activation];
  showCode($("#program"), python(settings));
  const isLarge = depth * width ** 2 > LARGE;
  document.body.classList.toggle("coarse", isLarge);
  if (isLarge) {
    renderLayers(coarse.run(coarseSettings()), new Set());
    for (const headline of document.querySelectorAll(".headline")) headline.textContent = "Computing …";
    compute();
  } else {
    renderNetwork(network.run(settingsOfNetwork()));
  }
}

const settingsOfNetwork = () => ({ ...settings, initializer: settings.weights });
const coarse = makeNetwork();

/** Return settings of a network of few units, whose signals have about the sizes of those of the whole one. */
function coarseSettings() {
  const ratio = settings.width / COARSE_UNITS, exponent = { small: 1 / 2, equal: 1 }[settings.weights] ?? 0;
  return { ...settingsOfNetwork(), width: COARSE_UNITS, scale: settings.scale * ratio ** exponent };
}

let computer, isComputing = false;

/** Let the worker compute the network, and again if the settings have changed meanwhile. */
function compute() {
  if (isComputing) return;
  isComputing = true;
  const asked = settings;
  computer ??= makeWorker("postMessage(network.run(data))");
  computer.onmessage = ({ data }) => {
    isComputing = false;
    if (settings === asked) renderNetwork(data);
    else if (document.body.classList.contains("coarse")) compute();
  };
  computer.postMessage(settingsOfNetwork());
}

/** Return a worker that computes with the parts of this page. A page that is a file may not load another into it. */
function makeWorker(answer) {
  const source = `"use strict";
    const PACKAGE = ${JSON.stringify(PACKAGE)}, DIGITS = ${JSON.stringify(DIGITS)};
    const initx = (${makeInitx})(), network = (${makeNetwork})(), training = (${makeTraining})();
    onmessage = ({ data }) => { ${answer}; };`;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" })), made = new Worker(address);
  URL.revokeObjectURL(address);
  return made;
}

/** Show a network that was computed, and what `diagnose` says of it. */
function renderNetwork(net) {
  document.body.classList.remove("coarse");
  const found = rules.diagnose(net), cures = curesOf(found);
  shown = { settings, net, found };
  renderVerdict(net, cures);
  renderLayers(net, new Set(found.filter(({ level }) => level !== "note").flatMap(({ layers }) => layers)));
  renderLook();
  sideBySide.reset(settings, comparedWith(cures));
  showCode($("#training-program"), sideBySide.python(drawnBy));
}

/** Say what to see in the case that is shown, if it is one of those at the top. */
function renderCase() {
  const see = $(".see");
  see.hidden = true;
  for (const link of document.querySelectorAll(".cases a")) {
    if (hashOf(parsed(link.hash)) === hashOf(settings)) {
      link.setAttribute("aria-current", "true");
      // On a phone the cases are in one line that scrolls.
      const list = link.closest("ul");
      list.scrollLeft += link.getBoundingClientRect().left - list.getBoundingClientRect().left;
      see.hidden = false;
      see.replaceChildren(link.nextElementSibling.content.cloneNode(true));
    } else {
      link.removeAttribute("aria-current");
    }
  }
}

/** Show the outputs of all units of one layer for all examples. */
function renderLook() {
  const look = $("#look"), { layers, width } = shown.net, { activation } = shown.settings;
  look.max = layers.length;
  $("output[for=look]").textContent = look.value;
  const canvas = $(".look canvas"), context = canvas.getContext("2d"), style = getComputedStyle(canvas);
  const [low, high] = network.RANGES[activation], values = layers[look.value - 1].after;
  const middle = activation === "sigmoid" ? 0.5 : 0, reach = Math.max(high - middle, middle - low);
  const colors = ["--first", "--second"].map((name) => style.getPropertyValue(name).trim());
  canvas.width = width;
  canvas.height = network.EXAMPLES;
  values.forEach((value, i) => {
    const share = Math.min(1, Math.abs(value - middle) / reach);
    context.globalAlpha = share === share ? share : 1; // a number that left float32 fills its place
    context.fillStyle = colors[value > middle ? 1 : 0];
    context.fillRect(i % width, Math.floor(i / width), 1, 1);
  });
  canvas.setAttribute("aria-label", `The outputs of layer ${look.value}: ${described(layers[look.value - 1])}`);
  $(".look .notes").textContent = `A column for each of the ${width} units, a row for each of the ${network.EXAMPLES} `
    + `examples. Blue is above ${middle}, orange below, blank near it. Equal rows: the examples cannot be told apart; `
    + "equal columns: the units compute the same.";
}

/** Create an element with attributes and children. */
function element(tag, attributes, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

/** Return the initializers that remedies name, and that differ from the weights of the page. */
function curesOf(found) {
  const remedies = found.filter(({ level }) => level !== "note").map(({ remedy }) => remedy).join();
  return Object.keys(CURES).filter((name) => remedies.includes(name) && hashOf(curedBy(name)) !== hashOf(settings));
}

/** Return the weights to train beside those of the page: a remedy, or else weights that are too small. */
function comparedWith(cures) {
  if (cures.length) return CURES[cures[0]];
  return settings.weights === "small" ? "glorot" : "small";
}

const curedBy = (name) => ({ ...settings, weights: CURES[name], scale: 1 });

function renderVerdict(net, cures) {
  const { found } = shown, count = found.filter(({ level }) => level !== "note").length;
  document.body.classList.toggle("bad", count > 0);
  for (const headline of document.querySelectorAll(".headline")) {
    headline.textContent = count ? `${count} problem${count === 1 ? "" : "s"} found.` : "No problem found.";
  }
  $(".why").textContent = found.length ? "" : whyFine(net);
  $(".problems").replaceChildren(
    ...found.map(({ problem, level, evidence, remedy }) =>
      element("li", {}, element("b", {}, `${problem} (${level})`), `: ${evidence}.`,
        element("span", { className: "remedy" }, element("b", {}, "Remedy"), `: ${remedy}.`))),
  );
  $(".cures").replaceChildren(...cures.map((name) => {
    const cured = curedBy(name);
    const button = element("button", { type: "button" }, `Try ${name}`);
    button.addEventListener("click", () => {
      setTo(cured);
      form.querySelector(`[value=${cured.weights}]`).focus({ preventScroll: true }); // the button will be gone
    });
    return button;
  }));
}

/** Say which numbers are within the limits of `diagnose`. */
function whyFine({ inputs, layers }) {
  const { vanishing, vanishing_gradient: limit, saturated } = PACKAGE.thresholds, last = layers.at(-1);
  const gradients = layers.map(({ gradient_norm }) => gradient_norm), ratio = gradients[0] / Math.max(...gradients);
  const most = Math.max(...layers.map((layer) => layer.saturated ?? 0));
  const parts = [
    `The signal’s standard deviation is ${exact(inputs.std)} at the inputs and ${exact(last.std)} in the last layer; `
      + `below ${vanishing} it would be lost.`,
    `The first layer’s gradient is ${short(ratio)} of the largest; the limit is ${limit}.`,
  ];
  if (rules.limits[settings.activation]) {
    parts.push(`At most ${share(most)} of a layer’s outputs are saturated; the limit is ${share(saturated)}.`);
  }
  return parts.join(" ");
}

const exact = (x) => rules.formatted(x, ".3g"); // as in the evidence of problems
const short = (x) => exact(x).replace(/e([+-])0?/, (_, sign) => `e${sign === "-" ? sign : ""}`);
const share = (x) => rules.formatted(x, ".0%");

/** Return the texts of a column of numbers, all with an exponent if one is small or large. */
function column(numbers) {
  const parts = numbers.map((x) => x.toExponential(2).split("e"));
  const isPlain = parts.every(([mantissa, exponent]) => exponent === undefined || +mantissa === 0 || (exponent > -4 && exponent < 3));
  return numbers.map((x, i) => (isPlain || x === 0 || !Number.isFinite(x) ? exact(x) : `${parts[i][0]}e${+parts[i][1]}`));
}

function newRow() {
  const row = $("tbody").insertRow();
  row.innerHTML = `<th scope="row"></th>
    <td><svg viewBox="0 0 ${network.BINS} 1" preserveAspectRatio="none" aria-hidden="true"><path/><path class="was"/></svg></td>
    <td></td><td><span class="bar"><i></i></span></td><td></td>`;
  row.cells[1].append(element("span", { className: "hidden" }));
}

function renderLayers({ layers }, marked) {
  const table = $("table"), rows = $("tbody").rows;
  while (rows.length < layers.length) newRow();
  while (rows.length > layers.length) rows[rows.length - 1].remove();
  const axis = gradientAxis(layers.map(({ gradient_norm }) => gradient_norm));
  outlines = layers.map(({ counts }) => outline(counts));
  const stds = column(layers.map(({ std }) => std)), norms = column(layers.map(({ gradient_norm }) => gradient_norm));
  layers.forEach((layer, index) => {
    const [name, outputs, std, bar, gradient] = rows[index].cells, isMarked = marked.has(layer.name);
    rows[index].classList.toggle("marked", isMarked);
    name.innerHTML = `${isMarked ? '<b title="has a problem">!</b>' : ""}${index + 1}`;
    outputs.querySelector("path").setAttribute("d", outlines[index]);
    outputs.querySelector(".was").setAttribute("d", rested[index] ?? "");
    outputs.lastChild.textContent = described(layer);
    std.textContent = stds[index];
    bar.querySelector("i").style.width = `${axis.position(layer.gradient_norm)}%`;
    gradient.textContent = norms[index];
  });
  table.classList.toggle("dense", layers.length > 24);
  table.style.setProperty("--limit", `${axis.position(axis.limit)}%`);
  table.classList.toggle("limited", axis.limit > 10 ** axis.low);
  const { activation } = settings, ticks = network.TICKS[activation], [low, high] = network.RANGES[activation];
  axisLabels(".outputs", ticks.map((tick, i) => (i === 2 && activation.endsWith("elu") ? `≥ ${tick}` : tick)));
  [...$(".outputs").children].forEach((label, i) => (label.style.left = `${100 * (ticks[i] - low) / (high - low)}%`));
  axisLabels(".gradients", [`1e${axis.low}`, `1e${axis.high}`]);
}

function axisLabels(selector, texts) {
  $(selector).replaceChildren(...texts.map((text) => element("span", {}, `${text}`.replace("-", "−"))));
}

/** Return a logarithmic axis for gradients, of whole decades. */
function gradientAxis(gradients) {
  const positive = gradients.filter((x) => x > 0 && Number.isFinite(x));
  const high = positive.length ? Math.ceil(Math.log10(Math.max(...positive))) : 0;
  const low = Math.min(high - 5, positive.length ? Math.floor(Math.log10(Math.min(...positive))) : 0);
  const place = (x) => Math.min(100, Math.max(1, 100 * (Math.log10(x) - low) / (high - low)));
  const position = (x) => (x === 0 ? 0 : x > 0 ? place(x) : 100); // NaN fills the axis
  return { low, high, position, limit: PACKAGE.thresholds.vanishing_gradient * Math.max(0, ...positive) };
}

/** Return the outline of a histogram of height 1. */
function outline(counts) {
  const [most, next] = [...counts].sort((a, b) => b - a);
  const top = next && most > 3 * next ? 3 * next : most;
  let path = "M0 1";
  counts.forEach((count, bin) => (path += `V${(1 - Math.min(1, count / (top || 1))).toFixed(3)}H${bin + 1}`));
  return `${path}V1Z`;
}

/** Describe a histogram to those who do not see it. */
function described({ output, saturated, dead }) {
  const parts = [`mean ${short(output.mean)}`, `${share(output.zeros)} zeros`];
  if (saturated !== null) parts.push(`${share(saturated)} saturated`);
  if (dead !== null) parts.push(`${share(dead)} of the units dead`);
  if (output.nonfinite) parts.push(`${share(output.nonfinite)} not finite`);
  return parts.join(", ");
}

/** Return the initializer of layer `n` as Python. */
function drawnBy({ activation, initializer, scale, seed }) {
  const root = network.seedOf({ seed }, 0), number = root ? `${root} + n` : "n";
  const gain = activation in PACKAGE.gains ? `gain="${activation}", ` : "";
  const drawn = {
    zeros: '"zeros"',
    equal: "keras.initializers.Constant(0.1)",
    small: `keras_initx.SmallNormal(seed=${number})`,
    fan_in: `keras_initx.FanInNormal(seed=${number})`,
    glorot: `keras_initx.GlorotUniform(seed=${number})`,
    he: `keras_initx.HeNormal(seed=${number})`,
    sparse: `keras_initx.Sparse(${gain}seed=${number})`,
    orthogonal: `keras_initx.Orthogonal(${gain}seed=${number})`,
  }[initializer];
  return scale === 1 ? drawn : `keras_initx.Scaled(${drawn}, ${scale})`;
}

/** Return a program that makes the same network and prints the same verdict. */
function python({ activation, weights, depth, width, scale, seed }) {
  const drawn = drawnBy({ activation, initializer: weights, scale, seed }), root = network.seedOf({ seed }, 0);
  const shape = `(${network.EXAMPLES}, ${width})`;
  const data = (number) => `keras_initx.RandomNormal(stddev=1.0, seed=${root + number})(${shape})`;
  return `import keras_initx  # before keras

import keras

x = ${data(0)}
y = keras.ops.${activation}(${data(network.LAST_SEED)}${activation === "gelu" ? ", approximate=False" : ""})
layers = [
    keras.layers.Dense(
        ${width},
        "${activation}",
        kernel_initializer=${drawn},
        name=f"layer_{n}",
    )
    for n in range(1, ${depth + 1})
]
model = keras.Sequential([keras.Input((${width},)), *layers])
print(keras_initx.diagnose(model, x, y, loss="mse"))
`;
}

/** Show a program. What does not fit in a line is continued deeper than the line began. */
function showCode(code, text) {
  code.replaceChildren(...text.split(/(?<=\n)/).map((line) => {
    const span = document.createElement("span");
    span.style.setProperty("--indent", `${line.search(/\S|$/) + 4}ch`);
    // Names are broken after a sign, not within a word.
    const [first, ...rest] = line.split(/(?<=[=(])|(?<=\.)(?=[a-z])/i);
    span.append(first, ...rest.flatMap((part) => [document.createElement("wbr"), part]));
    return span;
  }));
}

function fold(isFolded) {
  form.classList.toggle("folded", isFolded);
  $(".fold").textContent = isFolded ? "Change" : "Hide";
  $(".fold").setAttribute("aria-expanded", !isFolded);
}

// In a checkout, where the pages are not built, links lead to their sources.
if (location.pathname.endsWith("/docs/site/play/index.html")) {
  for (const link of document.querySelectorAll('a[href^="../"]')) {
    link.href = link.getAttribute("href").replace("../", "../../").replace(".html", ".md");
  }
}
form.addEventListener("input", readControls);
form.addEventListener("change", () => setTo(settings)); // a seed out of its range is shown as it was taken
$("#look").addEventListener("input", renderLook);
$("tbody").addEventListener("click", (event) => {
  $("#look").value = event.target.closest("tr").rowIndex;
  renderLook();
});
form.addEventListener("submit", (event) => event.preventDefault());
$("#again").addEventListener("click", () => setTo({ ...settings, seed: (settings.seed + 1) % 10000 }));
// On a phone the controls lie over the page. Training is to be seen.
$(".fold").addEventListener("click", () => fold(!form.classList.contains("folded")));
$("#train").addEventListener("click", () => fold(true));
for (const name of ["#other", "#rate", "#data"]) $(name).addEventListener("input", show);
for (const button of document.querySelectorAll(".copy")) {
  const code = button.nextElementSibling;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      $("[role=status]").textContent = button.textContent = "Copied";
    } catch { // not allowed: the reader can copy what is selected
      getSelection().selectAllChildren(code);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
addEventListener("hashchange", () => setTo(parsed(location.hash)));
setTo(parsed(location.hash));
