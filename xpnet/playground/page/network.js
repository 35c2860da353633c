// The network: every neuron a picture of what it answers on the plane, lines as thick as weights.

import {css, decode, make, paint, sharp, short, signed} from "./colours.js";
import {say} from "./say.js";

const $ = (id) => document.getElementById(id);
const box = $("network"), lines = $("lines"), columns = $("columns");
let nodes = [], places = null, frame = null, network = null, choices = null, change = () => {}, look = () => {};

/** Build the columns of a network; `given` has what can be chosen, and takes other settings, and the neuron that is pointed at or null. */
export function build(description, given) {
  const focused = document.activeElement?.id, {sizes, settings} = description, hidden = settings.layers;
  [network, frame, places] = [description, null, null];
  ({choices, change, look} = given);
  const inputs = choices.features.map(feature);
  nodes = [inputs.filter((_, i) => settings.features.includes(choices.features[i])), ...sizes.slice(1).map(neurons)];
  columns.replaceChildren(column("Features", inputs), ...hidden.map((count, i) => column(`Layer ${i + 1}`, nodes[i + 1], moreOrLess(count, i))), column("Scores", nodes.at(-1)));
  box.classList.toggle("many", sizes.length > 5 || Math.max(...sizes) > 8);
  $("depth").textContent = hidden.length + (hidden.length === 1 ? " hidden layer" : " hidden layers");
  $("parameters").textContent = network.parameters.toLocaleString("en") + " parameters";
  $("fewer").disabled = !hidden.length;
  $("deeper").disabled = hidden.length >= choices.most_layers;
  $("fewer").onclick = () => change({layers: hidden.slice(0, -1)});
  $("deeper").onclick = () => change({layers: [...hidden, hidden.at(-1) ?? 4]});
  const {side, maps} = network.features, pixels = decode(maps, Int8Array);
  nodes[0].forEach((node, i) => paint(node.firstChild, side, side, (at) => pixels[i * side * side + at] / 127));
  rove([inputs, ...nodes.slice(1)], $(focused));
  if (focused) $(focused)?.focus({preventScroll: true});
}

const column = (title, inside, ...head) => make("div", {className: "column"}, make("div", {className: "head"}, make("span", {}, title), ...head), make("div", {className: "stack"}, ...inside));

function feature(name) {
  const used = network.settings.features, on = used.includes(name), next = on ? used.filter((each) => each !== name) : [...used, name];
  const node = make("button", {type: "button", className: on ? "node" : "node off", id: "feature-" + name, title: on ? "do not use " + name : "use " + name, ariaPressed: on, ariaLabel: "feature " + name}, make("canvas", {ariaHidden: true}), make("span", {}, name.replace("^2", "²")));
  node.onclick = () => next.length && change({features: next});
  if (on) watch(node, {l: 0, n: used.indexOf(name), name: "feature " + name});
  return node;
}

function neurons(count, i) {
  const l = i + 1, isLast = l === network.sizes.length - 1;
  return Array.from({length: count}, (_, n) => {
    const name = isLast ? "score of class " + network.classes[n] : `layer ${l}, neuron ${n + 1}`;
    const node = make("button", {type: "button", className: "node", id: `node-${l}-${n}`, title: name, ariaLabel: name}, make("canvas", {ariaHidden: true}));
    watch(node, {l, n, name});
    return node;
  });
}

function moreOrLess(count, i) {
  const layers = network.settings.layers, edit = (n) => change({layers: layers.map((size, k) => (k === i ? n : size))});
  const button = (text, what, disabled, n) => make("button", {type: "button", className: "small", id: `${what}-${i + 1}`, disabled, title: `${what} neurons in layer ${i + 1}`, ariaLabel: `${what} neurons in layer ${i + 1}`, onclick: () => edit(n)}, text);
  return make("span", {className: "pair"}, button("−", "fewer", count <= 1, count - 1), button("+", "more", count >= choices.most_neurons, count + 1));
}

function watch(node, neuron) {
  node.onpointerenter = () => look(neuron);
  node.onfocus = () => (look(neuron), say(describe(neuron)));
  node.onpointerleave = node.onblur = () => look(null);
}

// All neurons are one stop of the Tab key: arrow keys go from one to the next.
let grid = [];

function rove(given, focused) {
  grid = given;
  for (const node of grid.flat()) node.tabIndex = -1;
  (grid.flat().includes(focused) ? focused : grid[0][0]).tabIndex = 0;
}

columns.addEventListener("focusin", ({target}) => {
  if (grid.flat().includes(target)) rove(grid, target);
});
columns.addEventListener("keydown", (event) => {
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  const l = grid.findIndex((layer) => layer.includes(event.target));
  if (!move || l < 0) return;
  event.preventDefault();
  const layer = grid[l + move[0]] ?? grid[l], n = grid[l].indexOf(event.target) + move[1];
  layer[Math.max(0, Math.min(layer.length - 1, n))].focus();
});

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
