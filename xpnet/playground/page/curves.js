// Curves of the loss, and how large the gradient of each layer is.

import {css, ink, make, sharp, short, colourOf} from "./colours.js";

const MOST = 400;  // points of a curve: beyond it every second one is left out
const plot = document.getElementById("curve"), norms = document.getElementById("norms");
let points = [];

export function clear(layers) {
  points = [];
  norms.replaceChildren();
  norms.style.minHeight = 1.7 * layers + "em";  // so that the page has its full height before the first step
}

/** Add a frame with {step, train: {loss}, test: {loss}}. */
export function add(frame) {
  if (points.length && frame.step <= points.at(-1)[0]) points = points.filter(([step]) => step < frame.step);
  points.push([frame.step, frame.train.loss, frame.test?.loss ?? null]);
  if (points.length > MOST) points = points.filter((_, i) => i % 2 === 0 || i === points.length - 1);
  draw();
}

export function draw() {
  if (!points.length || !plot.clientWidth) return;
  const [context, w, h] = sharp(plot), left = 42, bottom = h - 16, top = 6;
  const values = points.flatMap(([, a, b]) => [a, b]).filter((v) => v !== null);
  const most = Math.max(1e-6, ...values), end = points.at(-1)[0];
  const x = (step) => left + (step / Math.max(1, end)) * (w - left - 4), y = (loss) => bottom - (loss / most) * (bottom - top);
  context.font = "11px system-ui, sans-serif";
  context.fillStyle = ink("--quiet");
  context.strokeStyle = ink("--line");
  context.lineWidth = 1;
  for (const part of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(left, y(part * most));
    context.lineTo(w, y(part * most));
    context.stroke();
    context.textAlign = "right";
    context.fillText(short(part * most), left - 5, y(part * most) + 4);
  }
  context.fillText(end.toLocaleString("en") + (end === 1 ? " step" : " steps"), w - 4, h - 3);
  [[1, colourOf(0), []], [2, colourOf(1), [5, 3]]].forEach(([i, colour, dash]) => {
    context.strokeStyle = css(colour);
    context.lineWidth = 1.8;
    context.setLineDash(dash);
    context.beginPath();
    points.forEach((each) => each[i] !== null && context.lineTo(x(each[0]), y(each[i])));
    context.stroke();
  });
  context.setLineDash([]);
}

/** Show the root mean square of the last step's gradients, a bar a layer, from 1e-8 to 10 by their logarithm. */
export function showNorms(values, names) {
  while (norms.children.length < values.length)
    norms.append(make("li", {}, make("span", {className: "name"}), make("span", {className: "track"}, make("span", {className: "fill"})), make("span", {className: "value"})));
  while (norms.children.length > values.length) norms.lastChild.remove();
  values.forEach((value, i) => {
    const [name, track, text] = norms.children[i].children;
    name.textContent = names[i];
    track.firstChild.style.width = Math.max(0, Math.min(100, (100 * (Math.log10(value || 1e-9) + 8)) / 9)) + "%";
    text.textContent = value ? value.toExponential(1) : "0";
  });
}

new ResizeObserver(draw).observe(plot);
