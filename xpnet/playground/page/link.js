// Settings in the address, after the #, so that a link reproduces a state. Only what differs from the defaults, or from the
// settings of a step of the course, is there.

const encoders = {
  boolean: (value) => (value ? "yes" : "no"),
  number: String,
  string: String,
  object: (value) => value.map((each) => (Array.isArray(each) ? each.join("_") : each)).join(","),
};

/** The settings of a state that are not written: those of its step of the course, else the defaults of its kind. */
export const usual = (about, kind, step) => ({...about.defaults[kind], ...about.lessons.find((each) => each.name === step)?.settings});

/** Write a state {kind, settings, steps, step} as the part of an address after the #; step is of the course, or "". */
export function write(state, about) {
  const found = new URLSearchParams();
  if (state.step) found.set("step", state.step);
  else if (state.kind !== "plane") found.set("kind", state.kind);
  for (const [name, value] of Object.entries(usual(about, state.kind, state.step))) {
    const text = encoders[typeof value](state.settings[name]);
    if (text !== encoders[typeof value](value)) found.set(name, text);
  }
  if (state.steps) found.set("steps", state.steps);
  return found.toString();
}

/** Read what write wrote; names that are unknown and values that are no numbers go to Python, which says what is wrong. */
export function read(text, about) {
  const found = new URLSearchParams(text.replace(/^#/, "")), step = found.get("step") ?? "";
  const lesson = about.lessons.find((each) => each.name === step);
  if (step && !lesson) throw new Error(`link: expected step=${about.lessons.map((each) => each.name).join(", ")}, got step=${step.slice(0, 80)}`);
  const kind = lesson?.kind ?? (found.get("kind") === "images" ? "images" : "plane"), defaults = usual(about, kind, step);
  const state = {kind, settings: {...defaults}, steps: Number(found.get("steps")) || 0, step};
  for (const [name, value] of found)
    if (!["kind", "steps", "step"].includes(name)) state.settings[name] = decode(name, value, defaults[name]);
  return state;
}

function decode(name, value, usual) {
  const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
  if (typeof usual === "boolean") return value === "yes";
  if (typeof usual === "number") return number(value);
  if (!Array.isArray(usual)) return value;
  const parts = value === "" ? [] : value.split(",");
  if (name === "points" || name === "earlier_rates") return parts.map((part) => part.split("_").map(number));
  return name === "layers" ? parts.map(number) : parts;
}
