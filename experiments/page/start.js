for (const form of document.querySelectorAll("form.check")) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const inputs = [...form.querySelectorAll("input")];
    const verdicts = inputs.map((input) => {
      const right = Number(input.dataset.number);
      // A minus sign or a unit may have been copied from the page.
      const text = input.value.trim().replace("−", "-").replace(/\s*(%|°C)$/, "");
      // A comma may be the decimal point or separate thousands.
      const given = [text, text.replace(/(\d)[ ,'](?=\d{3}\b)/g, "$1")]
        .filter(Boolean).map((one) => Number(one.replace(",", "."))).filter((one) => !Number.isNaN(one));
      if (given.length === 0) return "Write a number, such as 2.5.";
      return given.some((one) => Math.abs(one - right) <= 0.02 * Math.abs(right)) ? "✓ Right." : "✗ Not yet.";
    });
    form.querySelector("output").textContent = inputs.length === 1 ? verdicts[0]
      : inputs.map((input, i) => `${input.labels[0].textContent}: ${verdicts[i]}`).join(" ");
  });
}
// Two widgets may share what an experiment wrote: it is parsed once.
const parsed = {};
const read = (source) => {
  if (!source) return null;
  parsed[source] ??= JSON.parse(document.getElementById(source).textContent);
  return parsed[source];
};
for (const box of document.querySelectorAll("[data-widget]")) {
  // One that fails must not take the others with it.
  try {
    lesson.widgets[box.dataset.widget](box, read(box.dataset.source));
    box.hidden = false;
  } catch (error) {
    console.error(box.dataset.widget, error);
  }
}
