// Images: a digit that is drawn, the network that answers, its filters and feature maps.

import * as drawing from "./drawing.js";
import * as written from "./written.js";
import {decode, make, paint, paintInk} from "./colours.js";

const $ = (id) => document.getElementById(id);
const TITLES = {correlation: "correlation", max: "max", average: "average", none: "none", across: "across channels", within: "within a channel"};
let network = null, frame = null, chosen = null, ask = null, asking = false, rows = [], named = "";

/** Prepare the part; `given.ask` has a command carried out, `given.change` takes other settings. */
export function build(given) {
  ask = given.ask;
  drawing.build(given.choices.drawn, (pixels) => ((named = ""), ask("draw", {pixels})));
  $("clear-pad").onclick = () => (drawing.clear(), (named = ""), ask("draw", {pixels: btoa("\0".repeat(given.choices.drawn ** 2))}));
  $("test-digit").onclick = async () => {
    drawing.clear();
    const reply = await ask("example");
    if (reply) named = reply.label;
  };
  const choose = (name, title, values) => {
    const field = make("select", {id: "image-" + name}, ...values.map(([value, text]) => new Option(text, value)));
    field.onchange = () => given.change({[name]: values[field.selectedIndex][0]});
    return make("label", {}, title, field);
  };
  const words = (values) => values.map((value) => [value, TITLES[value] ?? value]);
  $("image-form").replaceChildren(
    choose("data", "Images", [["digits", "digits, 8x8"], ["mnist", "MNIST, 28x28"]]),
    choose("flip", "Filters", [[false, "correlation"], [true, "convolution (turned)"]]),
    choose("pool", "Pooling", words(given.choices.pool)),
    choose("norm", "Response normalization", words(given.choices.norm)),
    choose("lr", "Learning rate", [0.001, 0.01, 0.05, 0.1, 1].map((value) => [value, String(value)])),
  );
  $("answer").replaceChildren(...Array.from("0123456789", (name) => make("li", {}, make("span", {className: "name"}, name), make("span", {className: "track"}, make("span", {className: "fill"})), make("span", {className: "value"}))));
}

/** Show the layers of a network. */
export function show(description) {
  network = description;
  frame = null;
  if (chosen && !network.layers.some((layer) => layer.name === chosen.layer)) chosen = null;
  for (const [name, value] of Object.entries(network.settings)) if ($("image-" + name)) $("image-" + name).value = String(value);
  const layers = [{name: "image", kind: "image", shape: [network.side, network.side, 1]}, ...network.layers];
  rows = layers.filter((layer) => layer.kind !== "flatten").map(row);
  $("maps").replaceChildren(...rows.map((each) => each.node));
  written.clear();
}

function row(layer) {
  const index = network.layers.findIndex((each) => each.name === layer.name), isMap = layer.shape.length === 3;
  const count = isMap ? layer.shape[2] : 1, [h, w] = isMap ? layer.shape : [1, layer.shape[0]];
  const maps = Array.from({length: count}, (_, channel) => {
    const canvas = make("canvas", {width: w, height: h, ariaHidden: true});
    const node = make("button", {type: "button", className: isMap ? "map" : "map strip", title: isMap ? `${layer.name}, map ${channel}` : layer.name}, canvas, make("span", {className: "at", hidden: true}));
    node.setAttribute("aria-label", isMap ? `${layer.name}, map ${channel}, ${h} by ${w}: arrow keys choose a pixel` : `${layer.name}: arrow keys choose one of ${w} neurons`);
    if (index < 0) return Object.assign(node, {disabled: true}), node;
    const pick = (r, c) => select(isMap ? {layer: layer.name, row: r, column: c, channel} : {layer: layer.name, row: 0, column: 0, channel: c});
    node.onclick = (event) => {
      const box = canvas.getBoundingClientRect(), at = (p, from, size, n) => Math.max(0, Math.min(n - 1, Math.floor(((p - from) / size) * n)));
      if (event.detail) pick(at(event.clientY, box.top, box.height, h), at(event.clientX, box.left, box.width, w));
      else pick(h >> 1, w >> 1);  // by the keyboard
    };
    node.onkeydown = (event) => {
      const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
      if (!move) return;
      event.preventDefault();
      const here = chosen?.layer === layer.name && (!isMap || chosen.channel === channel);
      const [r, c] = here ? (isMap ? [chosen.row, chosen.column] : [0, chosen.channel]) : [h >> 1, w >> 1];
      pick(Math.max(0, Math.min(h - 1, r + move[0])), Math.max(0, Math.min(w - 1, c + move[1])));
    };
    return node;
  });
  const size = layer.shape.join(" × "), filters = layer.kind === "conv" && layer.name === "conv1" ? Array.from({length: count}, () => make("canvas", {className: "filter", ariaHidden: true})) : [];
  const columns = maps.map((map, i) => make("div", {className: "cell"}, ...(filters[i] ? [filters[i]] : []), map));
  const title = make("div", {className: "layer"}, make("b", {}, layer.name), make("span", {className: "quiet"}, size), ...(filters.length ? [make("span", {className: "quiet"}, "filters above")] : []));
  return {layer, index, maps, filters, node: make("div", {className: "maps-row"}, title, make("div", {className: isMap ? "cells" : "cells wide"}, ...columns))};
}

