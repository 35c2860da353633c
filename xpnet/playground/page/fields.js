// Fields of the settings: each is {node, set}, the label with its field, and a function that shows a value in it.

import {make} from "./colours.js";

/** A choice among [value, text]; a value that is none of them, as from a link, is added. `change` is given the value. */
export function choose(id, title, options, change) {
  const field = make("select", {id}, ...options.map(([value, text]) => new Option(text, value)));
  const values = options.map(([value]) => value);
  field.onchange = () => change(values[field.selectedIndex]);
  const set = (value) => {
    if (!values.includes(value)) field.add(new Option(value, value)), values.push(value);
    field.selectedIndex = values.indexOf(value);
  };
  return {node: make("label", {}, title, field), set};
}

/** A number between two others; `change` is given it when the user lets go. */
export function slide(id, title, [min, max, step], change) {
  const shown = make("span", {className: "value", ariaHidden: true}), field = make("input", {type: "range", id, min, max, step});
  field.oninput = () => (shown.textContent = field.value);
  field.onchange = () => change(Number(field.value));
  return {node: make("label", {}, make("span", {}, title, shown), field), set: (value) => (field.value = shown.textContent = value)};
}

/** A whole number from 0. */
export function enter(id, title, max, change) {
  const field = make("input", {type: "number", id, min: 0, max, step: 1});
  field.onchange = () => change((field.value = Math.max(0, Math.min(max, Math.trunc(Number(field.value)) || 0))));
  const set = (value) => document.activeElement === field || (field.value = value);  // not while one types
  return {node: make("label", {}, title, field), set};
}

/** Yes or no. */
export function check(id, title, change) {
  const field = make("input", {type: "checkbox", id});
  field.onchange = () => change(field.checked);
  return {node: make("label", {className: "check"}, field, title), set: (value) => (field.checked = value)};
}
