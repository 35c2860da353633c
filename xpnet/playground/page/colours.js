// Colours and pictures: red is positive and blue negative everywhere; classes have shapes besides.

const dark = matchMedia("(prefers-color-scheme: dark)");

/** The value of a variable of style.css. */
export const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const read = () => ({classes: [0, 1, 2, 3, 4, 5].map((k) => rgb(ink("--class-" + k))), ground: rgb(ink("--picture")), edge: ink("--mark")});
let palette = read();

/** Call a function when the colours have changed. */
export const onChange = (act) => dark.addEventListener("change", () => ((palette = read()), act()));

/** The colour of class k, as [r, g, b]. */
export const colourOf = (k) => palette.classes[k];

export const css = ([r, g, b], a = 1) => `rgb(${r} ${g} ${b} / ${a})`;

/** The colour of a number: red above 0, blue below. */
export const signed = (value) => colourOf(value < 0 ? 0 : 1);

/** Decode base64 to an array of Int8Array, Uint8Array or Float32Array. */
export function decode(text, Kind) {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

/** Paint numbers, -1 to 1, on a canvas, a pixel each; the page scales it. */
export function paint(canvas, width, height, value) {
  const from = palette.ground;
  fill(canvas, width, height, (i, put) => {
    const v = value(i), to = signed(v), a = Math.min(1, Math.abs(v));
    put(from[0] + a * (to[0] - from[0]), from[1] + a * (to[1] - from[1]), from[2] + a * (to[2] - from[2]));
  });
}

/** Paint brightness, 0 to 1, in grey. */
export function paintInk(canvas, side, values) {
  fill(canvas, side, side, (i, put) => put(255 * values[i], 255 * values[i], 255 * values[i]));
}

/** Paint classes, each with its confidence, 0 to 255. */
export function paintClasses(canvas, side, classes, confidence) {
  const from = palette.ground;
  fill(canvas, side, side, (i, put) => {
    const to = colourOf(classes[i]), a = 0.08 + (0.55 * confidence[i]) / 255;
    put(from[0] + a * (to[0] - from[0]), from[1] + a * (to[1] - from[1]), from[2] + a * (to[2] - from[2]));
  });
}

function fill(canvas, width, height, colour) {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d"), image = context.createImageData(width, height), data = image.data;
  let at = 0;
  const put = (r, g, b) => ((data[at] = r), (data[at + 1] = g), (data[at + 2] = b), (data[at + 3] = 255));
  for (let i = 0; i < width * height; i++, at += 4) colour(i, put);
  context.putImageData(image, 0, 0);
}

/** Prepare a canvas for drawing in CSS pixels, sharp on any screen; return its context, width and height. */
export function sharp(canvas) {
  const scale = devicePixelRatio || 1, {clientWidth: w, clientHeight: h} = canvas;
  const [width, height] = [Math.round(w * scale), Math.round(h * scale)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, w, h);
  return [context, w, h];
}

/** Draw the mark of a class at (x, y): a circle, a square, a triangle, a diamond, a cross, a triangle that points down. */
export function mark(context, k, x, y, size, hollow) {
  const r = size * [1, 0.9, 1.15, 1.2, 1.1, 1.15][k];
  context.beginPath();
  if (k === 0) context.arc(x, y, r, 0, 7);
  else if (k === 1) context.rect(x - r, y - r, 2 * r, 2 * r);
  else if (k === 4) for (const [a, b] of [[1, 1], [1, -1]]) context.moveTo(x - a * r, y - b * r), context.lineTo(x + a * r, y + b * r);
  else {
    const corners = k === 3 ? 4 : 3, turn = k === 5 ? Math.PI / 2 : -Math.PI / 2;
    for (let i = 0; i < corners; i++) context.lineTo(x + r * Math.cos(turn + (2 * Math.PI * i) / corners), y + r * Math.sin(turn + (2 * Math.PI * i) / corners));
    context.closePath();
  }
  const {edge} = palette, ground = css(palette.ground), colour = css(colourOf(k)), isCross = k === 4;
  context.fillStyle = hollow ? ground : colour;
  if (!isCross) context.fill();
  const strokes = isCross ? [[edge, 4], [colour, 2.4], ...(hollow ? [[ground, 0.9]] : [])] : hollow ? [[edge, 2.4], [colour, 1.4]] : [[edge, 0.9]];
  for (const [strokeStyle, lineWidth] of strokes) Object.assign(context, {strokeStyle, lineWidth}), context.stroke();
}

export function make(tag, options = {}, ...children) {
  const {dataset, ...rest} = options, node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.dataset, dataset || {});
  for (const [name, value] of Object.entries(rest)) if (name.startsWith("aria")) node.setAttribute(name.replace("aria", "aria-").toLowerCase(), value);
  node.append(...children);
  return node;
}

export const short = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(Number(value.toPrecision(3))));
