for (const form of document.querySelectorAll("form.check")) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const right = Number(form.dataset.number);
    const text = form.querySelector("input").value.trim();
    // A comma may stand for the decimal point or part thousands.
    const given = [text, text.replace(/(\d)[ ,'](?=\d{3}\b)/g, "$1")]
      .filter(Boolean).map((one) => Number(one.replace(",", "."))).filter((one) => !Number.isNaN(one));
    form.querySelector("output").textContent = given.length === 0
      ? "Write a number, such as 2.5."
      : given.some((one) => Math.abs(one - right) <= 0.02 * Math.abs(right)) ? "✓ Right." : "✗ Not yet.";
  });
}
for (const box of document.querySelectorAll("[data-widget]")) {
  const source = box.dataset.source && document.getElementById(box.dataset.source);
  // One that fails must not take the others with it.
  try {
    lesson.widgets[box.dataset.widget](box, source ? JSON.parse(source.textContent) : null);
    box.hidden = false;
  } catch (error) {
    console.error(box.dataset.widget, error);
  }
}
