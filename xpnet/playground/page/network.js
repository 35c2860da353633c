// The network: every neuron a picture of what it answers on the plane, lines as thick as weights.

import {css, decode, make, paint, sharp, short, signed} from "./colours.js";

const MOST_LAYERS = 8, MOST_NEURONS = 16;
const box = document.getElementById("network"), lines = document.getElementById("lines"), columns = document.getElementById("columns");
let nodes = [], places = null, frame = null, network = null, tell = () => {};

/** Build the columns of a network; `change` is given other settings, `look` the neuron that is pointed at or null. */
export function build(description, features, {change, look}) {
  network = description;
  frame = null;
  const focused = document.activeElement?.id;
  tell = look;
  const {settings, sizes} = network, hidden = settings.layers, last = sizes.length - 1;
  const edit = (l, n) => change({layers: hidden.map((size, i) => (i === l ? n : size))});
  nodes = [];
  const inputs = features.map((name) => {
    const on = settings.features.includes(name);
    const next = on ? settings.features.filter((each) => each !== name) : [...settings.features, name];
    const node = make("button", {className: on ? "node" : "node off", id: "feature-" + name, ariaPressed: on, title: on ? "do not use " + name : "use " + name, type: "button"}, make("canvas", {ariaHidden: true}), make("span", {}, pretty(name)));
    node.setAttribute("aria-label", "feature " + name);
    node.onclick = () => (next.length ? change({features: next}) : null);
    if (on) watch(node, 0, settings.features.indexOf(name), "feature " + name);
    return node;
  });
  (nodes[0] = settings.features.map((name) => inputs[features.indexOf(name)]));
  const made = [column("Features", inputs)];
  sizes.slice(1).forEach((count, i) => {
    const l = i + 1;
    nodes[l] = Array.from({length: count}, (_, n) => {
      const name = l === last ? "score of class " + network.classes[n] : `layer ${l}, neuron ${n + 1}`;
      const node = make("button", {className: "node", id: `node-${l}-${n}`, type: "button", title: name}, make("canvas", {ariaHidden: true}));
      node.setAttribute("aria-label", name);
      watch(node, l, n, name);
      return node;
    });
    if (l === last) return made.push(column("Scores", nodes[l]));
    const less = button("−", `fewer neurons in layer ${l}`, count > 1, () => edit(i, count - 1), `less-${l}`);
    const more = button("+", `more neurons in layer ${l}`, count < MOST_NEURONS, () => edit(i, count + 1), `more-${l}`);
    made.push(column("Layer " + l, nodes[l], make("span", {className: "pair"}, less, more)));
  });
  columns.replaceChildren(...made);
  box.classList.toggle("many", sizes.length > 5 || Math.max(...sizes) > 8);
  document.getElementById("depth").textContent = hidden.length + (hidden.length === 1 ? " hidden layer" : " hidden layers");
  const [fewer, deeper] = ["fewer", "deeper"].map((id) => document.getElementById(id));
  fewer.disabled = !hidden.length;
  deeper.disabled = hidden.length >= MOST_LAYERS;
  fewer.onclick = () => change({layers: hidden.slice(0, -1)});
  deeper.onclick = () => change({layers: [...hidden, hidden.at(-1) ?? 4]});
  const {side, maps} = network.features, pixels = decode(maps, Int8Array);
  nodes[0].forEach((node, i) => paint(node.firstChild, side, side, (at) => pixels[i * side * side + at] / 127));
  places = null;
  if (focused) document.getElementById(focused)?.focus({preventScroll: true});
}

const pretty = (name) => name.replace("^2", "²");

function button(text, label, enabled, onclick, id) {
  const made = make("button", {className: "small", type: "button", textContent: text, title: label, disabled: !enabled, onclick, id});
  made.setAttribute("aria-label", label);
  return made;
}

const column = (title, inside, ...head) => make("div", {className: "column"}, make("div", {className: "head"}, make("span", {}, title), ...head), make("div", {className: "stack"}, ...inside));

function watch(node, l, n, name) {
  const show = () => tell({l, n, name});
  node.addEventListener("pointerenter", show);
  node.addEventListener("focus", show);
  node.addEventListener("pointerleave", () => tell(null));
  node.addEventListener("blur", () => tell(null));
}

/** Draw a frame. */
export function update(given) {
  frame = given;
  const {side} = frame, pixels = decode(frame.maps, Int8Array);
  let start = 0;
  for (const node of nodes.slice(1).flat()) {
    const from = start;
    paint(node.firstChild, side, side, (at) => pixels[from + at] / 127);
    start += side * side;
  }
  drawLines();
}

/** Return the pixels of a neuron, -1 to 1, and their side; null where it is not there. */
export function pixelsOf({l, n}) {
  if (!frame || n >= (nodes[l]?.length ?? 0)) return null;  // of a network that is no more
  const from = l ? frame : network.features, pixels = decode(from.maps, Int8Array), size = from.side ** 2;
  const index = l ? nodes.slice(1, l).flat().length + n : n;
  return {side: from.side, value: (at) => pixels[index * size + at] / 127, largest: from.largest[index]};
}

/** Describe a neuron in words. */
export function describe({l, n, name}) {
  if (!l || !frame || n >= (nodes[l]?.length ?? 0)) return name;
  const inputs = l === 1 ? network.settings.features : frame.weights[l - 1][n].map((_, i) => "neuron " + (i + 1));
  const weights = frame.weights[l - 1][n].map((w, i) => `${inputs[i]} ${short(w)}`).join(", ");
  const bias = network.settings.bias ? `; bias ${short(frame.biases[l - 1][n])}` : "";
  return `${name}: weights ${weights}${bias}`;
}

function measure() {
  const origin = columns.getBoundingClientRect();
  return nodes.map((layer) => layer.map((node) => {
    const {left, right, top, height} = node.querySelector("canvas").getBoundingClientRect();
    return [left - origin.left, right - origin.left, top - origin.top + height / 2];
  }));
}

function drawLines() {
  if (!frame) return;
  places ??= measure();
  lines.style.width = columns.scrollWidth + "px";
  const [context] = sharp(lines);
  frame.weights.forEach((rows, l) => {
    const largest = Math.max(1, ...rows.flat().map(Math.abs));
    rows.forEach((row, to) => row.forEach((w, from) => {
      const [, x1, y1] = places[l][from], [x2, , y2] = places[l + 1][to], part = Math.abs(w) / largest, middle = (x1 + x2) / 2;
      context.strokeStyle = css(signed(w), 0.25 + 0.65 * part);
      context.lineWidth = 0.4 + 5 * part;
      context.beginPath();
      context.moveTo(x1, y1);
      context.bezierCurveTo(middle, y1, middle, y2, x2, y2);
      context.stroke();
    }));
  });
}

new ResizeObserver(() => ((places = null), drawLines())).observe(columns);
