// The reader predicts the next word, then sees what the models predicted.
lesson.token = (word) => (word === "<end>" ? "(end of the speech)" : word);

lesson.widgets.guess = (box, data) => {
  const { make, table, bar, percent, choice } = lesson;
  // Of Student's distribution, 97.5 %, for 1, 2, ... degrees of freedom.
  const T = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11, 2.10, 2.09];
  const known = new Set(data.vocabulary);
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const signed = (value) => value.toFixed(2).replace("-", "−");
  // How many rounds of a group were played, and what was scored in those that count.
  const fresh = () => ({ round: 0, reader: 0, hits: data.models.map(() => 0), bits: [] });
  const games = data.groups.map(fresh);
  let group = 0;
  const id = `control-${(lesson.count += 1)}`;
  const context = make("p", { class: "aside context", tabindex: 0, role: "region", "aria-label": "What comes before" });
  const prompt = make("p", { class: "letters" });
  const source = make("p", { class: "aside" });
  const input = make("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const submit = make("button", {}, "Predict");
  const form = make("form", { class: "row" }, make("label", { for: id }, "The next word"), input, submit);
  const answer = make("div", { "aria-live": "polite" });
  const next = make("button", { type: "button" });
  const total = make("div");
  const plain = (word) => word.trim().toLowerCase();

  const ten = (caption, words, guess, truth) => make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    table(caption, ["word", "probability", ""], words.map(([word, p]) => {
      const marks = [plain(word) === guess ? "yours" : "", plain(word) === plain(truth) ? "the play’s" : ""].filter(Boolean).join(", ");
      return [make("span", marks ? { class: "hit" } : {}, lesson.token(word) + (marks ? ` ← ${marks}` : "")), percent(p), bar(p / words[0][1])];
    })));
  // About a word of the reader's that no list shows.
  const unlisted = (guess, lists) => {
    if (!known.has(guess)) return `“${guess}” is a fine answer, but the models could not predict it: their vocabulary has the ${data.vocabulary.length.toLocaleString("en")} words that occur at least ${data.least} times in the training works, and this is not one of them.`;
    if (!lists.some((words) => words.some(([word]) => plain(word) === guess))) return `“${guess}” is in the vocabulary, but not among the ten likeliest words of either model.`;
    return "";
  };
  const score = () => {
    const { reader, hits, bits } = games[group];
    total.replaceChildren();
    if (!bits.length) return;
    const rounds = bits.length;
    total.append(table(`After ${rounds} word${rounds === 1 ? "" : "s"}`, ["", "correct", "bits a word"], [
      ["You", String(reader), "–"],
      ...data.models.map((model, m) => [model, String(hits[m]), mean(bits.map((row) => row[m])).toFixed(2)]),
    ]));
    const saved = bits.map(([one, other]) => other - one);
    const difference = `Difference, ${data.models[1]} minus ${data.models[0]}: ${signed(mean(saved))} bits a word`;
    if (rounds === 1) { total.append(make("p", {}, `${difference}. One word has no interval: too few to tell which model is better.`)); return; }
    const deviation = Math.sqrt(saved.reduce((sum, value) => sum + (value - mean(saved)) ** 2, 0) / (rounds - 1));
    const half = (T[rounds - 2] ?? 2.09) * deviation / Math.sqrt(rounds);
    const [low, high] = [mean(saved) - half, mean(saved) + half];
    const verdict = low <= 0 && high >= 0 ? "The interval includes zero: too few words to tell which model is better."
      : `The interval excludes zero: on words like these the ${data.models[low > 0 ? 0 : 1]} is better. After so few words, one more can change that.`;
    total.append(make("p", {}, `${difference}, 95 % interval ${signed(low)} to ${signed(high)}. ${verdict}`));
  };
  const ask = () => {
    const { rounds } = data.groups[group];
    if (games[group].round === rounds.length) games[group] = fresh();
    const { round } = games[group];
    const now = rounds[round];
    prompt.textContent = `${now.before} ____`;
    source.textContent = `${round + 1} of ${rounds.length}, from ${now.source}. The models read up to 128 words before the gap, in lower case; a word outside their vocabulary is <unk> to them.`;
    context.textContent = `… ${now.context}`;
    context.hidden = !now.context;
    answer.replaceChildren();
    input.value = "";
    input.disabled = submit.disabled = false;
    next.hidden = true;
    score();
  };
  const tell = (event) => {
    event.preventDefault();
    const guess = plain(input.value);
    if (!guess) return;
    const game = games[group];
    const { rounds } = data.groups[group];
    const now = rounds[game.round];
    input.disabled = submit.disabled = true;
    next.hidden = false;
    game.round += 1;
    next.textContent = game.round < rounds.length ? "Next one" : "Begin again";
    const right = guess === plain(now.truth);
    const parts = [make("p", {}, `The play has “${now.truth}”. ${right ? "You are correct. " : ""}` + (now.probability
      ? data.models.map((model, m) => `${model}: ${percent(now.probability[m])}, which is ${(-Math.log2(now.probability[m])).toFixed(1)} bits`).join("; ") + "."
      : "That word is not in the vocabulary, so neither model could predict it, and the round does not count."))];
    const about = right ? "" : unlisted(guess, now.likeliest);
    if (about) parts.push(make("p", {}, about));
    if (now.probability) {
      game.reader += right;
      now.likeliest.forEach((words, m) => { game.hits[m] += plain(words[0][0]) === plain(now.truth); });
      game.bits.push(now.probability.map((p) => -Math.log2(p)));
    }
    parts.push(make("div", { class: "columns" }, ...data.models.map((model, m) => ten(model, now.likeliest[m], guess, now.truth))));
    answer.replaceChildren(...parts);
    score();
    next.focus();
  };
  const groups = choice("Lines", data.groups.map(({ label }) => label), (index) => { group = index; ask(); });
  form.addEventListener("submit", tell);
  next.addEventListener("click", () => { ask(); input.focus(); });
  box.append(make("h3", {}, "Predict the next word"), groups.box, source, context, prompt, form, answer, make("div", { class: "row" }, next), total);
  ask();
};
