// The reader guesses the next word, then sees what the models would have said.
lesson.widgets.guess = (box, data) => {
  const { make, table, bar, percent } = lesson;
  const score = { rounds: 0, reader: 0, models: data.models.map(() => 0), nats: data.models.map(() => 0) };
  let round = -1;
  const id = `control-${(lesson.count += 1)}`;
  const context = make("p", { class: "aside context" });
  const prompt = make("p", { class: "letters" });
  const source = make("p", { class: "aside" });
  const input = make("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const submit = make("button", {}, "Guess");
  const form = make("form", { class: "row" }, make("label", { for: id }, "The next word"), input, submit);
  const answer = make("div", { "aria-live": "polite" });
  const next = make("button", { type: "button" }, "Next one");
  const total = make("p", { class: "aside" });
  const plain = (word) => word.trim().toLowerCase();

  const ten = (caption, words, guess, truth) => {
    const most = words[0][1];
    return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, table(caption, ["word", "probability", ""], words.map(([word, p]) => {
      const marks = [plain(word) === guess ? "your guess" : "", truth !== null && plain(word) === plain(truth) ? "the truth" : ""].filter(Boolean).join(", ");
      return [make("span", marks ? { class: "hit" } : {}, word + (marks ? ` ← ${marks}` : "")), percent(p), bar(p / most)];
    })));
  };
  const ask = () => {
    round = (round + 1) % data.rounds.length;
    const { before, context: read, source: from } = data.rounds[round];
    prompt.textContent = `${before} ____`;
    source.textContent = from ? `From ${from}; the models have read what stands here, words that they do not know as <unk>.` : "";
    context.textContent = read.replaceAll(/(^| )<end>/g, "\n").trim();
    answer.replaceChildren();
    input.value = "";
    input.disabled = submit.disabled = false;
    next.hidden = true;
  };
  const tell = (event) => {
    event.preventDefault();
    const guess = plain(input.value);
    if (!guess) return;
    const now = data.rounds[round];
    input.disabled = submit.disabled = true;
    next.hidden = false;
    const parts = [];
    if (now.truth !== null) {
      score.rounds += 1;
      score.reader += guess === plain(now.truth);
      now.likeliest.forEach((words, m) => { score.models[m] += plain(words[0][0]) === plain(now.truth); });
      now.probability.forEach((p, m) => { score.nats[m] -= Math.log(p); });
      parts.push(make("p", {}, `It was “${now.truth}”. ${guess === plain(now.truth) ? "You have it. " : ""}` +
        data.models.map((model, m) => `${model} gave it ${percent(now.probability[m])}, ${(-Math.log2(now.probability[m])).toFixed(1)} bits`).join("; ") + "."));
    }
    parts.push(make("div", { class: "columns" }, ...data.models.map((model, m) => ten(now.context ? `${model}, with what stands before` : model, now.likeliest[m], guess, now.truth))));
    if (now.context) {
      parts.push(make("details", {}, make("summary", {}, "What they say without what stands before the line"),
        make("div", { class: "columns" }, ...data.models.map((model, m) => ten(`${model}, told the line alone`, now.alone[m], guess, now.truth)))));
    }
    answer.replaceChildren(...parts);
    if (score.rounds) total.textContent = `Right at the first guess, of ${score.rounds}: you ${score.reader}, ` +
      data.models.map((model, m) => `${model} ${score.models[m]} (perplexity so far ${Math.exp(score.nats[m] / score.rounds).toFixed(0)})`).join(", ") + ".";
    next.focus();
  };
  form.addEventListener("submit", tell);
  next.addEventListener("click", () => { ask(); input.focus(); });
  box.append(make("h3", {}, "Guess the next word"), source, context, prompt, form, answer, make("div", { class: "row" }, next), total);
  ask();
};
