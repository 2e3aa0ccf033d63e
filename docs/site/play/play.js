"use strict";
/* The page: reads the controls, shows the network, and keeps its settings in the address, so that others can link to
   them: `#activation=relu&weights=he&depth=30`. What is not in the address is as in `DEFAULTS`. */

const DEFAULTS = { activation: "tanh", weights: "small", depth: 10, width: 100, scale: 1, seed: 0 };
const RANGES = { depth: [1, 50, 1], width: [20, 200, 4], scale: [0.1, 10, 0], seed: [0, 9999, 1] };
/** The classes of the package that remedies name, and the choice on this page. */
const CURES = { HeNormal: "he", GlorotUniform: "glorot", Orthogonal: "orthogonal" };

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

let isPlanned = false, pause;

/** Show the settings before the next frame, and write them down when they rest: browsers limit how often. */
function show() {
  if (!isPlanned) requestAnimationFrame(render);
  isPlanned = true;
  clearTimeout(pause);
  pause = setTimeout(() => {
    if (location.hash !== hashOf(settings) && (location.hash || hashOf(settings) !== "#")) {
      history.replaceState(null, "", hashOf(settings));
    }
    const named = shown.found.map(({ problem, level }) => `${problem} (${level})`);
    $("[role=status]").textContent = [$(".headline").textContent, ...named].join(" ");
  }, 400);
}

function render() {
  isPlanned = false;
  const { depth, width, scale, activation, weights, seed } = settings;
  const net = network.run({ depth, width, scale, activation, seed, initializer: weights });
  const found = rules.diagnose(net);
  shown = { settings, net, found };
  for (const [name, text] of Object.entries({ depth, width, scale: `× ${scale}` })) {
    $(`output[for=${name}]`).textContent = text;
    form.elements[name].setAttribute("aria-valuetext", text);
  }
  for (const link of document.querySelectorAll(".cases a")) {
    const isCurrent = hashOf(parsed(link.hash)) === hashOf(settings);
    if (isCurrent) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const cures = curesOf(found);
  renderVerdict(found, cures);
  renderLayers(net, new Set(found.filter(({ level }) => level !== "note").flatMap(({ layers }) => layers)));
  $("#program").textContent = python(settings);
  sideBySide.reset(settings, comparedWith(cures));
  $("#training-program").textContent = sideBySide.python(drawnBy);
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

function renderVerdict(found, cures) {
  const count = found.filter(({ level }) => level !== "note").length;
  $(".verdict").classList.toggle("bad", count > 0);
  $(".headline").textContent = count ? `${count} problem${count === 1 ? "" : "s"} found.` : "No problem found.";
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

const short = (x) => rules.formatted(x, ".2g").replace(/e([+-])0?/, (_, sign) => `e${sign === "-" ? sign : ""}`);
const share = (x) => rules.formatted(x, ".0%");

function newRow() {
  const row = $("tbody").insertRow();
  row.innerHTML = `<th scope="row"></th>
    <td><svg viewBox="0 0 ${network.BINS} 1" preserveAspectRatio="none" aria-hidden="true"><path/></svg></td>
    <td></td><td><span class="bar"><i></i></span></td><td></td>`;
  row.cells[1].append(element("span", { className: "hidden" }));
}

function renderLayers({ layers }, marked) {
  const table = $("table"), rows = $("tbody").rows;
  while (rows.length < layers.length) newRow();
  while (rows.length > layers.length) rows[rows.length - 1].remove();
  const axis = gradientAxis(layers.map(({ gradient_norm }) => gradient_norm));
  layers.forEach((layer, index) => {
    const [name, outputs, std, bar, gradient] = rows[index].cells, isMarked = marked.has(layer.name);
    rows[index].classList.toggle("marked", isMarked);
    name.innerHTML = `${isMarked ? '<b title="has a problem">!</b>' : ""}${index + 1}`;
    outputs.querySelector("path").setAttribute("d", outline(layer.counts));
    outputs.lastChild.textContent = described(layer);
    std.textContent = short(layer.output.std);
    bar.querySelector("i").style.width = `${axis.position(layer.gradient_norm)}%`;
    gradient.textContent = short(layer.gradient_norm);
  });
  table.classList.toggle("dense", layers.length > 24);
  table.style.setProperty("--limit", `${axis.position(axis.limit)}%`);
  table.classList.toggle("limited", axis.limit > 10 ** axis.low);
  const [low, high] = network.RANGES[settings.activation], end = settings.activation.endsWith("elu") ? "≥ " : "";
  axisLabels(".outputs", [low, (low + high) / 2, `${end}${high}`]);
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
y = ${data(network.LAST_SEED)}
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

form.addEventListener("input", readControls);
form.addEventListener("submit", (event) => event.preventDefault());
$("#again").addEventListener("click", () => setTo({ ...settings, seed: (settings.seed + 1) % 10000 }));
for (const name of ["#other", "#rate"]) $(name).addEventListener("input", show);
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
