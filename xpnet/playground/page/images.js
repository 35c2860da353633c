// Images: a digit that is drawn, the network that answers, and how each number of it is computed.

import * as drawing from "./drawing.js";
import * as maps from "./maps.js";
import * as written from "./written.js";
import {choose} from "./fields.js";
import {make} from "./colours.js";
import {say} from "./say.js";

const $ = (id) => document.getElementById(id);
const TITLES = {digits: "digits, 8x8", mnist: "MNIST, 28x28", across: "across channels", within: "within a channel"};
const fields = {};
let network = null, chosen = null, ask = null, isAsking = false;

/** Prepare the part; `given.ask` has a command carried out, `given.change` takes other settings. */
export function build(given) {
  ask = given.ask;
  const {choices} = given;
  drawing.build(choices.drawn, (pixels) => ask("draw", {pixels}));
  $("clear-pad").onclick = drawing.erase;
  $("close-written").onclick = () => (maps.clear(), written.clear(), (chosen = null));
  $("test-digit").onclick = () => (drawing.clear(), ask("example"));
  const made = (name, ...rest) => (fields[name] = choose("image-" + name, ...rest, (value) => given.change({[name]: value}))).node;
  const named = (values) => values.map((value) => [value, TITLES[value] ?? String(value)]);
  $("image-form").replaceChildren(
    made("data", "Images", named(choices.images)),
    made("flip", "Filters", [[false, "correlation"], [true, "convolution (turned)"]]),
    made("pool", "Pooling", named(choices.pool)),
    made("norm", "Response normalization", named(choices.norm)),
    made("lr", "Learning rate", named([0.001, 0.01, 0.05, 0.1, 1])),
  );
  $("answer").replaceChildren(...Array.from("0123456789", (name) => make("li", {}, make("span", {className: "name"}, name), make("span", {className: "track"}, make("span", {className: "fill"})), make("span", {className: "value"}))));
}

/** Show the layers of a network. */
export function show(description) {
  network = description;
  if (chosen && !network.layers.some((layer) => layer.name === chosen.layer)) chosen = null;
  for (const [name, field] of Object.entries(fields)) field.set(network.settings[name]);
  $("image-parameters").textContent = network.parameters.toLocaleString("en") + " parameters";
  maps.show(network, (place) => ((chosen = place), explain(true)));
  if (!chosen) written.clear();
  drawing.resend();
}

/** Draw a frame. */
export function update(frame) {
  drawing.showImage(maps.update(frame), network.side);
  const best = frame.probabilities.indexOf(Math.max(...frame.probabilities));
  [...$("answer").children].forEach((item, k) => {
    const percent = (100 * frame.probabilities[k]).toFixed(1);
    item.className = k === best && !frame.is_blank ? "first" : "";
    item.children[1].firstChild.style.width = percent + "%";
    item.children[2].textContent = percent + " %";
  });
  const told = frame.is_blank ? "Draw a digit." : frame.step ? `It is a ${network.classes[best]}` + (frame.label ? `, and was meant as ${frame.label}.` : ".") : "It has learned nothing yet: press Play.";
  if ($("told").textContent !== told) $("told").textContent = told;
  explain(false);
}

async function explain(isNew) {
  if (isAsking || !chosen) return;
  isAsking = true;
  const place = chosen, reply = await ask("explain", place);
  if (reply && place === chosen) {
    const text = written.show(place, reply, network);
    maps.outline(place, reply);
    if (isNew) say(text);
  }
  setTimeout(() => {
    isAsking = false;
    if (chosen !== place) explain(true);
  }, 120);
}
