// The reader writes and the network goes on: its predictions and its memory, live.
lesson.widgets.writer = (box, data) => {
  const { make, slider, table, bar, percent, named } = lesson;
  const MOST = 400; // characters a go
  const COLUMNS = 32; // cells of the memory in a row
  box.append(make("h3", {}, "Write with the network"));
  if (!data.network) {
    box.append(make("p", {}, "There is no network to write with, because the run behind this page trained no LSTM."));
    return;
  }
  const network = lesson.lstm(data.network);
  // What phones put in place of plain quotation marks.
  const PLAIN = { "’": "'", "‘": "'", "“": '"', "”": '"' };
  let temperature = 0.7, written = "", stop = null;
  // steps[i] is what the network holds after i characters; what did not change is not read again.
  let read = [], steps = [network.read("")];
  const latest = () => steps[steps.length - 1];

  const id = `control-${(lesson.count += 1)}`;
  const input = make("textarea", { id, rows: 2, maxlength: 300, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const skipped = make("p", { class: "aside", role: "status" });
  const page = make("div", { class: "passage sample paper", tabindex: 0, role: "region", "aria-label": "The text" });
  const spoken = make("p", { class: "unseen", "aria-live": "polite" });
  const likeliest = make("div", {});
  const memory = make("canvas", { role: "img", width: COLUMNS, height: Math.ceil(network.size / COLUMNS) });
  const moved = make("p", { class: "aside" });
  const go = make("button", { type: "button" });
  const again = make("button", { type: "button" }, "Start again");

  const predict = () => {
    const p = lesson.probabilities(latest().logits, temperature);
    const best = [...p.keys()].sort((a, b) => p[b] - p[a]).slice(0, 5);
    likeliest.replaceChildren(table("The five likeliest next characters, at this temperature", ["character", "probability", ""],
      best.map((i) => [named(network.alphabet[i]), percent(p[i]), bar(p[i])])));
  };
  const remember = () => {
    const { h } = latest().state, before = steps[Math.max(0, steps.length - 2)].state.h;
    const context = memory.getContext("2d");
    const [below, above] = ["--blue", "--orange"].map((name) => getComputedStyle(box).getPropertyValue(name));
    context.clearRect(0, 0, memory.width, memory.height);
    h.forEach((value, i) => {
      context.globalAlpha = Math.abs(value);
      context.fillStyle = value < 0 ? below : above;
      context.fillRect(i % COLUMNS, Math.floor(i / COLUMNS), 1, 1);
    });
    const moves = h.filter((value, i) => Math.abs(value - before[i]) > 0.5).length;
    moved.textContent = read.length === 0
      ? `${network.size} units, before the first character.`
      : `Reading “${named(read[read.length - 1])}” moved ${moves} of ${network.size} units by more than 0.5.`;
    memory.setAttribute("aria-label", moved.textContent);
  };
  const show = () => {
    page.replaceChildren(read.slice(0, read.length - written.length).join(""), make("mark", {}, written), "▁");
    page.scrollTop = page.scrollHeight;
    predict();
    remember();
  };
  // Brings the network to a text, from the last character up to which it has read the same.
  const bring = (characters) => {
    let same = 0;
    while (same < read.length && read[same] === characters[same]) same += 1;
    steps.length = same + 1;
    for (const character of characters.slice(same)) steps.push(network.step(latest().state, character));
    read = characters;
  };
  const rest = () => {
    if (stop) stop();
    stop = null;
    go.textContent = "Write on";
    spoken.textContent = written && `The network wrote: ${written}`;
  };
  const begin = () => {
    written = "";
    rest();
    const typed = [...input.value].map((character) => PLAIN[character] ?? character);
    const strange = [...new Set(typed.filter((character) => !network.knows(character)))];
    skipped.textContent = strange.length === 0 ? "" :
      `Skipped: ${strange.map((character) => `“${character}”`).join(", ")}. The network knows ${network.alphabet.length} characters, those of plain English text.`;
    bring(typed.filter(network.knows));
    show();
  };
  const write = () => {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let left = MOST;
    go.textContent = "Stop";
    stop = lesson.paced(() => {
      const character = network.draw(latest().logits, temperature);
      written += character;
      left -= 1;
      bring([...read, character]);
      if (!still) show();
      return left > 0;
    }, still, () => {
      show();
      rest();
    });
  };

  const warmth = slider("Temperature", { min: 0.1, max: 1.5, step: 0.1, value: temperature }, (value) => {
    temperature = value;
    predict();
    const [, words] = [[0.3, "plays it safe"], [0.8, "cautious"], [0.95, "lively"], [1.05, "as trained"], [1.25, "daring"], [2, "wild"]]
      .find(([most]) => value <= most);
    return `${value.toFixed(1)}: ${words}`;
  });
  input.addEventListener("input", begin);
  go.addEventListener("click", () => (stop ? rest() : write()));
  again.addEventListener("click", begin);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", remember);
  box.append(
    make("p", {}, "Type, and watch the hidden state change with every character. Then let the network continue your text."),
    make("label", { for: id }, "Your beginning"), input, skipped, warmth.box,
    make("div", { class: "row" }, go, again), page, spoken,
    make("div", { class: "columns" },
      likeliest,
      make("div", { class: "memory" }, make("p", { class: "aside" }, "The hidden state, one cell per unit: blue below zero, orange above, stronger further from zero."), memory, moved)));
  input.value = "To be, or not to";
  warmth.update();
  begin();
};
