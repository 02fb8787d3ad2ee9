// Point at a character: on which of the earlier ones does its prediction depend?
lesson.widgets.connectivity = (box, data) => {
  const { make, slider, choice, percent, named } = lesson;
  const quoted = (character) => (named(character) === character ? `“${character}”` : named(character));
  const joined = (parts) => parts.join(", ");
  let passage = data.passages[0], at = 0, slide = null, views = [];
  const stage = make("div", {});

  const describe = (cell, leaned) => {
    const next = passage.text[at + 1];
    const guesses = joined(cell.guesses[at].map(([character, p]) => `${quoted(character)} ${percent(p)}`));
    const back = joined(leaned.map((share, j) => [share, j]).sort((a, b) => b[0] - a[0]).slice(0, 3)
      .filter(([share]) => share > 0)
      .map(([share, j]) => `${quoted(passage.text[at - j])} (${j + 1} back) ${percent(share / 1000)}`));
    return `Likeliest: ${guesses}. The true character, ${quoted(next)}, cost ${cell.bits[at].toFixed(1)} bits.`
      + (back ? ` Largest shares of the gradient: ${back}.` : "");
  };
  const point = (t) => {
    at = t;
    const next = at + 1;
    for (const { cell, letters, words } of views) {
      const leaned = cell.leaned ? cell.leaned[at] : [];
      const most = Math.max(1, ...leaned);
      letters.forEach((span, i) => {
        const share = i <= at ? leaned[at - i] ?? 0 : 0;
        span.className = i === next ? "next" : i > next ? "later" : "";
        // The thickness of the line shows the same as the tint.
        span.style.backgroundColor = share ? `rgb(var(--mark) / ${(0.5 * share / most).toFixed(2)})` : "";
        span.style.borderBottomWidth = `${Math.round(5 * share / most)}px`;
      });
      words.textContent = describe(cell, leaned);
    }
    return `no. ${next + 1}, ${quoted(passage.text[next])}`;
  };

  const build = (index) => {
    passage = data.passages[index];
    views = passage.cells.map((cell) => {
      const letters = [...passage.text].map((letter, i) => make("span", {
        onpointerenter: () => i > 0 && slide.set(i - 1), onclick: () => i > 0 && slide.set(i - 1),
      }, letter === "\n" ? "↵\n" : letter));
      return { cell, letters, words: make("p", { class: "aside" }) };
    });
    // Begins at the last line end, which the figure shows.
    slide = slider("Character that is predicted", { min: 0, max: passage.text.length - 2, value: passage.text.lastIndexOf("\n") - 1 }, point);
    stage.replaceChildren(slide.box, ...views.flatMap(({ cell, letters, words }) => [
      make("h4", {}, cell.label + (cell.leaned ? "" : " (counts, so there is no gradient)")), make("div", { class: "passage" }, ...letters), words]));
    slide.update();
  };
  box.append(make("h3", {}, "Point at a character"),
    make("p", {}, "Point at a character below, or move the slider. The framed character is the one to be predicted; what follows it is grey. Each earlier character is tinted and underlined by its share of the gradient."));
  if (data.passages.length > 1) {
    box.append(choice("Passage", data.passages.map(({ source, text }) => `${source}: “${text.slice(0, 24).trim()} …”`), build).box);
  }
  box.append(stage);
  build(0);
};
