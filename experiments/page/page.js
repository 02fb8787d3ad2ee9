"use strict";

// What the widgets share. A widget is lesson.widgets.NAME = (box, data) => {...}: it fills its
// box; data is what the experiment wrote to lesson.json, or null.
const lesson = { widgets: {}, count: 0 };

// An element with its attributes and children; a child may be text.
lesson.make = (tag, attributes = {}, ...children) => {
  const svg = ["svg", "path", "line", "rect", "text", "circle", "g", "title"].includes(tag);
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};

// A labelled slider with its value in words beside it; changed(value) gives those words.
lesson.slider = (label, { min, max, step = 1, value }, changed) => {
  const { make } = lesson;
  const id = `control-${(lesson.count += 1)}`;
  const words = make("output", { for: id });
  const input = make("input", { type: "range", id, min, max, step, value });
  const update = () => {
    words.textContent = changed(Number(input.value));
    input.setAttribute("aria-valuetext", words.textContent);
  };
  input.addEventListener("input", update);
  const set = (to) => {
    input.value = to;
    update();
  };
  return { box: make("div", { class: "slider" }, make("label", { for: id }, label), input, words), input, update, set };
};

// A labelled choice of one among several; changed(index).
lesson.choice = (label, names, changed) => {
  const { make } = lesson;
  const id = `control-${(lesson.count += 1)}`;
  const select = make("select", { id, onchange: () => changed(select.selectedIndex) },
    ...names.map((name) => make("option", {}, name)));
  return { box: make("div", { class: "row" }, make("label", { for: id }, label), select), select };
};

// A table; a cell may be a node. The first cell of a row is its header.
lesson.table = (caption, headers, rows) => {
  const { make } = lesson;
  return make("table", {},
    make("caption", { class: "aside" }, caption),
    make("thead", {}, make("tr", {}, ...headers.map((h) => h ? make("th", { scope: "col" }, h) : make("td")))),
    make("tbody", {}, ...rows.map(([first, ...rest]) => make("tr", {},
      make("th", { scope: "row" }, first),
      ...rest.map((cell) => cell instanceof Node && cell.tagName === "TD" ? cell : make("td", {}, cell))))));
};

// A cell with a bar as long as the share of the whole, for the eye only.
lesson.bar = (share) => lesson.make("td", { class: "bar", "aria-hidden": "true" },
  lesson.make("i", { style: `width: ${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%` }));

lesson.percent = (p) => {
  if (p < 0.00005) return "below 0.01 %";
  return `${p >= 0.0995 ? (100 * p).toFixed(0) : (100 * p).toPrecision(2)} %`;
};

// Powers of ten are easier to compare than "0.00000012".
lesson.small = (log) => {
  if (log === null) return "not finite";
  const value = Math.exp(log);
  if (value >= 0.001 && value < 999.5) return value.toPrecision(3);
  // What would be rounded to 10.0 is the next power.
  const power = Math.floor(log / Math.LN10 + 0.0022);
  const digits = String(Math.abs(power)).replace(/./g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  return `${Math.exp(log - power * Math.LN10).toFixed(1)} · 10${power < 0 ? "⁻" : ""}${digits}`;
};
