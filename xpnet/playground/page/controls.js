// The forms of the plane's settings. What can be chosen comes from Python.

import {check, choose, enter, slide} from "./fields.js";

const counts = (...values) => values.map((value) => [value, String(value)]);
const RATES = counts(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10);
const NAMES = {xor: "XOR", points: "your own points", sgd: "SGD", adam: "Adam", adamw: "AdamW", rmsprop: "RMSprop", adagrad: "Adagrad", nesterov: "Nesterov", relu: "ReLU", gelu: "GELU", "leaky relu": "leaky ReLU"};
const named = (values) => values.map((value) => [value, NAMES[value] ?? value]);
let fields = {};

/** Build the forms; `change` is called with the settings that were changed. */
export function build(choices, change) {
  const made = (make, name, ...rest) => (fields[name] = make("set-" + name, ...rest, (value) => change({[name]: value}))).node;
  fields = {};
  document.getElementById("data-form").replaceChildren(
    made(choose, "data", "Points", named(choices.data)),
    made(slide, "noise", "Noise", [0, 1, 0.01]),
    made(choose, "classes", "Classes", counts(2, 3, 4, 5, 6)),
    made(slide, "n", "Number", [20, 1000, 20]),
    made(slide, "train", "Share for training", [0.1, 0.9, 0.05]),
    made(choose, "batch", "Batch size", counts(1, 5, 10, 20, 50, 100, 1000)),
    made(enter, "seed", "Seed", 2 ** 32 - 1),
  );
  document.getElementById("network-form").replaceChildren(
    made(choose, "activation", "Activation", named(choices.activation)),
    made(choose, "loss", "Loss", named(choices.loss)),
    made(choose, "optimizer", "Optimizer", named(choices.optimizer)),
    made(choose, "lr", "Learning rate", RATES),
    made(choose, "penalty", "Penalty", named(choices.penalty)),
    made(choose, "penalty_rate", "Penalty rate", RATES.slice(0, 9)),
    made(check, "bias", "Bias"),
  );
}

/** Show settings in the forms, without those that have no effect. */
export function show(settings) {
  for (const [name, field] of Object.entries(fields)) field.set(settings[name]);
  const own = settings.data === "points", hide = (name, hidden) => (fields[name].node.hidden = hidden);
  for (const name of ["noise", "n", "train"]) hide(name, own);
  hide("classes", !["blobs", "spirals"].includes(settings.data));
  hide("penalty_rate", settings.penalty === "none");
  const {node} = fields.activation, isUsed = settings.layers.length > 0;
  node.querySelector("select").disabled = !isUsed;
  node.title = isUsed ? "" : "an activation stands after a hidden layer, and there is none: add one with the + above the network";
}
