// Course mode: thirteen steps, each with its setting prepared.

import {make} from "./colours.js";

const $ = (id) => document.getElementById(id);
let lessons = [], at = -1, outlined = 0, open = () => {};

/** Take the lessons; `go` is called with the one that is chosen. */
export function build(given, go) {
  [lessons, open] = [given, go];
  $("course-steps").replaceChildren(...lessons.map((lesson, i) => make("button", {type: "button", textContent: i + 1, title: lesson.title, onclick: () => start(i), ariaLabel: `Step ${i + 1}: ${lesson.title}`})));
  $("course-show").onclick = showPart;
  $("course-back").onclick = () => start(at - 1);
  $("course-next").onclick = () => start(at + 1);
}

/** Open a lesson, from 0, with its setting prepared. */
export const start = (index) => open(lessons[index]);

/** Scroll to the part of the page that the lesson is about, focus it and outline it for a moment. */
function showPart() {
  const part = document.querySelector(lessons[at].part);
  if (!part) return;  // the network is not open yet
  if (part.tabIndex < 0) part.tabIndex = -1;  // what is no control cannot be focused without it
  part.focus({preventScroll: true});
  part.scrollIntoView({block: "start"});
  clearTimeout(outlined);
  document.querySelector(".shown")?.classList.remove("shown");
  part.classList.add("shown");
  outlined = setTimeout(() => part.classList.remove("shown"), 4000);
}

/** Show the lesson of a name, and return it; "" leaves the course. */
export function show(name) {
  at = lessons.findIndex((each) => each.name === name);
  const lesson = lessons[at];
  $("course").hidden = $("course-task").hidden = !lesson;
  $("to-course").setAttribute("aria-pressed", at >= 0);
  if (!lesson) return;
  $("course-title").textContent = `${at + 1}. ${lesson.title}`;
  $("course-text").textContent = lesson.text;
  $("course-look").textContent = lesson.look;
  $("course-back").disabled = !at;
  $("course-next").disabled = at === lessons.length - 1;
  [...$("course-steps").children].forEach((node, i) => (i === at ? node.setAttribute("aria-current", "step") : node.removeAttribute("aria-current")));
  return lesson;
}
