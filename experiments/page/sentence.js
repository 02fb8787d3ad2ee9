// A sentence in which the reader changes words and watches the predicted ones move.
lesson.widgets.sentence = (box, data) => {
  const { make, table, bar, percent } = lesson;
  const choices = data.sentence.filter((part) => Array.isArray(part));
  const selects = choices.map((words, n) =>
    make("select", { "aria-label": `Word to change, ${n + 1} of ${choices.length}`, onchange: () => show() }, ...words.map((word) => make("option", {}, word))));
  const lists = make("div", { class: "columns" });
  const told = make("p", { class: "aside", role: "status" });
  const known = new Set(data.vocabulary);
  // The bars of all sentences are drawn to one scale for each model, so that they move as well.
  const most = data.models.map((_, m) => Math.max(...data.sentences.map((lists) => lists[m][0][1])));
  const place = () => selects.reduce((sum, select, n) => sum * choices[n].length + select.selectedIndex, 0);
  let from = null;
  const show = () => {
    const at = place();
    lists.replaceChildren(...data.sentences[at].map((list, m) => {
      const old = new Set(data.sentences[from ?? at][m].map(([word]) => word));
      return make("div", {}, table(data.models[m], ["word", "probability", ""], list.map(([word, p]) =>
        [make("span", old.has(word) ? {} : { class: "hit" }, lesson.token(word) + (old.has(word) ? "" : " (new)")), percent(p), bar(p / most[m])])));
    }));
    const words = selects.flatMap((select) => select.value.split(" "));
    const unknown = words.filter((word) => !known.has(word)).map((word) => `“${word}”`).join(", ");
    const notes = unknown ? [`Not in the vocabulary of this run, and read as <unk> by both models: ${unknown}.`] : [];
    if (from !== null) notes.push(...data.models.map((model, m) => {
      const moved = data.moved[m][from][at];
      return `${model}: ${moved === 0 ? "the same prediction as before." : `${(100 * moved).toFixed(1)} % of the probability has moved to other words.`}`;
    }));
    told.textContent = notes.join(" ");
    from = at;
  };
  let next = 0;
  const line = make("p", { class: "letters" });
  data.sentence.forEach((part) => line.append(Array.isArray(part) ? selects[next++] : part, " "));
  line.append("____");
  box.append(make("h3", {}, "Change a word"), line, lists, told);
  show();
};
