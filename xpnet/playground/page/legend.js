// The marks of the classes: beside the large picture, and as brushes for points that are painted.

import {make, mark} from "./colours.js";

const $ = (id) => document.getElementById(id);
let brush = 0;

function drawn(k, hollow = false) {
  const canvas = make("canvas", {width: 28, height: 28, ariaHidden: true}), context = canvas.getContext("2d");
  context.scale(2, 2);
  mark(context, k, 7, 7, 4.4, hollow);
  return canvas;
}

/** Show the marks of the classes, and of test points if there are any; `choose` is given the class of a brush. */
export function show(classes, hasTest, choose) {
  $("legend").replaceChildren(...classes.map((name, k) => make("li", {}, drawn(k), name)));
  if (hasTest) $("legend").append(make("li", {}, drawn(0, true), "test"));
  const count = Math.min(6, Math.max(2, classes.length + 1));  // one more than there are
  const brushes = Array.from({length: count}, (_, k) => make("button", {type: "button", className: "brush", ariaLabel: "class " + k}, drawn(k)));
  const take = (k) => {
    choose((brush = k));
    brushes.forEach((node, i) => node.setAttribute("aria-pressed", i === k));
  };
  brushes.forEach((node, k) => (node.onclick = () => take(k)));
  $("brushes").replaceChildren(...brushes);
  take(Math.min(brush, count - 1));
}
