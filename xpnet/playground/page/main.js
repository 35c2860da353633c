// The page: state, buttons and keys. What is drawn is in the other files, what is computed in Python.

import * as controls from "./controls.js";
import * as course from "./course.js";
import * as curves from "./curves.js";
import * as images from "./images.js";
import * as legend from "./legend.js";
import * as link from "./link.js";
import * as network from "./network.js";
import * as output from "./output.js";
import * as sharing from "./sharing.js";
import {onChange, short} from "./colours.js";
import {say} from "./say.js";
import {ask, listen} from "./transport.js";

const $ = (id) => document.getElementById(id);
let about = null, state = null, shown = null, frame = null, pointed = null, playing = false, said = 0, seen = 0;
const waiting = new Set();  // when commands began that are not done

async function run(act) {
  const started = Date.now();
  waiting.add(started);
  try {
    $("trouble").hidden = $("note").hidden = true;
    return await act();
  } catch (error) {
    tell(error.message);
  } finally {
    waiting.delete(started);
  }
}

setInterval(() => {
  const since = Math.min(...waiting, playing ? seen : Infinity);
  $("busy").hidden = document.body.dataset.connection !== "open" || !(Date.now() - since > 2000);
}, 500);

function tell(trouble) {
  $("trouble").textContent = trouble;
  $("trouble").hidden = false;
}

/** Show the part of the page that the state belongs to. */
function showPart() {
  for (const kind of ["plane", "images"]) {
    $(kind).hidden = state.kind !== kind;
    $("to-" + kind).setAttribute("aria-pressed", state.kind === kind);
  }
  $("rate").closest("label").hidden = state.kind !== "plane";
}

async function start(steps, play) {
  showPart();
  await ask("open", {kind: state.kind, settings: state.settings, steps});
  await ask("rate", {value: state.kind === "plane" ? Number($("rate").value) : 1000});
  if (play && !steps) await ask("play");
}

/** Open a network with the settings of the state, trained for so many steps; play on if it played. */
const open = (steps = 0, play = playing) => run(() => start(steps, play));

/** Open the state that the address holds; where that is none, keep what is shown, and tell. */
const enter = () => run(async () => {
  const before = state;
  try {
    state = link.read(location.hash, about);
    const lesson = course.show(state.step);
    if (lesson) $("rate").value = lesson.rate;
    await start(state.steps, state.kind === "images");
  } catch (error) {
    state = before ?? link.read("", about);
    course.show(state.step);
    if (before) showPart();
    else await start(0, false);
    throw error;
  }
});

function remember() {
  const hash = "#" + link.write(state, about);
  if (hash !== (location.hash || "#")) history.replaceState(null, "", hash);
}

/** Open a network with other settings; with another learning rate the same network goes on. */
function change(settings) {
  if ("lr" in settings) return changeRate(settings.lr);
  state.settings = {...state.settings, ...settings, earlier_rates: []};
  if (settings.data === "points") state.settings.points = settings.points ?? output.points();  // of before, to begin with
  if (state.kind === "plane") controls.show(state.settings);
  return open();
}

const changeRate = (value) => run(async () => {
  state.settings = (await ask("lr", {value})).settings;
  remember();
});

/** Go to a part of the page or to a step of the course, with its settings. */
function go(kind, step = "") {
  state = {kind, settings: {...link.usual(about, kind, step)}, steps: 0, step};
  course.show(step);
}

