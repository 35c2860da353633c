// The layers from the image to the answer: their maps as pictures, of which pixels can be chosen.

import {decode, make, paint, paintInk} from "./colours.js";

const box = document.getElementById("maps");
let rows = [], image = null, choose = () => {};

/** Show the layers of a network; `pick` is called with the place of a number: {layer, row, column, channel}. */
export function show(network, pick) {
  choose = pick;
  image = row({name: "image", kind: "image", shape: [network.side, network.side, 1]}, -1);
  rows = network.layers.map(row).filter(({layer}) => layer.kind !== "flatten");
  image.maps[0].disabled = true;
  rows.unshift(image);
  box.replaceChildren(...rows.map((each) => each.node));
}

// A row has a picture a map; a layer of neurons has one picture, a pixel a neuron.
function row(layer, index) {
  const isMap = layer.shape.length === 3, [height, width, count] = isMap ? layer.shape : [1, layer.shape[0], 1];
  const made = {layer, index, isMap, height, width};
  made.maps = Array.from({length: count}, (_, map) => picture(made, map));
  made.filters = layer.name === "conv1" ? made.maps.map(() => make("canvas", {className: "filter", ariaHidden: true})) : [];
  const cells = made.maps.map((map, i) => make("div", {className: "cell"}, ...made.filters.slice(i, i + 1), map));
  const title = make("div", {className: "layer"}, make("b", {}, layer.name), quiet(layer.shape.join(" × ")));
  if (made.filters.length) title.append(quiet("filters above"));
  made.node = make("div", {className: "maps-row", role: "group", ariaLabel: layer.name}, title, make("div", {className: isMap ? "cells" : "cells wide"}, ...cells));
  return made;
}

const quiet = (text) => make("span", {className: "quiet"}, text);
const within = (value, size) => Math.max(0, Math.min(size - 1, value));

function picture(row, map) {
  const {layer, isMap, height, width} = row, name = isMap ? `${layer.name}, map ${map}` : layer.name;
  const label = isMap ? `${name}, ${height} by ${width}: arrow keys choose a pixel` : `${name}: arrow keys choose one of ${width} neurons`;
  const canvas = make("canvas", {width, height, ariaHidden: true});
  const node = make("button", {type: "button", className: isMap ? "map" : "map strip", title: name, ariaLabel: label, tabIndex: map ? -1 : 0}, canvas, make("span", {className: "at", hidden: true}));
  let at = [height >> 1, width >> 1];
  const pick = (r, c) => {
    at = [r, c];
    for (const each of row.maps) each.tabIndex = each === node ? 0 : -1;
    choose(isMap ? {layer: layer.name, row: r, column: c, channel: map} : {layer: layer.name, row: 0, column: 0, channel: c});
  };
  node.onclick = (event) => {
    if (!event.detail) return pick(...at);  // by a key
    const {top, left, height: high, width: wide} = canvas.getBoundingClientRect();
    pick(within(Math.floor(((event.clientY - top) / high) * height), height), within(Math.floor(((event.clientX - left) / wide) * width), width));
  };
  node.onkeydown = (event) => {
    const move = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    if (!move) return;
    event.preventDefault();
    const [r, c] = [within(at[0] + move[0], height), at[1] + move[1]], beside = row.maps[map + move[1]];
    if (c === within(c, width) || !beside) return pick(r, within(c, width));
    beside.focus();  // beyond the edge: the next map
    beside.enter(r, c < 0 ? width - 1 : 0);
  };
  node.enter = pick;
  return node;
}

/** Draw a frame. */
export function update(frame) {
  const pixels = decode(frame.image, Float32Array);
  paintInk(image.maps[0].firstChild, image.width, pixels);
  for (const {index, maps, filters, width, height, layer} of rows.slice(1)) {
    const values = decode(frame.values[index], Float32Array), largest = largestOf(values);
    maps.forEach((map, channel) => paint(map.firstChild, width, height, (i) => values[i * maps.length + channel] / largest));
    if (!filters.length) continue;
    const kernels = decode(frame.filters[layer.name], Float32Array), size = kernels.length / filters.length, side = Math.sqrt(size), top = largestOf(kernels);
    filters.forEach((canvas, f) => paint(canvas, side, side, (i) => kernels[f * size + i] / top));
  }
  return pixels;
}

const largestOf = (values) => values.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9);

/** Outline the number at a place, and the window {top: [row, column], window} that it is computed from, if it has one. */
export function outline(place, {top, window}) {
  const at = rows.findIndex(({layer}) => layer.name === place.layer);
  rows.forEach((row, i) => row.maps.forEach((node, map) => {
    const hasAll = row.maps.length === window?.length;  // a convolution sees every map
    if (i === at && (!row.isMap || map === place.channel)) frame(node, row, row.isMap ? [place.row, place.column, 1, 1] : [0, place.channel, 1, 1]);
    else if (i === at - 1 && top && (hasAll || map === place.channel)) frame(node, row, [...top, window[0].length, window[0][0].length]);
    else node.lastChild.hidden = true;
  }));
}

/** Outline nothing. */
export const clear = () => rows.forEach((row) => row.maps.forEach((node) => (node.lastChild.hidden = true)));

function frame(node, {height, width}, [top, left, high, wide]) {
  node.lastChild.hidden = false;
  const part = (value, size) => (100 * value) / size + "%";
  Object.assign(node.lastChild.style, {top: part(top, height), left: part(left, width), height: part(high, height), width: part(wide, width)});
}
