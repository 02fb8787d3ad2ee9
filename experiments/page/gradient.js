// Two sliders: the lag, for what was measured; the spectral radius, of a network computed here.
lesson.widgets.gradient = (box, data) => {
  const { make, slider, table, bar, small } = lesson;
  const LOWEST = Math.log(1e-8); // the left end of every bar

  const measured = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Gradient left at the lag" });
  const longest = Math.max(...data.networks.map((network) => network.left.length)) - 1;
  const lag = slider(`Lag (${data.step}s back)`, { min: 0, max: longest, value: Math.min(20, longest) }, (at) => {
    measured.replaceChildren(table(
      "The bars are on a logarithmic scale: an empty bar means 10⁻⁸ or less, a full bar 1 or more.",
      ["network", "gradient left", "", "bound"],
      data.networks.map((network) => {
        const left = network.left[at] ?? null;
        const bound = network.log_bound === null || network.log_bound === undefined ? "none" : small(at * network.log_bound);
        return [`${network.label}, ${network.when}`, small(left), bar(left === null ? 0 : 1 - left / LOWEST), bound];
      })));
    return `${at} ${data.step}${at === 1 ? "" : "s"}`;
  });
  box.append(make("h3", {}, "Measured: move the lag"),
    make("p", {}, `How much of the gradient of the last output is left in the networks of this section? The last column gives the bound ‖W_hh‖₂ ^ lag, for the networks for which it holds.`),
    lag.box, measured);

  // A tanh network of N units, driven by noise, and the gradient of its last step to earlier ones.
  const N = 24, STEPS = 100;
  let seed = 1;
  const uniform = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  const matrix = (f) => Array.from({ length: N }, (_, i) => Array.from({ length: N }, (_, j) => f(i, j)));
  const times = (A, v) => A.map((row) => row.reduce((sum, a, j) => sum + a * v[j], 0));
  const transposed = (A) => matrix((i, j) => A[j][i]);
  const length = (v) => Math.hypot(...v);
  const product = (A, B) => matrix((i, j) => A[i].reduce((sum, a, k) => sum + a * B[k][j], 0));
  // By Gelfand's formula, ‖A^k‖^(1/k), with k = 2^12.
  const spectralRadius = (A) => {
    let log = 0;
    for (let k = 0; k < 12; k += 1) {
      const size = Math.hypot(...A.flat());
      log = 2 * (log + Math.log(size)) ;
      A = A.map((row) => row.map((a) => a / size));
      A = product(A, A);
    }
    return Math.exp((log + Math.log(Math.hypot(...A.flat()))) / 2 ** 12);
  };
  const norm = (A) => {
    let v = Array.from({ length: N }, normal);
    const At = transposed(A);
    for (let k = 0; k < 200; k += 1) {
      v = times(At, times(A, v));
      const size = length(v);
      v = v.map((x) => x / size);
    }
    return length(times(A, v));
  };
  const orthogonal = () => {
    const rows = matrix(normal);
    rows.forEach((row, i) => {
      for (let j = 0; j < i; j += 1) {
        const along = row.reduce((sum, x, k) => sum + x * rows[j][k], 0);
        row.forEach((x, k) => { row[k] = x - along * rows[j][k]; });
      }
      const size = length(row);
      row.forEach((x, k) => { row[k] = x / size; });
    });
    return rows;
  };
  const unit = (A) => { const radius = spectralRadius(A); return A.map((row) => row.map((a) => a / radius)); };
  const KERNELS = [["random (Gaussian)", unit(matrix(normal))], ["orthogonal", orthogonal()]];
  const NORMS = KERNELS.map(([, W]) => norm(W));
  const noise = Array.from({ length: STEPS }, () => Array.from({ length: N }, normal));
  const readout = Array.from({ length: N }, normal);

  // Natural logarithms of the gradient left at each lag, with f = tanh or without f.
  const gradient = (W, tanh) => {
    let h = new Array(N).fill(0);
    const slopes = noise.map((x) => {
      const a = times(W, h).map((value, i) => value + 0.3 * x[i]);
      h = tanh ? a.map(Math.tanh) : a;
      return tanh ? h.map((value) => 1 - value * value) : new Array(N).fill(1);
    });
    const Wt = transposed(W);
    let g = readout, log = 0;
    const left = [0];
    for (let t = STEPS - 1; t > 0; t -= 1) {
      const before = length(g);
      g = times(Wt, g.map((value, i) => value * slopes[t][i]));
      log += Math.log(length(g) / before);
      left.push(log);
      const size = length(g);
      g = g.map((value) => value / size);
    }
    return left;
  };

  const LINES = [["tanh", "var(--blue)", ""], ["linear (without tanh)", "var(--green)", "8 4"], ["bound ‖W_hh‖₂ ^ lag", "var(--red)", "2 4"]];
  const TOP = Math.log(1e4), BOTTOM = LOWEST;
  const WIDTH = 480;
  const x = (at) => 52 + (WIDTH - 60) * at / (STEPS - 1);
  const y = (log) => 12 + 216 * (TOP - Math.min(TOP, Math.max(BOTTOM, log))) / (TOP - BOTTOM);
  // A curve that leaves the chart ends at its edge.
  const visible = (curve) => {
    const out = curve.findIndex((log) => log < BOTTOM || log > TOP);
    return out < 0 ? curve : curve.slice(0, out + 1);
  };
  const chart = make("svg", { class: "chart", viewBox: `0 0 ${WIDTH} 264`, role: "img" });
  const found = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Gradient of the network computed here" });
  let kernel = 0, radius = 0.9, at = 20;
  const draw = () => {
    const W = KERNELS[kernel][1].map((row) => row.map((a) => a * radius));
    const bound = Array.from({ length: STEPS }, (_, l) => l * Math.log(radius * NORMS[kernel]));
    const curves = [gradient(W, true), gradient(W, false), bound];
    chart.replaceChildren();
    for (let power = -8; power <= 4; power += 4) {
      const level = y(power * Math.LN10);
      chart.append(make("line", { x1: x(0), x2: x(STEPS - 1), y1: level, y2: level, stroke: "var(--line)" }),
        make("text", { x: 46, y: level + 4, "text-anchor": "end" }, small(power * Math.LN10).replace(/^1.0 · |\.00$/, "")));
    }
    for (let tick = 0; tick < STEPS; tick += 20) chart.append(make("text", { x: x(tick), y: 246, "text-anchor": "middle" }, String(tick)));
    chart.append(make("text", { x: x(STEPS / 2), y: 261, "text-anchor": "middle" }, "lag (steps)"),
      make("line", { x1: x(at), x2: x(at), y1: 12, y2: 228, stroke: "var(--ink)", "stroke-dasharray": "1 3" }));
    curves.forEach((curve, i) => chart.append(make("path", {
      d: visible(curve).map((log, l) => `${l ? "L" : "M"}${x(l).toFixed(1)} ${y(log).toFixed(1)}`).join(""),
      fill: "none", stroke: LINES[i][1], "stroke-width": 2.5, "stroke-dasharray": LINES[i][2],
    })));
    const words = curves.map((curve, i) => `${LINES[i][0]} ${small(curve[at])}`).join(", ");
    chart.setAttribute("aria-label", `Gradient left against lag at spectral radius ${radius.toFixed(2)}; at lag ${at}: ${words}`);
    const sample = (i) => make("svg", { viewBox: "0 0 40 10", style: "width: 2.5rem; display: inline-block", "aria-hidden": "true" },
      make("line", { x1: 0, x2: 40, y1: 5, y2: 5, stroke: LINES[i][1], "stroke-width": 2.5, "stroke-dasharray": LINES[i][2] }));
    found.replaceChildren(table(`Left at lag ${at}, computed in this browser`, ["", "line", "gradient left", ""],
      curves.map((curve, i) => [LINES[i][0], sample(i), small(curve[at]), bar(1 - curve[at] / LOWEST)])));
  };
  const rho = slider("Spectral radius of W_hh", { min: 0.1, max: 1.5, step: 0.01, value: radius }, (value) => {
    radius = value;
    draw();
    return `ρ = ${radius.toFixed(2)}, ‖W_hh‖₂ = ${(radius * NORMS[kernel]).toFixed(2)}`;
  });
  const steps = slider("Lag (steps back)", { min: 1, max: STEPS - 1, value: at }, (value) => {
    at = value;
    draw();
    return `${at} step${at === 1 ? "" : "s"}`;
  });
  const which = lesson.choice("Kind of matrix W_hh", KERNELS.map(([name]) => name), (index) => { kernel = index; rho.update(); });
  box.append(make("h3", {}, "Computed here: move the spectral radius"),
    make("p", {}, `This network of ${N} units reads noise. The spectral radius ρ is the largest absolute value of an eigenvalue of W_hh: a vector that is multiplied by W_hh many times ends up growing or shrinking by a factor of ρ a step. Without tanh, the gradient therefore vanishes in the long run for ρ below 1 and explodes for ρ above 1. The bound uses the norm, which is never smaller than ρ; for an orthogonal matrix the two are equal. No curve rises above the bound.`),
    which.box, rho.box, steps.box, chart, found);
  lag.update();
  rho.update();
  steps.update();
};
