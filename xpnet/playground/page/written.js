// One number of the network, written out: window, filter, products and their sum.

import {css, ink, make, signed} from "./colours.js";

const box = document.getElementById("written");
const heading = make("h3"), about = make("p", {className: "quiet"}), body = make("div", {className: "parts"}), total = make("p", {className: "total"});
const field = make("select"), choice = make("label", {className: "inline"}, "Input map ", field);  // of a convolution of several
let map = null, layer = "", redraw = () => {};
field.onchange = () => ((map = field.selectedIndex), redraw());

const digits = (v, n) => v.toFixed(n).replace(/^-(?=.*[1-9])/, "−").replace(/^-/, "");  // no minus before 0.00
const number = (v) => digits(v, 2), fine = (v) => digits(v, 4);
const sum = (terms) => terms.join(" + ").replaceAll("+ −", "− ");
const line = (text, className = "formula") => make("p", {className}, text);

export function clear() {
  box.parentNode.classList.remove("filled");
  box.replaceChildren(line("Choose a pixel of a feature map, or a neuron: here stands how it is computed, number by number.", "quiet"));
}

/** Show how the number at a place is computed; return the same in one line. */
export function show(place, reply, network) {
  const isMap = network.layers.find((each) => each.name === place.layer).shape.length === 3;
  const where = isMap ? `row ${place.row}, column ${place.column}, map ${place.channel}` : `neuron ${place.channel}`;
  if (layer !== place.layer) [map, layer] = [null, place.layer];
  redraw = () => body.replaceChildren(...partsOf(reply));
  heading.textContent = `${place.layer}: ${where}`;
  about.textContent = reply.kind;
  choice.hidden = !(reply.sums?.length > 1);
  redraw();
  total.replaceChildren("= ", make("b", {}, fine(reply.result)));
  if (heading.parentNode !== box) box.replaceChildren(heading, about, choice, body, total, line("Numbers are rounded for display.", "quiet"));
  box.parentNode.classList.add("filled");
  return `${heading.textContent}: ${reply.kind} ${fine(reply.result)}`;
}

function partsOf(reply) {
  if (reply.sums) return filtered(reply);
  if (reply.terms) return summed(reply);
  if (reply.divisor) return divided(reply);
  return reply.window ? pooled(reply) : [line(`max(0, ${fine(reply.input)})`)];
}

function grid(title, rows) {
  const most = Math.max(1e-9, ...rows.flat().map(Math.abs)), full = Number(ink("--full"));
  const made = rows.map((row) => make("tr", {}, ...row.map((v) => {
    const cell = make("td", {}, number(v));
    cell.style.backgroundColor = css(signed(v), full * Math.min(1, Math.abs(v) / most));
    return cell;
  })));
  return make("table", {className: "grid"}, make("caption", {}, title), make("tbody", {}, ...made));
}

function filtered({kind, sums, window: windows, filter: filters, bias}) {
  const many = sums.length > 1, largest = sums.reduce((a, v, i) => (Math.abs(v) > Math.abs(sums[a]) ? i : a), 0);
  const c = map ?? largest, window = windows[c], filter = filters[c], isTurned = kind === "convolution";
  if (many) {
    while (field.options.length < sums.length) field.add(new Option());
    sums.forEach((v, i) => (field.options[i].text = `${i}, sum ${number(v)}`));
    field.selectedIndex = c;
  }
  const products = window.map((row, i) => row.map((v, j) => v * filter[i][j]));
  const found = [make("div", {className: "grids"}, grid("window", window), make("span", {}, "×"), grid(isTurned ? "filter, turned by 180°" : "filter", filter), make("span", {}, "="), grid("products", products))];
  if (isTurned) found.push(line("The filter as it is kept is turned before it is used: that makes it a convolution.", "quiet"));
  found.push(line(`${sum(products.flat().map((v) => digits(v, 3)))} = ${fine(sums[c])}`, "long"));
  found.push(line((many ? "sums of all maps: " : "") + sum([...sums.map(many ? number : fine), "bias " + fine(bias)])));
  return found;
}

function pooled({kind, window: [window]}) {
  const values = window.flat().map(number);
  return [make("div", {className: "grids"}, grid("window", window)), line(kind.startsWith("max") ? `max(${values.join(", ")})` : `(${sum(values)}) / ${values.length}`)];
}

function divided({window: [window], k, alpha, beta, divisor, input}) {
  const title = window.length > 1 ? "neighbours in the map" : "the same pixel of the neighbouring maps";
  return [
    make("div", {className: "grids"}, grid(title, window)),
    line("S = " + window.flat().map((v) => number(v) + "²").join(" + "), "long"),
    line(`divisor = (${k} + ${alpha} · S)^${beta} = ${fine(divisor)}`),
    line(`${fine(input)} / ${fine(divisor)}`),
  ];
}

function summed(reply) {
  const rows = reply.terms.map(({from, x, w, product}) => make("tr", {}, ...["input " + from, number(x), "× " + number(w), "= " + number(product)].map((text) => make("td", {}, text))));
  const others = reply.count - reply.terms.length;
  return [make("table", {className: "terms"}, make("caption", {}, "The largest products"), make("tbody", {}, ...rows)), line("+ " + sum([`${others} other products ${fine(reply.others)}`, `bias ${fine(reply.bias)}`]))];
}
