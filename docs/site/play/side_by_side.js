"use strict";
/* The section that trains two networks side by side, each in a worker: the network of the page, and one with other
   weights. */

const sideBySide = (() => {
  const $ = (selector) => document.querySelector(selector);
  const other = $("#other"), rate = $("#rate"), data = $("#data"), button = $("#train"), figures = [...document.querySelectorAll(".pair figure")];
  const SIZE = 200, GUESS = Math.LN2, HIGHEST = 1; // of a picture; the loss of guessing; the top of the chart
  const DIGITS_IN_ROW = 10;
  const spirals = training.spirals(), digits = training.digits();
  let runs = [], settings, hasChosen = false;

  for (const choice of document.querySelectorAll(".weights input")) {
    const name = choice.nextElementSibling.firstChild.textContent.trim();
    other.append(new Option(name, choice.value));
  }
  const nameOf = (weights) => [...other.options].find(({ value }) => value === weights).text;

  /** Return the settings of the two networks. */
  const pair = () => [settings, { ...settings, initializer: other.value, scale: 1 }];

  /** Show two untrained networks; `suggested` are the weights to compare with. */
  function reset(given, suggested) {
    settings = { ...given, initializer: given.weights };
    if (!hasChosen) other.value = suggested;
    restart();
  }

  function restart() {
    stop();
    runs = pair().map(({ initializer, scale }) => ({
      title: `${nameOf(initializer)}${scale === 1 ? "" : ` × ${scale}`}`, losses: [], shares: [], odds: null,
    }));
    draw();
  }

  function train() {
    restart();
    for (const [index, run] of runs.entries()) {
      run.worker = makeWorker("training.work(data, postMessage)");
      run.worker.onmessage = ({ data: { loss, right, odds } }) => {
        run.odds = odds;
        if (loss !== undefined) {
          run.losses.push(loss);
          run.shares.push(right);
        }
        if (run.losses.length === training.EPOCHS) run.worker = run.worker.terminate();
        draw();
      };
      run.worker.postMessage({ settings: pair()[index], rate: +rate.value, data: data.value });
    }
    draw();
  }

  function stop() {
    for (const run of runs) run.worker = run.worker?.terminate();
  }

  const isRunning = () => runs.some((run) => run.worker);

  function draw() {
    runs.forEach((run, index) => {
      const [title, state] = figures[index].querySelector("figcaption").children;
      title.textContent = run.title;
      state.textContent = described(run);
      drawAnswers(figures[index].querySelector("canvas"), run.odds);
      $(`.curves path:nth-of-type(${index + 1})`).setAttribute("d", curve(run.losses));
    });
    button.textContent = isRunning() ? "Stop" : "Train";
    $(".outcome").textContent = outcome();
  }

  /** Return a share as a percentage, which is 100 only if all are meant. */
  const percentOf = (share) => `${Math.floor(100 * share + 1e-9)}%`;

  function described({ losses, shares }) {
    if (!losses.length) return "not trained";
    const loss = losses.at(-1);
    return `epoch ${losses.length}, loss ${Number.isFinite(loss) ? loss.toFixed(3) : "not a number"}, `
      + `${percentOf(shares.at(-1))} right`;
  }

  /** Say in words what the curves show, when both networks are trained. */
  function outcome() {
    if (runs.some(({ losses }) => losses.length < training.EPOCHS)) return "";
    return runs.map(({ title, losses, shares }) => {
      const loss = losses.at(-1), percent = `${percentOf(shares.at(-1))} of the examples`;
      if (!Number.isFinite(loss)) return `${title}: the numbers left float32, the learning rate is too large.`;
      if (loss > 0.98 * GUESS) return `${title} still guesses.`;
      return `${title} puts ${percent} into the right class.`;
    }).join(" ");
  }

  /** Draw which class a network sees where, and the examples. */
  function drawAnswers(canvas, odds) {
    const ratio = devicePixelRatio || 1, context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const colors = ["--first", "--second", "--text", "--bad"].map((name) => style.getPropertyValue(name).trim());
    canvas.width = canvas.height = SIZE * ratio;
    context.scale(ratio, ratio);
    const isSpirals = data.value === "spirals", columns = isSpirals ? training.GRID : DIGITS_IN_ROW;
    context.imageSmoothingEnabled = isSpirals; // a map of the plane, and not one cell for each digit
    if (odds) context.drawImage(classes(odds, columns, colors), 0, 0, SIZE, SIZE);
    if (isSpirals) drawPoints(context, colors);
    else drawDigits(context, odds, colors);
  }

  /** Return a picture of pixels, row by row from the top, with the color of a class, the stronger the surer it is. */
  function classes(odds, columns, colors) {
    const picture = new OffscreenCanvas(columns, columns), context = picture.getContext("2d");
    odds.forEach((logit, i) => {
      const share = Math.abs(2 / (1 + Math.exp(-logit)) - 1);
      context.globalAlpha = Number.isFinite(share) ? 0.45 * share : 0;
      context.fillStyle = colors[logit > 0 ? 1 : 0];
      context.fillRect(i % columns, Math.floor(i / columns), 1, 1);
    });
    return picture;
  }

  /** Draw digits in rows, and a frame around those whose class is wrong. */
  function drawDigits(context, odds, [, , ink, wrong]) {
    const cell = SIZE / DIGITS_IN_ROW, pixel = (cell - 4) / 8;
    for (let i = 0; i < DIGITS_IN_ROW ** 2; i++) {
      const left = (i % DIGITS_IN_ROW) * cell + 2, top = Math.floor(i / DIGITS_IN_ROW) * cell + 2;
      context.fillStyle = ink;
      for (let j = 0; j < training.PIXELS; j++) {
        context.globalAlpha = (6 * digits.x[training.PIXELS * i + j] + 5) / 16;
        context.fillRect(left + (j % 8) * pixel, top + Math.floor(j / 8) * pixel, pixel, pixel);
      }
      context.globalAlpha = 1;
      if (odds && (odds[i] > 0) !== (digits.y[i] === 1)) {
        context.strokeStyle = wrong;
        context.strokeRect(left - 1.5, top - 1.5, cell - 1, cell - 1);
      }
    }
  }

  function drawPoints(context, colors) {
    const { x, y } = spirals;
    y.forEach((label, i) => {
      const place = (value) => SIZE * (value / training.REACH + 1) / 2;
      context.fillStyle = colors[label];
      context.beginPath();
      context.arc(place(x[2 * i]), place(-x[2 * i + 1]), 2.5, 0, 2 * Math.PI);
      context.fill();
    });
  }

  /** Return the path of losses in a chart that is 100 high. */
  function curve(losses) {
    const height = (loss) => (Number.isFinite(loss) ? 100 * (1 - Math.min(loss, HIGHEST) / HIGHEST) : 0);
    return losses.map((loss, i) => `${i ? "L" : "M"}${i + 1} ${height(loss).toFixed(2)}`).join("");
  }

  const PYTHON = {
    spirals: `import numpy as np

i = np.arange(200) * 37 % 200
t = (i + 0.5) / 200
angle = 8 * t + np.pi * (i % 2)
x = 2 * t[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
y = i[:, None] % 2`,
    digits: `from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
x = (images[:200] - 5) / 6
y = labels[:200, None] % 2`,
  };

  /** Return a program that trains the two networks; `drawn` returns the initializer of layer `n`. */
  function python(drawn) {
    const { width, depth, activation } = settings, seedOf = (number) => network.seedOf(settings, number);
    const size = training.DATA[data.value].size;
    return `import keras_initx  # before keras

import keras
${PYTHON[data.value]}

n = range(1, ${depth + 1})
for kernels in (
    [${drawn(pair()[0])} for n in n],
    [${drawn(pair()[1])} for n in n],
):
    first = keras_initx.FanInNormal(seed=${seedOf(training.FIRST_SEED)})
    output = keras_initx.FanInNormal(seed=${seedOf(training.OUTPUT_SEED)})
    layers = [keras.layers.Dense(${width}, "${activation}", kernel_initializer=k) for k in [first, *kernels]]
    model = keras.Sequential([keras.Input((${size},)), *layers, keras.layers.Dense(1, kernel_initializer=output)])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(${rate.value}), loss, metrics=[keras.metrics.BinaryAccuracy(threshold=0)])
    history = model.fit(x, y, batch_size=50, epochs=${training.EPOCHS}, shuffle=False, verbose=0).history
    print(history["loss"])
`;
  }

  button.addEventListener("click", () => {
    if (!isRunning()) return train();
    stop();
    draw();
  });
  other.addEventListener("input", () => (hasChosen = true));
  return { reset, python, runs: () => runs };
})();
