"use strict";
// Draws the report from the JSON in #data. What captures say is only ever set as text, never as markup.
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const total = data.total;
const HEIGHT = 256, LEFT = 64, BOTTOM = 24, TOP = 8, RIGHT = 8, PAGE = 50, OTHERS = 8;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// A name out of a capture, without the characters that turn around or hide what follows; what stands around it keeps its direction.
const visible = (text) => text.replace(/[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu, "\ufffd");
const named = (text) => make("bdi", {}, visible(text));

const whole = new Intl.NumberFormat("en");
const few = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const share = new Intl.NumberFormat("en", { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const none = (format) => (value) => (value === null || value === undefined ? "–" : format(value));
const count = none((value) => whole.format(value));
const calls = (number) => `${count(number)} ${number === 1 ? "call" : "calls"}`;
const percent = none((value) => share.format(value));
const cost = none((value) => new Intl.NumberFormat("en", value >= 1 || value === 0
  ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 3 }).format(value));
const duration = none((ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${few.format(ms / 1000)} s`));

const sums = (units, side) => Object.values(units).reduce((sum, counts) => sum + counts[side], 0);
const unitNames = Object.keys(total.units).sort((one, other) => Math.max(...total.units[other]) - Math.max(...total.units[one]));
const unitOf = (name, side) => (cell) => (Object.hasOwn(cell.units, name) ? cell.units[name][side] : 0);

function choose(select, options, changed) {
  select.replaceChildren(...options.map(([label], place) => make("option", { value: String(place) }, label)));
  select.addEventListener("change", changed);
  return () => options[Number(select.value)];
}

// --- what it is, and in all

function showHead() {
  const span = data.first ? `, ${data.first.slice(0, 16).replace("T", " ")} to ${data.last.slice(0, 16).replace("T", " ")} UTC` : "";
  at("scope").append(`${calls(total.calls)}${span}, of `, ...data.files.flatMap((file, place) => [place ? ", " : "", named(file)]));
  if (data.where.length) at("scope").append("; only where ", named(data.where.join(" and ")));
  const note = (...parts) => at("notes").append(make("li", {}, ...parts));
  for (const [file, why] of data.broken) note(named(file), ` is broken ${why}; what is behind it is not counted.`);
  if (total.cost === null) note("No cost is known: the captures hold none, and no price table was given (--prices).");
  else if (total.unpriced) {
    const models = data.tables[0].rows.filter((row) => row.unpriced).map((row) => row.name);
    note(`${calls(total.unpriced)} ${total.unpriced === 1 ? "has" : "have"} no price; spend is that of the others. Without a price: `,
      ...models.slice(0, 5).flatMap((name, place) => [place ? ", " : "", named(name)]), models.length > 5 ? ` and ${count(models.length - 5)} more.` : ".");
  }
  at("made").textContent = `Made by payi-otel ${data.version}. Times are UTC. Percentiles are right to 2 %.`
    + (total.cost === null ? "" : " Spend is in the currency of the prices.");
}

function showTiles() {
  const tile = (name, value, more) => at("tiles").append(
    make("div", {}, make("dt", {}, name), make("dd", {}, value, ...(more ? [make("small", {}, more)] : []))));
  if (total.cost !== null) tile("spend", cost(total.cost), total.unpriced ? `of ${calls(total.calls - total.unpriced)}` : "");
  tile("calls", count(total.calls));
  tile("failed", count(total.errors), total.calls ? percent(total.errors / total.calls) : "");
  tile("units in", short.format(sums(total.units, 0)), count(sums(total.units, 0)));
  tile("units out", short.format(sums(total.units, 1)), count(sums(total.units, 1)));
  tile("latency, median", duration(total.latency[0]), `99 of 100: ${duration(total.latency[2])}`);
  tile("first token, median", duration(total.first_token[0]), `99 of 100: ${duration(total.first_token[2])}`);
  tile("text out of a cache", percent(total.cache), "of the text that went in");
}

function showSmallTables() {
  const fill = (id, rows, empty) => at(id).tBodies[0].replaceChildren(...(rows.length ? rows : [[empty]]).map(([name, ...numbers]) =>
    make("tr", {}, make("td", { class: "name" }, visible(name)), ...numbers.map((number) => make("td", { class: "number" }, count(number))))));
  fill("units", unitNames.map((name) => [name, ...total.units[name]]), "none");
  fill("failures", data.failures, "none");
}

// --- charts

function ticks(top) {
  const rough = top / 4, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= rough);
  return Array.from({ length: Math.ceil(top / step) + 1 }, (_, place) => place * step);
}

// The axes of a chart of values up to `top` over the buckets of time.
function frame(id, top, format, what) {
  const width = Math.max(280, at(id).clientWidth), buckets = data.time.buckets;
  const marks = ticks(top > 0 ? top : 1), highest = marks[marks.length - 1];
  const slot = (width - LEFT - RIGHT) / buckets.length;
  const x = (place) => LEFT + place * slot;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / highest);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": what });
  for (const mark of marks) {
    svg.append(draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark), class: "grid" }));
    svg.append(draw("text", { x: LEFT - 8, y: y(mark) + 4, "text-anchor": "end" }, format(mark)));
  }
  const label = 16 + 7 * buckets[0].length, every = Math.max(1, Math.ceil(label / slot));
  for (let place = 0; place === 0 || (place < buckets.length && x(place) + label <= width); place += every) {
    svg.append(draw("text", { x: x(place), y: HEIGHT - 6 }, buckets[place].replace("T", " ")));
  }
  at(id).replaceChildren(svg);
  return { svg, slot, x, y };
}

// A chart with a cursor: by pointer, by finger or by keys.
function chart(id, paint, say) {
  const cursor = at(`${id}-cursor`), buckets = data.time.buckets;
  let axes = null;
  cursor.max = String(buckets.length - 1);
  at(`${id}-step`).textContent = data.time.step;
  const point = () => {
    const place = Number(cursor.value), middle = axes.x(place) + axes.slot / 2;
    axes.svg.querySelector(".at")?.remove();
    axes.svg.append(draw("line", { x1: middle, x2: middle, y1: TOP, y2: HEIGHT - BOTTOM, class: "at" }));
    cursor.setAttribute("aria-valuetext", buckets[place].replace("T", " "));
    at(`${id}-at`).replaceChildren(`${buckets[place].replace("T", " ")}: `, ...say(place));
  };
  const refresh = () => { axes = paint(); point(); };
  cursor.addEventListener("input", point);
  at(id).addEventListener("pointermove", (event) => {
    const box = axes.svg.getBoundingClientRect(), place = Math.floor((event.clientX - box.left - LEFT) / axes.slot);
    if (place >= 0 && place < buckets.length && Number(cursor.value) !== place) { cursor.value = String(place); point(); }
  });
  let width = 0;
  new ResizeObserver(() => { if (at(id).clientWidth !== width) { width = at(id).clientWidth; refresh(); } }).observe(at(id));
  return refresh;
}

const legend = (id, entries) => at(id).replaceChildren(...entries.map(([name, color]) => {
  const key = draw("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
  key.append(draw("rect", { width: 12, height: 12, class: color }));
  return make("li", {}, key, named(name));
}));

function showBars() {
  const measures = [];
  if (total.cost !== null) measures.push(["spend", (cell) => cell.cost || 0, cost]);
  for (const name of unitNames) {
    if (total.units[name][0]) measures.push([`${name}, in`, unitOf(name, 0), count]);
    if (total.units[name][1]) measures.push([`${name}, out`, unitOf(name, 1), count]);
  }
  measures.push(["calls", (cell) => cell.calls, count], ["failed calls", (cell) => cell.errors, count]);
  const color = (group, place) => (group.is_others ? `c${OTHERS}` : `c${place}`);
  let measure, split;
  const paint = () => {
    const [what, read, format] = measure(), groups = split()[1];
    const values = groups.map((group) => group.cells.map((cell) => (cell ? read(cell) : 0)));
    const heights = data.time.buckets.map((_, place) => values.reduce((sum, row) => sum + row[place], 0));
    const axes = frame("bars", Math.max(...heights), format === cost ? cost : (value) => short.format(value), `${what} by ${split()[0]}, over time`);
    data.time.buckets.forEach((_, place) => {
      let low = 0;
      groups.forEach((group, row) => {
        const value = values[row][place];
        if (value > 0) {
          const gap = axes.slot > 4 ? 1 : 0;
          axes.svg.append(draw("rect", { x: axes.x(place) + gap / 2, y: axes.y(low + value), width: Math.max(axes.slot - gap, .5),
            height: axes.y(low) - axes.y(low + value), class: color(group, row) }));
          low += value;
        }
      });
    });
    legend("bars-legend", groups.map((group, place) => [group.name, color(group, place)]));
    return axes;
  };
  const say = (place) => {
    const [, read, format] = measure();
    const parts = split()[1].map((group) => [group.name, group.cells[place] ? read(group.cells[place]) : 0]).filter(([, value]) => value > 0);
    if (!parts.length) return ["nothing"];
    return [format(parts.reduce((sum, [, value]) => sum + value, 0)), " (",
      ...parts.flatMap(([name, value], part) => [part ? ", " : "", named(name), ` ${format(value)}`]), ")"];
  };
  let refresh = () => {};
  measure = choose(at("measure"), measures, () => refresh());
  split = choose(at("split"), data.time.by.map((one) => [one.dimension, one.groups]), () => refresh());
  refresh = chart("bars", paint, say);
}

function showLines() {
  const three = (name) => [["median", (cell) => cell[name][0]], ["90 of 100", (cell) => cell[name][1]], ["99 of 100", (cell) => cell[name][2]]];
  const kinds = [["end to end", three("latency"), duration], ["time to first token", three("first_token"), duration],
    ["text out of a cache", [["of the text that went in", (cell) => cell.cache]], percent]];
  const read = (line, place) => { const cell = data.time.total[place]; return cell ? line[1](cell) : null; };
  let kind;
  const paint = () => {
    const [what, lines, format] = kind();
    const values = lines.map((line) => data.time.buckets.map((_, place) => read(line, place)));
    const axes = frame("lines", Math.max(...values.flat().map((value) => value || 0)), format, `${what}, over time`);
    values.forEach((row, line) => {
      let path = "";
      row.forEach((value, place) => {
        if (value === null) return;
        const x = axes.x(place) + axes.slot / 2, y = axes.y(value);
        path += `${path && row[place - 1] !== null ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
        axes.svg.append(draw("circle", { cx: x, cy: y, r: 2.5, class: `c${line}` }));
      });
      axes.svg.append(draw("path", { d: path, class: `line c${line}` }));
    });
    legend("lines-legend", lines.map(([name], line) => [name, `c${line}`]));
    return axes;
  };
  const say = (place) => {
    const [, lines, format] = kind();
    return [lines.map((line) => `${line[0]} ${format(read(line, place))}`).join(", ")];
  };
  let refresh = () => {};
  kind = choose(at("duration"), kinds, () => refresh());
  refresh = chart("lines", paint, say);
}

