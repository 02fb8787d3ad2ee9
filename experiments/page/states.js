// The hidden state step by step: a strip of all steps, and the units at the one chosen.
lesson.widgets.states = (box, data) => {
  const { make, slider, choice } = lesson;
  const T = data.labels.length;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let cell = data.cells[0], at = Math.floor(T / 2), scale = 1;
  // A colour of the page: red, green and blue.
  const colour = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));
  };
  const signed = (value) => value.toFixed(2).replace("-", "−");
  const strength = (value) => Math.min(1, Math.abs(value) / scale);
  const canvas = make("canvas", { role: "img" });
  const marker = make("div", { class: "at" });
  const strip = make("div", { class: "strip" }, canvas, marker);
  const inputs = make("svg", { viewBox: `0 0 ${T} ${44 * data.inputs.length}`, preserveAspectRatio: "none", "aria-hidden": "true", style: `height: ${2.75 * data.inputs.length}rem` });
  const units = make("svg", { viewBox: "0 0 640 150", role: "img" });
  const words = make("p", { class: "aside" });

  data.inputs.forEach(({ values }, row) => {
    const known = values.filter((v) => v !== null);
    const low = Math.min(...known), high = Math.max(...known);
    inputs.append(make("path", {
      d: values.map((v, t) => v === null ? "" : `${t && values[t - 1] !== null ? "L" : "M"}${t + 0.5} ${(44 * row + 40 - 36 * (v - low) / (high - low || 1)).toFixed(1)}`).join(""),
      fill: "none", stroke: ["var(--ink)", "var(--green)", "var(--orange)", "var(--faint)"][row % 4], "stroke-width": 1.5,
      "stroke-dasharray": ["", "6 2", "2 2", "8 2 2 2"][row % 4], "vector-effect": "non-scaling-stroke",
    }));
  });
  const show = (t) => {
    at = t;
    marker.style.left = `${100 * (at + 0.5) / T}%`;
    const h = cell.h[at], width = 640 / h.length;
    units.replaceChildren(make("line", { x1: 0, x2: 640, y1: 75, y2: 75, stroke: "var(--faint)" }), ...h.map((value, i) => {
      const height = 70 * strength(value);
      return make("rect", { x: (i * width + 1).toFixed(1), width: Math.max(1, width - 2).toFixed(1), height: height.toFixed(1),
        y: (value < 0 ? 75 : 75 - height).toFixed(1), fill: value < 0 ? "var(--blue)" : "var(--red)" });
    }));
    const largest = h.map((v, i) => [Math.abs(v), i]).sort((a, b) => b[0] - a[0])[0][1];
    units.setAttribute("aria-label", `The ${h.length} units at ${data.labels[at]}; the one furthest from zero is unit ${largest + 1}, at ${signed(h[largest])}`);
    const change = at ? `, and the state changed by ${Math.hypot(...h.map((v, i) => v - cell.h[at - 1][i])).toFixed(2)} (Euclidean distance) since the previous ${data.step}` : "";
    words.textContent = `${data.labels[at]}. Input: ${data.inputs.map(({ label, unit, values }) => `${label} ${values[at] === null ? "missing" : `${values[at]} ${unit}`}`).join(", ")}. ` +
      `The unit furthest from zero is number ${largest + 1}, at ${signed(h[largest])}${change}.`;
    return data.labels[at];
  };
  const slide = slider(`Which ${data.step}`, { min: 0, max: T - 1, value: at }, show);
  const paint = () => {
    const H = cell.h[0].length, all = cell.h.flat().map(Math.abs).sort((a, b) => a - b);
    scale = all[Math.floor(0.99 * (all.length - 1))] || 1;
    canvas.width = T;
    canvas.height = H;
    const context = canvas.getContext("2d"), image = context.createImageData(T, H);
    const [below, above] = [colour("--blue"), colour("--red")];
    cell.h.forEach((row, t) => row.forEach((value, i) => image.data.set([...(value < 0 ? below : above), Math.round(255 * strength(value))], 4 * (i * T + t))));
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", `Hidden state of ${cell.label}: ${H} units, one a row, over ${T} ${data.step}s, one a column`);
    slide.update();
  };
  dark.addEventListener("change", paint);
  canvas.addEventListener("pointermove", (event) => {
    const place = canvas.getBoundingClientRect();
    slide.set(Math.max(0, Math.min(T - 1, Math.floor(T * (event.clientX - place.left) / place.width))));
  });
  const next = make("button", { type: "button" }, `Next ${data.step}`);
  next.addEventListener("click", () => slide.set((at + 1) % T));
  const lines = data.inputs.map(({ label }, i) => data.inputs.length === 1 ? label : `${label} (${["solid", "dashed", "dotted", "dash-dotted"][i % 4]})`).join(", ");
  box.append(make("h3", {}, "Step through the hidden state"),
    make("p", {}, `The line shows what the network reads: ${lines}. The strip shows its state, one row for each unit and one column for each ${data.step}: red above zero, blue below. The bars show every unit at the chosen ${data.step}. Move the slider, or point at the strip.`),
    choice("Network", data.cells.map(({ label }) => label), (index) => { cell = data.cells[index]; paint(); }).box,
    inputs, strip, slide.box, make("div", { class: "row" }, next), units, words);
  paint();
};
