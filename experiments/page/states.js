// The hidden state step by step: a strip of all steps, and the units at the one chosen.
lesson.widgets.states = (box, data) => {
  const { make, slider, choice } = lesson;
  const T = data.labels.length;
  let cell = data.cells[0], at = Math.floor(T / 2), scale = 1;
  // Blue below zero, orange above, white at zero.
  const tint = (value) => {
    const strength = Math.min(1, Math.abs(value) / scale);
    const end = value < 0 ? [31, 95, 168] : [200, 90, 0];
    return end.map((c) => Math.round(255 + (c - 255) * strength));
  };
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
      fill: "none", stroke: ["var(--red)", "var(--blue)", "var(--green)", "var(--ink)"][row % 4], "stroke-width": 1.5,
      "stroke-dasharray": ["", "6 2", "2 2", "8 2 2 2"][row % 4], "vector-effect": "non-scaling-stroke",
    }));
  });
  const show = (t) => {
    at = t;
    marker.style.left = `${100 * (at + 0.5) / T}%`;
    const h = cell.h[at], width = 640 / h.length;
    units.replaceChildren(make("line", { x1: 0, x2: 640, y1: 75, y2: 75, stroke: "var(--faint)" }), ...h.map((value, i) => {
      const height = 70 * Math.min(1, Math.abs(value) / scale);
      return make("rect", { x: (i * width + 1).toFixed(1), width: Math.max(1, width - 2).toFixed(1), height: height.toFixed(1),
        y: (value < 0 ? 75 : 75 - height).toFixed(1), fill: value < 0 ? "var(--blue)" : "var(--orange)" });
    }));
    const strongest = h.map((v, i) => [Math.abs(v), i]).sort((a, b) => b[0] - a[0])[0][1];
    units.setAttribute("aria-label", `The ${h.length} units at ${data.labels[at]}; the strongest is unit ${strongest + 1} with ${h[strongest].toFixed(2)}`);
    const changed = at ? Math.hypot(...h.map((v, i) => v - cell.h[at - 1][i])) : 0;
    words.textContent = `${data.labels[at]}. Read: ${data.inputs.map(({ label, unit, values }) => `${label} ${values[at] ?? "missing"} ${unit}`).join(", ")}. ` +
      `Strongest unit: ${strongest + 1} with ${h[strongest].toFixed(2)}; the state moved by ${changed.toFixed(2)} since the ${data.step} before.`;
    return data.labels[at];
  };
  const slide = slider(`Which ${data.step}`, { min: 0, max: T - 1, value: at }, show);
  const paint = (index) => {
    cell = data.cells[index];
    const H = cell.h[0].length, all = cell.h.flat().map(Math.abs).sort((a, b) => a - b);
    scale = all[Math.floor(0.99 * (all.length - 1))] || 1;
    canvas.width = T;
    canvas.height = H;
    const context = canvas.getContext("2d"), image = context.createImageData(T, H);
    cell.h.forEach((row, t) => row.forEach((value, i) => image.data.set([...tint(value), 255], 4 * (i * T + t))));
    context.putImageData(image, 0, 0);
    canvas.setAttribute("aria-label", `Hidden state of ${cell.label}: ${H} units, one a row, over ${T} ${data.step}s, one a column`);
    slide.update();
  };
  canvas.addEventListener("pointermove", (event) => {
    const place = canvas.getBoundingClientRect();
    slide.set(Math.max(0, Math.min(T - 1, Math.floor(T * (event.clientX - place.left) / place.width))));
  });
  const play = make("button", { type: "button" }, "Next step");
  play.addEventListener("click", () => slide.set((at + 1) % T));
  box.append(make("h3", {}, "Step through the hidden state"),
    make("p", {}, "Above, what the network reads; below, its state, a row a unit, blue below zero and orange above; at the bottom, the units at the chosen step."),
    choice("Cell", data.cells.map(({ label }) => label), paint).box,
    make("p", { class: "aside" }, `Lines, from above: ${data.inputs.map(({ label }, i) => `${label} (${["solid", "dashed", "dotted", "dash-dotted"][i % 4]})`).join(", ")}.`),
    inputs, strip, slide.box, make("div", { class: "row" }, play), units, words);
  paint(0);
};
