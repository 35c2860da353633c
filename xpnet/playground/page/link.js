// Settings in the address, after the #, so that a link reproduces a state. Only what differs from the defaults is there.

const encoders = {
  boolean: (value) => (value ? "yes" : "no"),
  number: String,
  string: String,
  object: (value) => value.map((each) => (Array.isArray(each) ? each.join("_") : each)).join(","),
};

/** Write a state {kind, settings, steps, course} as the part of an address after the #. */
export function write(state, defaults) {
  const found = new URLSearchParams();
  if (state.course) found.set("course", state.course);
  if (state.kind !== "plane") found.set("kind", state.kind);
  for (const [name, usual] of Object.entries(defaults[state.kind])) {
    const value = state.settings[name], text = encoders[typeof usual](value);
    if (text !== encoders[typeof usual](usual)) found.set(name, text);
  }
  if (state.steps) found.set("steps", state.steps);
  return found.toString();
}

/** Read what write wrote; names that are unknown and values that are no numbers go to Python, which says what is wrong. */
export function read(text, defaults) {
  const found = new URLSearchParams(text.replace(/^#/, ""));
  const kind = found.get("kind") === "images" ? "images" : "plane";
  const state = {kind, settings: {...defaults[kind]}, steps: Number(found.get("steps")) || 0, course: Number(found.get("course")) || 0};
  for (const [name, value] of found)
    if (!["kind", "steps", "course"].includes(name)) state.settings[name] = decode(name, value, defaults[kind][name]);
  return state;
}

function decode(name, value, usual) {
  const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text);
  if (typeof usual === "boolean") return value === "yes";
  if (typeof usual === "number") return number(value);
  if (!Array.isArray(usual)) return value;
  const parts = value === "" ? [] : value.split(",");
  if (name === "points") return parts.map((part) => part.split("_").map(number));
  return name === "layers" ? parts.map(number) : parts;
}