const handlers = {
  state(name) {
    document.body.dataset.connection = name;
    if (name === "lost") handlers.trouble({error: "The connection is lost: is xpnet playground still running? Trying to connect …"});
  },
  hello(value, isNew) {
    $("trouble").hidden = true;
    if (!about) {
      about = value;
      $("backend").textContent = `xpnet ${value.version} on ${value.backend}`;
      controls.build(value.choices, change);
      course.build(value.lessons, ({kind, name, rate}) => (go(kind, name), ($("rate").value = rate), open(0, kind === "images")));
      images.build({ask: (name, given) => run(() => ask(name, given)), change, choices: value.choices});
      enter();
    } else if (isNew) open(state.steps, false);
  },
  network(value) {
    shown = value;
    [state.settings, state.steps] = [value.settings, value.steps];
    curves.clear(value.kind === "plane" ? value.sizes.length - 1 : 0);
    remember();
    for (const id of ["test-figures", "test-key"]) $(id).hidden = value.settings.data === "points";
    if (value.kind === "images") return images.show(value);
    controls.show(value.settings);
    network.build(value, {choices: about.choices, change, look: (neuron) => ((pointed = neuron), look())});
    output.build(value, (points) => change({data: "points", points}));
    showLegend();
    $("paint").hidden = value.settings.data !== "points";
  },
  frame(value) {
    frame = value;
    seen = Date.now();
    state.steps = value.step;
    setPlaying(value.playing);
    $("steps").textContent = value.step.toLocaleString("en");
    $("epoch").textContent = value.epoch.toLocaleString("en") + (value.epochs ? ` of ${value.epochs}` : "");
    $("play").disabled = $("step").disabled = !!value.ended && !value.playing;
    const loss = (v) => "loss " + (v >= 1e-3 && v < 1e4 ? v.toFixed(3) : short(v));
    for (const part of ["train", "test"]) {
      $(part + "-accuracy").textContent = value[part] ? (100 * value[part].accuracy).toFixed(1) + " %" : "";
      $(part + "-loss").textContent = value[part] ? loss(value[part].loss) : value.step ? loss(value.batch_loss) : "";
    }
    announce();
    if (shown.kind === "images") return images.update(value);
    network.update(value);
    curves.add(shown.settings.data === "points" ? {...value, test: null} : value);
    curves.showNorms(value.norms, value.norms.map((_, i) => (i === value.norms.length - 1 ? "scores" : "layer " + (i + 1))));
    look();
  },
  trouble({error}) {  // it trains no more
    tell(error);
    setPlaying(false);
  },
};

function look() {
  if (!frame || shown.kind !== "plane") return;
  const neuron = pointed && network.pixelsOf(pointed);
  output.update(frame, neuron);
  $("output-title").textContent = pointed ? pointed.name[0].toUpperCase() + pointed.name.slice(1) : "Output";
  if (pointed) $("detail").textContent = network.describe(pointed);
}

function setPlaying(value) {
  if (value === playing) return;
  playing = value;
  $("play").textContent = playing ? "Pause" : "Play";
  if (!playing && about) remember();
  said = 0;
  announce();
}

function announce() {  // for screen readers, every ten seconds and at a pause
  if (!frame || Date.now() - said < 10_000) return;
  said = Date.now();
  const rate = frame.test ?? frame.train;
  say(`${playing ? "Training" : "Paused"}, step ${frame.step}` + (rate ? `, accuracy ${(100 * rate.accuracy).toFixed(0)} percent` : ""));
}

const showLegend = () => legend.show(shown.classes, shown.settings.data !== "points", output.setBrush);

const command = (name, given) => run(() => ask(name, given));
$("play").onclick = () => command(playing ? "pause" : "play");
$("step").onclick = () => command("step");
$("reset").onclick = () => command("reset");
$("rate").onchange = () => command("rate", {value: Number($("rate").value)});
$("to-plane").onclick = () => (go("plane"), open(0, false));
$("to-images").onclick = () => (go("images"), open(0, true));
$("to-course").onclick = () => (state.step ? (course.show((state.step = "")), remember()) : course.start(0));
$("show-code").onclick = () => run(async () => sharing.showCode(await ask("code"), state.steps > 0));
$("copy-link").onclick = () => (remember(), sharing.copyLink());
$("clear-points").onclick = () => (output.clear(), command("pause"));
$("csv").onchange = (event) => readCsv(event.target.files[0]).then(() => (event.target.value = ""));
addEventListener("hashchange", enter);
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => (event.preventDefault(), state.kind === "plane" && readCsv(event.dataTransfer.files[0])));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("code").open || event.target.closest("input, select, textarea, [role=application]")) return;
  if (event.key === " " && event.target.closest("button")) return;
  const press = {" ": "play", s: "step", r: "reset"}[event.key];
  if (press) event.preventDefault(), $(press).click();
});
onChange(() => frame && shown?.kind === "plane" && (network.update(frame), look(), output.drawPoints(), curves.draw(), showLegend()));

const readCsv = (file) => run(async () => {
  if (!file) return;
  if (file.size > 500_000) throw new Error(`${file.name}: expected a file of at most 500 kB`);
  const {points, note} = await ask("csv", {text: await file.text()});
  await change({data: "points", points});
  $("note").textContent = note;
  $("note").hidden = !note;
});

listen(handlers);
