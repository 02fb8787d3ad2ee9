// One memory unit over 24 steps, c_t = f_t c_{t-1} + i_t x_t and h_t = o_t c_t; the reader sets its
// gates: with sliders at all steps, with boxes at chosen ones.
lesson.widgets.gates = (box) => {
  const { make, slider, choice } = lesson;
  const STEPS = 24;
  const NUMBERS = [[3, 0.8], [9, -0.4], [14, 0.6], [19, -0.7]]; // at which step, and which
  const WORDS = ["first", "second", "third", "fourth"];
  const inputs = Array.from({ length: STEPS }, (_, t) => (NUMBERS.find(([step]) => step === t + 1) ?? [0, 0])[1]);
  // What h at the last step must hold of each number, and settings that do it.
  const TASKS = [
    { name: "Store the first number, ignore the others", shares: [1, 0, 0, 0], forget: [], input: [3] },
    { name: "Hold the latest number only", shares: [0, 0, 0, 1], forget: [3, 9, 14, 19], input: [3, 9, 14, 19] },
    { name: "Add all numbers up", shares: [1, 1, 1, 1], forget: [], input: [3, 9, 14, 19] },
  ];
  const CLOSE = 0.1; // how far a share may be from what the task wants

  const level = { forget: 0.8, input: 0.5, output: 0.5 };
  // At these steps a gate has another value than its slider says: forget 0, input and output 1.
  const fixed = { forget: new Set(), input: new Set(), output: new Set() };
  const gate = (name, step) => (fixed[name].has(step) ? (name === "forget" ? 0 : 1) : level[name]);
  let task = 0;

  // The state, what is read off, the gradient of the last state, and the share of each number.
  const run = () => {
    const c = [], h = [], gradient = new Array(STEPS).fill(1);
    inputs.forEach((x, t) => {
      c.push(gate("forget", t + 1) * (c[t - 1] ?? 0) + gate("input", t + 1) * x);
      h.push(gate("output", t + 1) * c[t]);
    });
    for (let t = STEPS - 2; t >= 0; t -= 1) gradient[t] = gradient[t + 1] * gate("forget", t + 2);
    return { c, h, gradient, shares: NUMBERS.map(([step]) => gate("input", step) * gradient[step - 1]) };
  };

  const percent = (share) => (share === 0 ? "0 %" : share < 0.0005 ? "less than 0.1 %" : share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${(100 * share).toFixed(0)} %`);
  const signed = (value) => value.toFixed(2).replace(/^-(?=0\.00$)/, "").replace("-", "−");

  const LEFT = 66, WIDTH = 360, COLUMN = (WIDTH - LEFT - 2) / STEPS;
  const x = (step) => LEFT + COLUMN * (step - 0.5);
  const chart = make("svg", { class: "chart", viewBox: `0 0 ${WIDTH} 388`, role: "img", style: "max-width: 34rem" });
  const bars = (values, middle, height, colour) => values.map((value, t) => make("rect", {
    x: x(t + 1) - 4, width: 8, y: middle - Math.max(0, value) * height, height: Math.abs(value) * height, fill: colour,
  }));
  const rule = (y) => make("line", { x1: LEFT, x2: WIDTH - 2, y1: y, y2: y, stroke: "var(--faint)" });
  const words = (at, y, text, anchor = "end") => make("text", { x: at, y, "text-anchor": anchor }, text);
  const draw = ({ c, h, gradient }) => {
    chart.replaceChildren(
      words(LEFT - 8, 40, "input x"), rule(40), ...bars(inputs, 40, 26, "var(--ink)"),
      ...NUMBERS.map(([step, value]) => words(x(step), value > 0 ? 12 : 71, String(value).replace("-", "−"), "middle")));
    ["forget", "input", "output"].forEach((name, row) => {
      const y = 84 + 20 * row;
      chart.append(words(LEFT - 8, y + 12, name));
      for (let step = 1; step <= STEPS; step += 1) {
        const open = gate(name, step);
        chart.append(
          make("rect", { x: x(step) - 5, y, width: 10, height: 14, fill: "none", stroke: fixed[name].has(step) ? "var(--red)" : "var(--faint)", "stroke-width": fixed[name].has(step) ? 2 : 1 }),
          make("rect", { x: x(step) - 5, y: y + 14 * (1 - open), width: 10, height: 14 * open, fill: fixed[name].has(step) ? "var(--red)" : "var(--faint)" }));
      }
    });
    const MIDDLE = 214;
    chart.append(
      words(LEFT - 8, MIDDLE - 48, "1"), words(LEFT - 8, MIDDLE + 5, "c, h"), words(LEFT - 8, MIDDLE + 58, "−1"),
      rule(MIDDLE), ...bars(c, MIDDLE, 52, "var(--blue)"),
      ...h.map((value, t) => make("circle", { cx: x(t + 1), cy: MIDDLE - 52 * value, r: 3.2, fill: "var(--orange)", stroke: "var(--box)" })));
    const y = (value) => 352 - 60 * value;
    chart.append(
      words(LEFT - 8, y(1) + 5, "1"), words(LEFT - 8, y(0.5) + 5, "gradient"), words(LEFT - 8, y(0) + 5, "0"),
      rule(y(0)), make("path", { d: gradient.map((value, t) => `${t ? "L" : "M"}${x(t + 1).toFixed(1)} ${y(value).toFixed(1)}`).join(""), fill: "none", stroke: "var(--green)", "stroke-width": 2.5 }),
      ...[1, 3, 9, 14, 19, 24].map((step) => words(x(step), 370, String(step), "middle")),
      words((LEFT + WIDTH) / 2, 385, "step", "middle"));
    chart.setAttribute("aria-label", `Cell state and gradient over ${STEPS} steps. Cell state: ${NUMBERS.map(([step]) => `${signed(c[step - 1])} at step ${step}`).join(", ")}, ${signed(c.at(-1))} at step ${STEPS}. Gradient of the last cell state: ${NUMBERS.map(([step]) => `${percent(gradient[step - 1])} at step ${step}`).join(", ")}.`);
  };

  // Why the task is not solved yet, or that it is.
  const verdict = ({ shares, h }) => {
    const wanted = TASKS[task].shares;
    const leak = h.findIndex((value, t) => t < STEPS - 1 && Math.abs(value) > CLOSE);
    const output = gate("output", STEPS);
    const off = (i) => shares[i] * output - wanted[i];
    const lost = wanted.findIndex((want, i) => off(i) < -CLOSE);
    const extra = wanted.findIndex((want, i) => off(i) > CLOSE);
    if (lost >= 0 && gate("input", NUMBERS[lost][0]) < 1 - CLOSE) return `Not yet: the input gate lets only ${percent(gate("input", NUMBERS[lost][0]))} of the ${WORDS[lost]} number in.`;
    if (lost >= 0 && shares[lost] < 1 - CLOSE) return `Not yet: the forget gate leaves only ${percent(shares[lost])} of the ${WORDS[lost]} number until step ${STEPS}.`;
    if (extra >= 0) return `Not yet: ${percent(shares[extra] * output)} of the ${WORDS[extra]} number is in the answer and should not be.`;
    if (lost >= 0) return `Not yet: the memory is right, but the output gate shows only ${percent(output)} of it at step ${STEPS}.`;
    if (leak >= 0) return `Nearly: the answer at step ${STEPS} is right, but the unit already shows its memory at step ${leak + 1}.`;
    return `✓ Solved: h at step ${STEPS} is ${signed(h.at(-1))}, and before it the unit shows nothing.`;
  };

  const said = make("p", {}), judged = make("p", {});
  const update = () => {
    const found = run();
    draw(found);
    const back = found.gradient[NUMBERS[0][0] - 1];
    said.textContent = `After ${STEPS} steps, ${percent(found.shares[0])} of the first number is left in the cell. The cell state is ${signed(found.c.at(-1))}; its gradient with respect to step ${NUMBERS[0][0]} is ${back === 0 ? "0" : back < 0.0005 ? "below 0.001" : back.toFixed(3)}.`;
    judged.textContent = verdict(found);
    judged.className = judged.textContent.startsWith("✓") ? "yes" : "";
  };

  const sliders = Object.fromEntries([["forget", "Forget gate f"], ["input", "Input gate i"], ["output", "Output gate o"]].map(
    ([name, label]) => [name, slider(label, { min: 0, max: 1, step: 0.005, value: level[name] }, (value) => {
      level[name] = value;
      update();
      return value.toFixed(3);
    })]));
  const boxes = [];
  const row = (name, label, steps) => make("div", { class: "row", role: "group", "aria-label": label }, make("span", {}, label),
    ...steps.map((step) => {
      const input = make("input", { type: "checkbox", onchange: () => { fixed[name][input.checked ? "add" : "delete"](step); update(); } });
      boxes.push({ input, name, step });
      return make("label", {}, input, ` step ${step}`);
    }));
  const numbered = NUMBERS.map(([step]) => step);
  const which = choice("Task", TASKS.map(({ name }) => name), (index) => { task = index; update(); });
  const set = (values, chosen) => {
    for (const { input, name, step } of boxes) {
      input.checked = chosen[name].includes(step);
      fixed[name][input.checked ? "add" : "delete"](step);
    }
    for (const [name, value] of Object.entries(values)) sliders[name].set(value);
  };
  const start = { ...level };
  box.append(
    make("h3", {}, "Be the network: set the gates"),
    which.box,
    make("p", {}, `In each task, show the result at step ${STEPS} and nothing before. A slider sets its gate at all steps except those that you tick.`),
    ...Object.values(sliders).map((one) => one.box),
    row("forget", "Forget gate closed (0) at", numbered),
    row("input", "Input gate open (1) at", numbered),
    row("output", "Output gate open (1) at", [STEPS]),
    make("div", { class: "row" },
      make("button", { type: "button", onclick: () => set({ forget: 1, input: 0, output: 0 }, { ...TASKS[task], output: [STEPS] }) }, "Show a solution"),
      make("button", { type: "button", onclick: () => set(start, { forget: [], input: [], output: [] }) }, "Start again")),
    make("div", { role: "status" }, said, judged),
    chart,
    make("p", { class: "aside" }, "From top to bottom: the input; how far each gate is open (ticked steps in red); the cell state c (blue bars) and the output h (orange dots); the gradient of the last cell state with respect to the cell state at each step."));
  Object.values(sliders).forEach((one) => one.update());
};
