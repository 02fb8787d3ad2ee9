// Guess a line letter by letter: how many bits does a letter hold for the reader?
lesson.widgets.shannon = (box, data) => {
  const { make } = lesson;
  const OWN = "the sun was warm on the garden wall and nobody came";
  const LETTERS = "abcdefghijklmnopqrstuvwxyz ";
  const START = 12;
  const passage = data && data.passages.find(({ text }) => text.length > START + 8);
  const text = passage ? [...passage.text].slice(0, 100) : [...OWN];
  const id = `control-${(lesson.count += 1)}`;
  const counts = [];
  let at = START, guesses = 0, tried = new Set();
  const line = make("p", { class: "letters" });
  const input = make("input", { id, autocomplete: "off", autocapitalize: "none", spellcheck: "false", size: 8 });
  const told = make("p", { role: "status", tabindex: -1 });
  const found = make("p", { class: "aside" });
  const form = make("form", { class: "row" }, make("label", { for: id }, "The next letter (or “space”)"), input, make("button", {}, "Guess"));
  // What is neither a letter nor a space is shown, not asked for.
  const asked = () => { while (at < text.length && !LETTERS.includes(text[at].toLowerCase())) at += 1; };
  const entropy = () => {
    // Shannon 1951, section 5; his lower bound supposes that the shares fall.
    const shares = Array.from({ length: 27 }, (_, n) => counts.filter((c) => c === n + 1).length / counts.length).sort((a, b) => b - a);
    const upper = shares.reduce((sum, p) => sum - (p ? p * Math.log2(p) : 0), 0);
    const lower = shares.reduce((sum, p, n) => sum + (n + 1) * (p - (shares[n + 1] ?? 0)) * Math.log2(n + 1), 0);
    return [lower, upper];
  };
  const show = () => {
    asked();
    line.textContent = text.slice(0, at).join("") + (at < text.length ? "▁" : "");
    if (counts.length) {
      const [lower, upper] = entropy();
      let words = `${counts.length} letters in ${counts.reduce((a, b) => a + b)} guesses: between ${lower.toFixed(2)} and ${upper.toFixed(2)} bits a letter, a perplexity of at most ${(2 ** upper).toFixed(1)}. Blind guessing would need ${Math.log2(27).toFixed(2)} bits.`;
      if (passage) words += " On the same stretch: " + passage.cells.map(({ label, bits }) => {
        const read = bits.slice(START - 1, at - 1);
        return `${label} ${(read.reduce((a, b) => a + b, 0) / read.length).toFixed(2)}`;
      }).join(", ") + " bits a character.";
      if (counts.length < 20) words += " Too few letters yet to say much.";
      found.textContent = words;
    }
    if (at >= text.length) {
      form.hidden = true;
      told.focus(); // or the focus would be lost with the form
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = input.value.toLowerCase() === "space" || input.value === " " ? " " : input.value.trim().toLowerCase();
    input.value = "";
    if (given.length !== 1 || !LETTERS.includes(given)) { told.textContent = "One letter, or the word space."; return; }
    const name = given === " " ? "space" : given;
    if (tried.has(given)) { told.textContent = `${name}: tried before.`; return; }
    tried.add(given);
    guesses += 1;
    if (given !== text[at].toLowerCase()) { told.textContent = `Not ${name}. Tried so far: ${[...tried].map((c) => (c === " " ? "space" : c)).join(" ")}`; return; }
    told.textContent = `Yes, ${name}, at guess ${guesses}.`;
    counts.push(guesses);
    guesses = 0;
    tried = new Set();
    at += 1;
    show();
  });
  box.append(make("h3", {}, "Guess the letters"),
    make("p", { class: "aside" }, passage ? `A line from ${passage.source}, its first ${START} characters given.` : `A line of our own, its first ${START} characters given.`),
    line, form, told, found);
  show();
};
