// The large picture: what the network answers on the plane, with the points; and painting points on it.

import {mark, paint, paintClasses, decode, sharp, ink} from "./colours.js";

const picture = document.getElementById("picture"), over = document.getElementById("points");
let network = null, cursor = [0, 0], brush = 0, painted = null;

/** Show the points of a network; `paint` is given all points once some were painted. */
export function build(description, onPaint) {
  network = description;
  painted = network.settings.data === "points" ? [...network.settings.points] : null;
  finish = onPaint;
  over.tabIndex = painted ? 0 : -1;
  over.classList.toggle("painting", !!painted);
  over.setAttribute("role", painted ? "application" : "img");
  drawPoints();
}

let finish = () => {};
export const setBrush = (k) => (brush = k);

/** Draw the network's answer, or a neuron's if it has pixels. */
export function update(frame, neuron) {
  if (neuron) paint(picture, neuron.side, neuron.side, neuron.value);
  else paintClasses(picture, frame.large.side, decode(frame.large.classes, Uint8Array), decode(frame.large.confidence, Uint8Array));
  const rate = (part) => (100 * frame[part].accuracy).toFixed(1) + " %";
  const test = painted ? "" : `, ${rate("test")} of the test points`;
  over.setAttribute("aria-label", `What the network answers on the plane, with the points: ${rate("train")} of the training points${test} are right.` + (painted ? " Arrow keys move the brush, Enter puts a point." : ""));
}

export function drawPoints() {
  if (!network) return;
  const [context, w] = sharp(over), {half} = network, size = Math.max(2.2, w / (network.points.train.length < 100 ? 80 : 130));
  const at = (v) => ((v + half) / (2 * half)) * w;
  context.strokeStyle = ink("--line");
  context.lineWidth = 1;
  for (const [a, b] of [[[0, w / 2], [w, w / 2]], [[w / 2, 0], [w / 2, w]]]) context.beginPath(), context.moveTo(...a), context.lineTo(...b), context.stroke();
  const {train, test} = network.points;
  for (const [x, y, k] of test) mark(context, k, at(x), at(-y), size, true);
  for (const [x, y, k] of painted ?? train) mark(context, k, at(x), at(-y), size, false);
  if (painted && document.activeElement === over) {
    const [x, y] = [at(cursor[0]), at(-cursor[1])];
    context.strokeStyle = ink("--text");
    context.strokeRect(x - 7, y - 7, 14, 14);
  }
}

function put(x, y, k = brush) {
  if (painted.length >= 500) return;
  const {half} = network, clip = (v) => Math.round(100 * Math.max(-half, Math.min(half, v))) / 100;
  painted.push([clip(x), clip(y), k]);
  drawPoints();
}

const place = (event) => {
  const {left, top, width} = over.getBoundingClientRect(), {half} = network;
  return [((event.clientX - left) / width) * 2 * half - half, half - ((event.clientY - top) / width) * 2 * half];
};

let last = null;
over.addEventListener("pointerdown", (event) => {
  if (!painted) return;
  over.setPointerCapture(event.pointerId);
  put(...(last = place(event)));
});
over.addEventListener("pointermove", (event) => {
  if (!painted || !last) return;
  const next = place(event);
  if (Math.hypot(next[0] - last[0], next[1] - last[1]) > 0.25) put(...(last = next));
});
for (const name of ["pointerup", "pointercancel"]) over.addEventListener(name, () => {
  if (last) learn();
  last = null;
});
over.addEventListener("keydown", (event) => {
  const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}, move = moves[event.key];
  if (!painted || !(move || event.key === "Enter")) return;
  event.preventDefault();
  event.stopPropagation();
  if (move) cursor = cursor.map((v, i) => Math.max(-network.half, Math.min(network.half, v + 0.25 * move[i])));
  else put(...cursor), learn();
  drawPoints();
});
over.addEventListener("focus", drawPoints);
over.addEventListener("blur", drawPoints);
new ResizeObserver(drawPoints).observe(over);

// Nothing is learned before there are two points.
const learn = () => painted?.length > 1 && finish(painted);

/** The points that are shown, as settings have them. */
export const points = () => network.points.train.slice(0, 500).map(([x, y, k]) => [Math.round(100 * x) / 100, Math.round(100 * y) / 100, k]);

/** Take all painted points away. */
export function clear() {
  painted = [];
  drawPoints();
}