/** Draw a frame. */
export function update(given) {
  frame = given;
  for (const {layer, index, maps, filters} of rows) {
    const values = decode(index < 0 ? frame.image : frame.values[index], Float32Array), [h, w] = layer.shape.length === 3 ? layer.shape : [1, layer.shape[0]];
    if (index < 0) {
      paintInk(maps[0].firstChild, w, values);
      drawing.showImage(values, w);
      continue;
    }
    const largest = values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9), count = maps.length;
    maps.forEach((map, channel) => paint(map.firstChild, w, h, (i) => values[i * count + channel] / largest));
    if (filters.length) {
      const kernels = decode(frame.filters[layer.name], Float32Array), size = kernels.length / count, top = kernels.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9);
      filters.forEach((canvas, f) => paint(canvas, 5, 5, (i) => kernels[f * size + i] / top));
    }
  }
  const best = frame.probabilities.indexOf(Math.max(...frame.probabilities));
  [...$("answer").children].forEach((item, k) => {
    const p = frame.probabilities[k];
    item.className = k === best && !frame.is_blank ? "first" : "";
    item.children[1].firstChild.style.width = 100 * p + "%";
    item.children[2].textContent = (100 * p).toFixed(1) + " %";
  });
  const told = frame.is_blank ? "Draw a digit." : frame.step ? `It is a ${network.classes[best]}` + (named ? `, and was meant as ${named}.` : ".") : "It has learned nothing yet: press Play.";
  if ($("told").textContent !== told) $("told").textContent = told;
  if (chosen) explain();
}

function select(place) {
  chosen = place;
  explain();
}

async function explain() {
  if (asking || !chosen) return;
  asking = true;
  const place = chosen, reply = await ask("explain", place);
  if (reply && place === chosen) written.show(place, reply, network), point(place, reply);
  setTimeout(() => {
    asking = false;
    if (chosen !== place) explain();
  }, 120);
}

/** Outline the number, and the window that it is computed from. */
function point(place, reply) {
  const at = rows.findIndex(({layer}) => layer.name === place.layer);
  rows.forEach(({layer, maps}, i) => maps.forEach((map, channel) => {
    const mark = map.lastChild, isMap = layer.shape.length === 3, [h, w] = isMap ? layer.shape : [1, layer.shape[0]];
    const isOutput = i === at && (!isMap || channel === place.channel);
    const isInput = i === at - 1 && reply.top && (maps.length === reply.window.length || channel === place.channel);
    mark.hidden = !(isOutput || isInput);
    const [top, left, high, wide] = isOutput ? (isMap ? [place.row, place.column, 1, 1] : [0, place.channel, 1, 1]) : isInput ? [...reply.top, reply.window[0].length, reply.window[0][0].length] : [0, 0, 0, 0];
    Object.assign(mark.style, {top: (100 * top) / h + "%", left: (100 * left) / w + "%", height: (100 * high) / h + "%", width: (100 * wide) / w + "%"});
  }));
}