// --- the table

function showTable() {
  let dimension, unit, rows = PAGE, order = null;
  const columns = () => {
    const [label, name] = unit();
    const side = (place) => (row) => (name === null ? sums(row.units, place) : unitOf(name, place)(row));
    return [
      { title: dimension()[0], read: (row) => row.name },
      ...(total.cost === null ? [] : [{ title: "spend", read: (row) => row.cost, show: cost }]),
      { title: "calls", read: (row) => row.calls, show: count },
      { title: "failed", read: (row) => row.errors, show: count },
      { title: name === null ? "in" : `${label}, in`, read: side(0), show: count },
      { title: name === null ? "out" : `${label}, out`, read: side(1), show: count },
      { title: "median", read: (row) => row.latency[0], show: duration },
      { title: "99 of 100", read: (row) => row.latency[2], show: duration },
      { title: "first token", read: (row) => row.first_token[0], show: duration },
      { title: "cached", read: (row) => row.cache, show: percent },
    ];
  };
  const compare = (column, isDown) => (one, other) => {
    const [a, b] = [column.read(one), column.read(other)];
    if (a === b) return 0;
    if (a === null || b === null) return a === null ? 1 : -1;
    return (a < b ? -1 : 1) * (isDown ? -1 : 1);
  };
  const refresh = () => {
    const all = dimension()[1], wanted = at("filter").value.toLowerCase(), shown = columns();
    let found = all.filter((row) => row.name.toLowerCase().includes(wanted));
    if (order) found = [...found].sort(compare(shown[order.place] || shown[0], order.isDown));
    const focused = document.activeElement?.dataset?.place;
    at("table").tHead.rows[0].replaceChildren(...shown.map((column, place) => {
      const button = make("button", { type: "button", "data-place": String(place) }, column.title);
      button.addEventListener("click", () => {
        order = { place, isDown: order?.place === place ? !order.isDown : Boolean(column.show) };
        refresh();
      });
      const sorted = order?.place === place ? { "aria-sort": order.isDown ? "descending" : "ascending" } : {};
      return make("th", { scope: "col", ...(column.show ? { class: "number" } : {}), ...sorted }, button);
    }));
    at("table").tBodies[0].replaceChildren(...found.slice(0, rows).map((row) => make("tr", {}, ...shown.map((column) => (column.show
      ? make("td", { class: "number" }, column.show(column.read(row))) : make("th", { scope: "row", class: "name", dir: "auto" }, visible(column.read(row))))))));
    at("shown").textContent = `${count(Math.min(rows, found.length))} of ${count(found.length)} rows`
      + (found.length < all.length ? `, of ${count(all.length)} without the filter` : "");
    at("more").hidden = found.length <= rows;
    if (focused !== undefined) at("table").tHead.querySelector(`[data-place="${Number(focused)}"]`)?.focus();
  };
  const anew = () => { rows = PAGE; refresh(); };
  dimension = choose(at("dimension"), data.tables.map((one) => [one.dimension, one.rows]), () => { order = null; anew(); });
  unit = choose(at("unit"), [["all", null], ...unitNames.map((name) => [name, name])], refresh);
  at("filter").addEventListener("input", anew);
  at("more").addEventListener("click", () => { rows += PAGE; refresh(); });
  refresh();
}

showHead();
showTiles();
showSmallTables();
if (data.time.buckets.length) { showBars(); showLines(); } else { at("time").hidden = true; at("latency").hidden = true; }
showTable();
})();
