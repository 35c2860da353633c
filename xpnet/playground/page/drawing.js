// Drawing a digit: strokes on a canvas, sent as bytes of ink.

const pad = document.getElementById("pad"), context = pad.getContext("2d", {willReadFrequently: true});
let send = () => {}, last = null, timer = 0, isEmpty = true;

/** Prepare the pad; `sent` is given the ink in base64 while one draws. */
export function build(side, sent) {
  [pad.width, pad.height] = [side, side];
  send = sent;
  clear();
}

/** Take away what was drawn. */
export function clear() {
  clearTimeout(timer);
  timer = 0;
  context.fillStyle = "#000";
  context.fillRect(0, 0, pad.width, pad.height);
  isEmpty = true;
}

/** The same, and send that there is nothing. */
export const erase = () => (clear(), report());

/** Send what was drawn, if anything, to another network. */
export const resend = () => isEmpty || report();

/** Show an image, side x side numbers of 0 to 1, where nothing is drawn. */
export function showImage(values, side) {
  if (!isEmpty) return;
  const cell = pad.width / side;
  values.forEach((v, i) => {
    context.fillStyle = `rgb(${255 * v} ${255 * v} ${255 * v})`;
    context.fillRect((i % side) * cell, Math.floor(i / side) * cell, cell, cell);
  });
}

const place = (event) => {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * pad.width, ((event.clientY - box.top) / box.height) * pad.height];
};

function stroke(to) {
  Object.assign(context, {strokeStyle: "#fff", lineWidth: pad.width / 9, lineCap: "round", lineJoin: "round"});
  context.beginPath();
  context.moveTo(...last);
  context.lineTo(to[0] + 0.01, to[1]);
  context.stroke();
  last = to;
  timer ||= setTimeout(report, 70);
}

function report() {
  timer = 0;
  const {data} = context.getImageData(0, 0, pad.width, pad.height);
  let text = "";
  for (let i = 0; i < data.length; i += 4) text += String.fromCharCode(data[i]);
  send(btoa(text));
}

pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  if (isEmpty) clear();
  isEmpty = false;
  last = place(event);
  stroke(last);
});
pad.addEventListener("pointermove", (event) => last && stroke(place(event)));
for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => (last = null));
