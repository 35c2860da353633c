// One number of the network, written out: window, filter, products and their sum.

import {css, ink, make, signed} from "./colours.js";

const box = document.getElementById("written");
let channel = null, shown = "";

const number = (v) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(2);
const fine = (v) => (v < 0 ? "−" : "") + Math.abs(v).toFixed(4);

export function clear() {
  box.replaceChildren(make("p", {className: "quiet"}, "Click a pixel of a feature map, or a neuron: here stands how it is computed, number by number."));
}

function grid(title, rows) {
  const most = Math.max(1e-9, ...rows.flat().map(Math.abs)), full = Number(ink("--full"));
  const body = rows.map((row) => make("tr", {}, ...row.map((v) => {
    const cell = make("td", {}, number(v));
    cell.style.backgroundColor = css(signed(v), full * Math.min(1, Math.abs(v) / most));
    return cell;
  })));
  return make("table", {className: "grid"}, make("caption", {}, title), make("tbody", {}, ...body));
}

const line = (text, kind = "formula") => make("p", {className: kind}, text);

/** Show how a number is made. */
export function show(place, reply, network) {
  const where = network.layers.find((layer) => layer.name === place.layer).shape.length === 3 ? `row ${place.row}, column ${place.column}, map ${place.channel}` : `neuron ${place.channel}`;
  if (shown !== place.layer) [channel, shown] = [null, place.layer];
  const parts = (reply.sums ? filtered : reply.kind === "sum" ? summed : reply.divisor ? divided : reply.window ? pooled : passed)(reply, () => show(place, reply, network));
  box.replaceChildren(make("h3", {}, `${place.layer}: ${where}`), line(reply.kind, "quiet"), ...parts, make("p", {className: "total"}, "= ", make("b", {}, fine(reply.result))));
}

function filtered(reply, again) {
  const many = reply.sums.length > 1, best = reply.sums.reduce((a, v, i) => (Math.abs(v) > Math.abs(reply.sums[a]) ? i : a), 0);
  const c = channel ?? best, window = reply.window[c], filter = reply.filter[c];
  const products = window.map((row, i) => row.map((v, j) => v * filter[i][j]));
  const found = [];
  if (many) {
    const field = make("select", {}, ...reply.sums.map((v, i) => new Option(`map ${i}: ${number(v)}`, i)));
    field.selectedIndex = c;
    field.onchange = () => ((channel = field.selectedIndex), again());
    found.push(make("label", {className: "inline"}, `Input map, of ${reply.sums.length} `, field));
  }
  const turned = reply.kind === "convolution" ? ", turned by 180°" : "";
  found.push(make("div", {className: "grids"}, grid("window", window), make("span", {}, "×"), grid("filter" + turned, filter), make("span", {}, "="), grid("products", products)));
  if (turned) found.push(line("The filter as it is kept is turned before it is used: that makes it a convolution.", "quiet"));
  found.push(line(products.map((row) => row.map((v, j) => number(v)).join(" + ")).join(" + ").replaceAll("+ −", "− ") + ` = ${fine(reply.sums[c])}`, "long"));
  const terms = many ? reply.sums.map(number).join(" + ") : fine(reply.sums[0]);
  found.push(line(`${many ? "sums of all maps: " : ""}${terms} + bias ${fine(reply.bias)}`.replaceAll("+ −", "− ")));
  return found;
}

function pooled(reply) {
  const all = reply.window[0].flat().map(number).join(", ");
  return [make("div", {className: "grids"}, grid("window", reply.window[0])), line(reply.kind.startsWith("max") ? `max(${all})` : `(${reply.window[0].flat().map(number).join(" + ")}) / ${reply.window[0].flat().length}`)];
}

function divided(reply) {
  const squares = reply.window[0].flat().map((v) => number(v) + "²").join(" + ");
  return [make("div", {className: "grids"}, grid(reply.window[0].length > 1 ? "neighbours in the map" : "the same pixel of the neighbouring maps", reply.window[0])), line(`S = ${squares}`, "long"), line(`divisor = (${reply.k} + ${reply.alpha} · S)^${reply.beta} = ${fine(reply.divisor)}`), line(`${fine(reply.input)} / ${fine(reply.divisor)}`)];
}

const passed = (reply) => [line(`max(0, ${fine(reply.input)})`)];

function summed(reply) {
  const body = reply.terms.map((term) => make("tr", {}, make("td", {}, "input " + term.from), make("td", {}, number(term.x)), make("td", {}, "× " + number(term.w)), make("td", {}, "= " + number(term.product))));
  const others = reply.count - reply.terms.length;
  return [make("table", {className: "terms"}, make("caption", {}, "The largest products"), make("tbody", {}, ...body)), line(`+ ${others} other products ${fine(reply.others)} + bias ${fine(reply.bias)}`.replaceAll("+ −", "− "))];
}
