// Guess lines letter by letter: how many bits does a letter hold for the reader?
lesson.widgets.shannon = (box, data) => {
  const { make } = lesson;
  const LETTERS = "abcdefghijklmnopqrstuvwxyz ";
  const GIVEN = 10, LONG = 30, LINES = 2; // characters shown of a line; of a long line; lines of a passage
  // Long lines of every passage, each with what comes before it and the place of its first character.
  const linesOf = (passage) => {
    let at = 0;
    const lines = passage.text.split("\n").map((line) => {
      const found = { passage, line: [...line], at, before: passage.text.slice(0, at).trim() };
      at += line.length + 1;
      return found;
    });
    return lines.filter(({ line }) => line.length >= LONG).slice(0, LINES);
  };
  const all = data.passages.map(linesOf);
  // The first lines of all passages, then the second ones.
  const lines = Array.from({ length: LINES }, (_, n) => all.flatMap((some) => some.slice(n, n + 1))).flat();
  const id = `control-${(lesson.count += 1)}`;
  const counts = [], models = new Map(); // guesses for each letter; bits that each model paid for it
  let round = 0, at, guesses, tried;
  const source = make("p", { class: "aside" });
  const context = make("p", { class: "aside context", tabindex: 0, role: "region", "aria-label": "What comes before" });
  const shown = make("p", { class: "letters" });
  const input = make("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false", size: 8 });
  const told = make("p", { role: "status" });
  const found = make("p", { class: "aside" });
  const another = make("button", { type: "button" }, "Another line");
  const form = make("form", { class: "row" }, make("label", { for: id }, "The next letter (or “space”)"), input, make("button", {}, "Guess"));
  const entropy = () => {
    // Shannon 1951, section 5; his lower bound supposes that the shares fall.
    const shares = Array.from({ length: 27 }, (_, n) => counts.filter((c) => c === n + 1).length / counts.length).sort((a, b) => b - a);
    const upper = shares.reduce((sum, p) => sum - (p ? p * Math.log2(p) : 0), 0);
    const lower = shares.reduce((sum, p, n) => sum + (n + 1) * (p - (shares[n + 1] ?? 0)) * Math.log2(n + 1), 0);
    return [lower, upper];
  };
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const show = () => {
    const { line } = lines[round];
    // What is neither a letter nor a space is shown, not asked for.
    while (at < line.length && !LETTERS.includes(line[at].toLowerCase())) at += 1;
    const over = at >= line.length;
    shown.textContent = line.slice(0, at).join("") + (over ? "" : "▁");
    form.hidden = over;
    if (over) another.focus(); // or the focus would be lost with the form
    if (!counts.length) return;
    const [lower, upper] = entropy();
    const total = counts.reduce((sum, count) => sum + count, 0);
    let words = `${counts.length} letter${counts.length === 1 ? "" : "s"} in ${total} guess${total === 1 ? "" : "es"}: between ${lower.toFixed(2)} and ${upper.toFixed(2)} bits a letter, which is a perplexity of at most ${(2 ** upper).toFixed(1)}.`;
    const rivals = [...models].map(([label, bits]) => `${label} ${mean(bits).toFixed(2)}`);
    if (rivals.length) words += ` Bits of the models for the same letters (they predict capitals as well): ${rivals.join(", ")}.`;
    if (counts.length < 50) words += " These are few letters: the bounds will still change a lot.";
    found.textContent = words;
  };
  const begin = () => {
    const { passage, before } = lines[round];
    [at, guesses, tried] = [GIVEN, 0, new Set()];
    source.textContent = `A line from ${passage.source}. Its first ${GIVEN} characters are given; capitals do not count.`;
    context.textContent = before;
    context.hidden = !before;
    told.textContent = "";
    show();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { passage, line, at: first } = lines[round];
    const given = input.value.toLowerCase() === "space" || input.value === " " ? " " : input.value.trim().toLowerCase();
    input.value = "";
    if (given.length !== 1 || !LETTERS.includes(given)) { told.textContent = "Type one letter, or the word space."; return; }
    const name = (letter) => (letter === " " ? "space" : letter);
    if (tried.has(given)) { told.textContent = `You have already tried ${name(given)}.`; return; }
    tried.add(given);
    guesses += 1;
    if (given !== line[at].toLowerCase()) { told.textContent = `Not ${name(given)}. Tried so far: ${[...tried].map(name).join(" ")}`; return; }
    told.textContent = `Yes, ${name(given)}, at guess ${guesses}.`;
    counts.push(guesses);
    for (const { label, bits } of passage.cells ?? []) {
      // The first character of a passage is given to the models, and has no bits.
      const paid = bits?.[first + at - 1];
      if (paid !== undefined) models.set(label, [...(models.get(label) ?? []), paid]);
    }
    [at, guesses, tried] = [at + 1, 0, new Set()];
    show();
  });
  another.addEventListener("click", () => { round = (round + 1) % lines.length; begin(); (form.hidden ? another : input).focus(); });
  box.append(make("h3", {}, "Guess the letters"), source, context, shown, form, told, found, make("div", { class: "row" }, another));
  begin();
};
