// Point at a character: which earlier ones did its prediction lean on?
lesson.widgets.connectivity = (box, data) => {
  const { make, slider, choice, percent } = lesson;
  let passage = data.passages[0], at = 0, slide = null, views = [];
  const shown = (letter) => (letter === " " ? "space" : letter === "\n" ? "end of line" : letter);
  const stage = make("div", {});

  const point = (t) => {
    at = t;
    const next = at + 1;
    for (const { cell, letters, words } of views) {
      const leaned = cell.leaned ? cell.leaned[at] : [];
      const most = Math.max(1, ...leaned);
      letters.forEach((span, i) => {
        const share = i <= at ? leaned[at - i] ?? 0 : 0;
        span.className = i === next ? "next" : i > next ? "later" : "";
        // Thickness tells the same as the tint.
        span.style.backgroundColor = share ? `rgb(var(--mark) / ${(0.5 * share / most).toFixed(2)})` : "";
        span.style.borderBottomWidth = `${Math.round(5 * share / most)}px`;
      });
      const guesses = cell.guesses[at].map(([letter, p]) => `${shown(letter)} ${percent(p)}`).join(", ");
      const back = leaned.map((share, j) => [share, j]).sort((a, b) => b[0] - a[0]).slice(0, 3)
        .map(([share, j]) => `${shown(passage.text[at - j])} (${j + 1} back) ${percent(share / 1000)}`).join(", ");
      words.textContent = `likeliest: ${guesses}; “${shown(passage.text[next])}” cost ${cell.bits[at].toFixed(1)} bits` + (back ? `; leaned most on ${back}` : "");
    }
    return `no. ${next + 1}, “${shown(passage.text[next])}”`;
  };

  const build = (index) => {
    passage = data.passages[index];
    views = passage.cells.map((cell) => {
      const letters = [...passage.text].map((letter, i) => make("span", {
        onpointerenter: () => i > 0 && slide.set(i - 1), onclick: () => i > 0 && slide.set(i - 1),
      }, letter === "\n" ? "↵\n" : letter));
      return { cell, letters, words: make("p", { class: "aside" }) };
    });
    slide = slider("Position of the character that is predicted", { min: 0, max: passage.text.length - 2, value: Math.min(40, passage.text.length - 2) }, point);
    stage.replaceChildren(make("p", {}, `From ${passage.source}.`), slide.box, ...views.flatMap(({ cell, letters, words }) => [
      make("h4", {}, cell.label + (cell.leaned ? "" : " (no gradient to show)")), make("div", { class: "passage" }, ...letters), words]));
    slide.update();
  };
  box.append(make("h3", {}, "Point at a character"),
    make("p", {}, "Point at a character below, or move the slider: the framed character is to be predicted, and those before it are tinted and underlined by how much each network's prediction leaned on them."));
  if (data.passages.length > 1) box.append(choice("Passage", data.passages.map((p) => p.source), build).box);
  box.append(stage);
  build(0);

  const { label, texts } = data.samples;
  const written = make("div", { class: "passage sample", "aria-live": "polite" });
  const warmth = slider("Temperature", { min: 0, max: texts.length - 1, value: 1 }, (index) => {
    written.textContent = texts[index].text;
    return String(texts[index].temperature);
  });
  box.append(make("h3", {}, `What the ${label} writes`),
    make("p", {}, `It has read the lines before “${data.passages[0].text.slice(0, 20)}…”, and goes on by itself.`),
    warmth.box, written);
  warmth.update();
};
