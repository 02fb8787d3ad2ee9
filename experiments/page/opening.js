// The reader finishes a sentence; then the network, letter by letter, finishes a line.
lesson.widgets.opening = (box, data) => {
  const { make, choice } = lesson;
  const STARTS = ["The cat sat on the ", "To be, or not to ", "My lord, I have ", "Good night, good ", "What is the "];
  const TEMPERATURE = 0.6;
  const LONGEST = 80; // characters of a line
  const id = `control-${(lesson.count += 1)}`;
  const input = make("input", { id, size: 12, maxlength: 40, autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  const answer = make("p", { role: "status" });
  const form = make("form", { class: "row" }, make("label", { for: id }, "The missing word"), input, make("button", {}, "That is my word"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const word = input.value.trim();
    answer.textContent = word
      ? `“The cat sat on the ${word}.” You looked back: after “cat” and “sat on”, few words fit. After “the” alone, almost any noun would.`
      : "Any word will do.";
  });
  box.append(make("h3", {}, "Your word"), make("p", { class: "letters" }, "The cat sat on the ____"), form, answer);
  if (!data.network) return;

  const network = lesson.lstm(data.network);
  let start = STARTS[0], stop = () => {};
  const line = make("p", { class: "letters" });
  const spoken = make("p", { class: "unseen", "aria-live": "polite" });
  const show = (written, cursor = "▁") => line.replaceChildren(start, make("mark", {}, written), cursor);
  const begin = (index) => {
    stop();
    start = STARTS[index];
    show("");
  };
  const write = () => {
    stop();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let now = network.read(start), written = "";
    stop = lesson.paced(() => {
      const character = network.draw(now.logits, TEMPERATURE);
      if ((character === "\n" && written.trim() !== "") || written.length === LONGEST) return false;
      written += character;
      now = network.step(now.state, character);
      if (!still) show(written);
      return true;
    }, still, () => {
      show(written, "");
      spoken.textContent = start + written;
    });
  };
  box.append(make("h3", {}, "Now a network"),
    make("p", {}, "This one runs in your browser. It was trained on Shakespeare and nothing else, and it reads and writes one letter at a time. Do not expect it to choose your word: its lines look like Shakespeare and often make little sense. Watch it build words, and then a line, out of letters."),
    choice("A beginning", STARTS.map((one) => `${one.trim()} …`), begin).box,
    make("div", { class: "row" }, make("button", { type: "button", onclick: write }, "Finish the line")), line, spoken,
    make("p", { class: "aside" }, "Each letter is drawn at random, the likelier ones more often. Press the button again for another ending."));
  begin(0);
};
