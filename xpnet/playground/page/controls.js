// The form of the settings. What can be chosen comes from Python.

import {make} from "./colours.js";

const counts = (...values) => values.map((value) => [value, String(value)]);
const RATES = counts(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10);
const names = {circles: "circles", xor: "XOR", points: "your own points", "squared error": "squared error", sgd: "SGD", adam: "Adam", adamw: "AdamW", rmsprop: "RMSprop", adagrad: "Adagrad", nesterov: "Nesterov", relu: "ReLU", gelu: "GELU", "leaky relu": "leaky ReLU"};
const named = (values) => values.map((value) => [value, names[value] ?? value]);
let fields = {};

/** Build the forms; `change` is called with the settings that were changed. */
export function build(choices, change) {
  fields = {};
  const data = document.getElementById("data-form"), network = document.getElementById("network-form");
  data.replaceChildren(
    choose("data", "Points", named(choices.data), change),
    slide("noise", "Noise", 0, 0.5, 0.01, change),
    choose("classes", "Classes", counts(2, 3, 4, 5, 6), change),
    slide("n", "Number", 20, 1000, 20, change),
    slide("train", "Share for training", 0.1, 0.9, 0.05, change),
    choose("batch", "Batch size", counts(1, 5, 10, 20, 50, 100, 1000), change),
    enter("seed", "Seed", change),
  );
  network.replaceChildren(
    choose("activation", "Activation", named(choices.activation), change),
    choose("loss", "Loss", named(choices.loss), change),
    choose("optimizer", "Optimizer", named(choices.optimizer), change),
    choose("lr", "Learning rate", RATES, change),
    choose("penalty", "Penalty", named(choices.penalty), change),
    choose("penalty_rate", "Penalty rate", RATES.slice(0, 9), change),
    check("bias", "Bias", change),
  );
}

/** Show settings in the forms. */
export function show(settings) {
  for (const [name, set] of Object.entries(fields)) set(settings[name]);
  const own = settings.data === "points";
  for (const [name, visible] of [["noise", !own], ["n", !own], ["train", !own], ["classes", ["blobs", "spirals"].includes(settings.data)], ["penalty_rate", settings.penalty !== "none"]])
    document.getElementById("set-" + name).closest("label").hidden = !visible;
}

function choose(name, title, options, change) {
  const field = make("select", {id: "set-" + name}, ...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => value);
  field.onchange = () => change({[name]: values[field.selectedIndex] ?? field.extra});
  fields[name] = (value) => {
    let index = values.indexOf(value);
    if (index < 0) {  // from a link
      if (field.options.length === values.length) field.add(new Option(""));
      index = values.length;
      field.options[index].text = field.extra = value;
    }
    field.selectedIndex = index;
  };
  return make("label", {}, title, field);
}

function slide(name, title, min, max, step, change) {
  const shown = make("span", {className: "value"}), field = make("input", {type: "range", id: "set-" + name, min, max, step});
  field.oninput = () => (shown.textContent = field.value);
  field.onchange = () => change({[name]: Number(field.value)});
  fields[name] = (value) => ((field.value = value), (shown.textContent = value));
  return make("label", {}, make("span", {}, title, shown), field);
}

function enter(name, title, change) {
  const field = make("input", {type: "number", id: "set-" + name, min: 0, max: 2 ** 32 - 1, step: 1});
  field.onchange = () => change({[name]: Math.max(0, Math.min(2 ** 32 - 1, Math.trunc(Number(field.value)) || 0))});
  fields[name] = (value) => (field.value = value);
  return make("label", {}, title, field);
}

function check(name, title, change) {
  const field = make("input", {type: "checkbox", id: "set-" + name});
  field.onchange = () => change({[name]: field.checked});
  fields[name] = (value) => (field.checked = value);
  return make("label", {className: "check"}, field, title);
}
