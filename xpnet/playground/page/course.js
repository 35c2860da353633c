// Course mode: thirteen steps, each with its setting prepared.

import {make} from "./colours.js";

const $ = (id) => document.getElementById(id);
let lessons = [], at = 0, open = () => {};

/** Take the lessons; `go` is called with the number of one, from 1, and the lesson. */
export function build(given, go) {
  [lessons, open] = [given, go];
  $("course-steps").replaceChildren(...lessons.map((lesson, i) => make("button", {type: "button", textContent: i + 1, title: lesson.title, onclick: () => start(i + 1), ariaLabel: `Step ${i + 1}: ${lesson.title}`})));
  $("course-back").onclick = () => start(at - 1);
  $("course-next").onclick = () => start(at + 1);
}

/** Show a lesson and prepare its setting. */
export function start(number) {
  show(number);
  if (at) open(at, lessons[at - 1]);
}

/** Show a lesson, 1 or above; 0 leaves the course. */
export function show(number) {
  at = Math.max(0, Math.min(lessons.length, number));
  $("course").hidden = !at;
  $("to-course").setAttribute("aria-pressed", at > 0);
  if (!at) return;
  const lesson = lessons[at - 1];
  $("course-title").textContent = `${at}. ${lesson.title}`;
  $("course-text").textContent = lesson.text;
  $("course-look").textContent = lesson.look;
  $("course-back").disabled = at === 1;
  $("course-next").disabled = at === lessons.length;
  [...$("course-steps").children].forEach((node, i) => (i + 1 === at ? node.setAttribute("aria-current", "step") : node.removeAttribute("aria-current")));
}

export const now = () => at;
