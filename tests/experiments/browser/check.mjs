// Opens a lesson's page as readers do, and prints what is wrong with it, a JSON list.
//   node check.mjs CHROMIUM PAGE [PART...]    the PARTs are keys of `parts`, all where none is given
//   node check.mjs CHROMIUM PAGE network TEXT    what the page's network makes of a text
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, file, ...wanted] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const problems = [];
const expect = (right, what) => right || problems.push(what);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

const open = async (where, options) => {
  const page = await browser.newPage(options);
  page.on("console", (said) => said.type() === "error" && problems.push(`${where}: console: ${said.text()}`));
  page.on("pageerror", (error) => problems.push(`${where}: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url().replace(/#.*/, "");
    expect(url === String(pathToFileURL(file)) || url.startsWith("data:"), `${where}: request for ${url}`);
  });
  await page.goto(String(pathToFileURL(file)));
  return page;
};

// Text below 12 pixels; of mathematics the whole is looked at, not each index.
const smallText = () => {
  const found = new Set();
  const size = (element) => parseFloat(getComputedStyle(element).fontSize);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, noscript, math") || !element.getClientRects().length) continue;
    const matrix = element.ownerSVGElement && element.getScreenCTM();
    const whole = element.closest("svg text");
    const largest = whole ? Math.max(...[whole, ...whole.querySelectorAll("tspan")].filter((part) =>
      [...part.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim())).map(size)) : size(element);
    const seen = largest * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
    const section = element.closest("section")?.id ?? "outside the sections";
    if (seen < 11.95) found.add(`${section}: "${(whole ?? node).textContent.trim().slice(0, 40)}" is ${seen.toFixed(1)} pixels high`);
  }
  return [...found];
};

// What a figure draws in black or white does not follow the page's colours.
const unreadable = () => {
  const found = new Set();
  for (const element of document.querySelectorAll("figure svg *, .widget svg *")) {
    if (!element.matches("path, line, rect, circle, ellipse, polygon, polyline, text, tspan, use")) continue;
    const style = getComputedStyle(element);
    // What is defined takes the paint of what uses it, but for what it says itself.
    const inherits = element.matches("use") || element.closest("defs, symbol, clipPath");
    const painted = ["fill", "stroke"].filter((kind) => !(kind === "fill" && element.matches("line"))
      && (!inherits || element.style[kind] || element.hasAttribute(kind)));
    for (const colour of painted.map((kind) => style[kind])) {
      if (["rgb(0, 0, 0)", "rgb(255, 255, 255)"].includes(colour)) {
        found.add(`${element.closest("section")?.id}: ${element.outerHTML.slice(0, 120)} is painted ${colour}`);
      }
    }
  }
  return [...found].slice(0, 5);
};

// Links to what is not there, and ids that two elements share.
const adrift = () => {
  const links = [...document.querySelectorAll("a[href^='#']")].map((link) => link.getAttribute("href").slice(1));
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  return [...new Set(links)].filter((name) => !ids.includes(name)).map((name) => `a link leads to #${name}, which is not there`)
    .concat([...new Set(ids.filter((id, i) => ids.indexOf(id) < i))].map((id) => `two elements have the id ${id}`));
};

// What a widget shows of numbers or words it does not have.
const holes = (box) => {
  const spoken = [...box.querySelectorAll("[aria-label], [aria-valuetext]")]
    .flatMap((element) => [element.getAttribute("aria-label"), element.getAttribute("aria-valuetext")]);
  return [box.innerText, ...spoken].flatMap((text) => text?.match(/.*(\bNaN\b|undefined|\bnull\b|\bInfinity\b|\[object ).*/g) ?? []);
};

// Readers with wide and narrow screens, by day and by night; everything unfolded.
const looks = async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [375, 1280]) {
      const where = `${colorScheme}, ${width} pixels`;
      const page = await open(where, { viewport: { width, height: 900 }, colorScheme });
      await page.evaluate(() => document.querySelectorAll("details").forEach((box) => { box.open = true; }));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(wide <= width, `${where}: ${wide} pixels wide`);
      await page.addScriptTag({ path: axe });
      for (const { id, nodes } of (await page.evaluate(() => window.axe.run())).violations) {
        problems.push(`${where}: axe: ${id}: ${nodes[0].html.slice(0, 200)}`);
      }
      for (const look of [...(width === 1280 ? [smallText] : []), unreadable, adrift]) {
        for (const found of await page.evaluate(look)) problems.push(`${where}: ${found}`);
      }
      await page.close();
    }
  }
};

// All that can be done on the page, by keyboard wherever that can do it.
const use = async () => {
  const page = await open("in use", { viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(15_000);
  const widget = (name) => page.locator(`[data-widget=${name}]`);
  const nameOf = (control) => control.evaluate((element) =>
    `${element.closest("[data-widget]").dataset.widget}: ${element.labels?.[0]?.innerText || element.ariaLabel || element.innerText}`);
  const looksOf = (control) => control.evaluate((element) => element.closest("[data-widget]").innerHTML);
  // Focus on a control is seen, and a key there changes its widget.
  const press = async (control, ...keys) => {
    const name = await nameOf(control);
    await control.focus();
    await control.evaluate((element) => element.setAttribute("data-used", ""));
    for (const key of keys) {
      const outline = await control.evaluate((element) => element === document.activeElement && getComputedStyle(element).outlineStyle);
      expect(outline && outline !== "none", `${name}: focus is not seen`);
      const before = await looksOf(control);
      await page.keyboard.press(key);
      expect(before !== (await looksOf(control)), `${name}: ${key} changes nothing`);
    }
  };
  const write = async (input, text) => {
    await input.focus();
    await input.evaluate((element) => element.setAttribute("data-used", ""));
    await input.fill(text);
  };
  // Whether something comes true within half a minute.
  const becomes = async (what, true_) => {
    for (const end = Date.now() + 30_000; Date.now() < end; await page.waitForTimeout(50)) if (await true_()) return;
    problems.push(`${what} within half a minute`);
  };

  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement.matches(".skip")), "the first Tab does not reach the skip link");
  expect((await page.locator(".skip").boundingBox()).x >= 0, "the skip link is not seen when focused");
  await page.keyboard.press("Enter");
  expect(page.url().endsWith("#lesson"), "the skip link leads nowhere");
  for (const name of await page.locator("[data-widget][hidden]").evaluateAll((all) => all.map((box) => box.dataset.widget))) {
    problems.push(`${name}: the widget is not shown`);
  }

  for (const select of await page.locator(".widget select").all()) {
    const others = await select.evaluate((element) => element.options.length - 1);
    const name = await nameOf(select);
    if (others < 1) await select.evaluate((element) => element.setAttribute("data-used", ""));
    for (let i = 0; i < others; i += 1) {
      const before = await select.inputValue();
      await press(select, "ArrowDown");
      expect(before !== (await select.inputValue()), `${name}: ArrowDown chooses nothing`);
    }
  }
  for (const slider of await page.locator(".widget input[type=range]").all()) await press(slider, "ArrowLeft", "End", "Home", "PageUp");
  for (const box of await page.locator(".widget input[type=checkbox]").all()) await press(box, "Space", "Space");

  const gates = widget("gates");
  for (const [i, task] of (await gates.locator("select option").allInnerTexts()).entries()) {
    await press(gates.getByText("Start again"), "Enter");
    await gates.locator("select").selectOption({ index: i });
    expect(/Not yet/.test(await gates.locator("[role=status]").innerText()), `gates: ${task} is solved from the beginning`);
    await press(gates.getByText("Show a solution"), "Enter");
    expect(/✓ Solved/.test(await gates.locator("[role=status]").innerText()), `gates: the solution of “${task}” does not solve it`);
  }

  const opening = widget("opening");
  await write(opening.locator("form input"), "mat");
  await press(opening.locator("form button"), "Enter");
  expect((await opening.locator("form + p").innerText()).includes("on the mat"), "opening: the reader's word is not taken up");
  if (await opening.locator("mark").count()) {
    await press(opening.getByText("Finish the line"), "Enter");
    await becomes("opening: no line is finished", async () => /\S/.test(await opening.locator(".unseen").textContent()));
  }

  const sentence = widget("sentence");
  for (const select of await sentence.locator("select").all()) {
    const before = await sentence.locator("table").evaluateAll((tables) => tables.map((table) => table.innerHTML).join());
    const last = await select.evaluate((element) => element.selectedIndex === element.options.length - 1);
    await press(select, last ? "ArrowUp" : "ArrowDown");
    const after = await sentence.locator("table").evaluateAll((tables) => tables.map((table) => table.innerHTML).join());
    expect(before !== after, `sentence: ${await nameOf(select)}: the predictions do not move`);
  }

  const guess = widget("guess"), answer = guess.locator("[aria-live]");
  const unknown = "qwertyuiop";
  for (const word of ["the", unknown, "and"]) {
    expect(await answer.locator("table").count() === 0, "guess: the next round still shows the last");
    await write(guess.locator("input"), word);
    await press(guess.locator("form button"), "Enter");
    expect(await answer.locator("table").count() >= 2, `guess: no likeliest words are shown after ${word}`);
    if (word === unknown) {
      const said = await answer.innerText();
      expect(said.includes(`“${unknown}” is a fine answer`), `guess: an unknown word is answered by ${said.slice(0, 200)}`);
    }
    await press(guess.locator("button[type=button]"), "Enter");
    expect(await guess.locator("input").evaluate((element) => element === document.activeElement), "guess: the next round is not begun in its field");
  }

  const shannon = widget("shannon"), line = shannon.locator("form");
  const keys = ["space", ..."etaoinshrdlucmfwypvbgkjqxz"];
  for (const key of keys) {
    await write(line.locator("input"), key);
    await press(line.locator("button"), "Enter");
  }
  // The rest of the line in one go: there are hundreds of guesses in it.
  await line.evaluate((form, keys) => {
    for (let i = 0; i < 100 * keys.length && !form.hidden; i += 1) {
      form.querySelector("input").value = keys[i % keys.length];
      form.requestSubmit();
    }
  }, keys);
  const another = shannon.locator("button[type=button]");
  expect(await line.isHidden(), "shannon: guessing every letter again and again does not end the line");
  expect(await another.evaluate((element) => element === document.activeElement), "shannon: at the end of a line the focus is lost");
  const [, lower, upper] = /between ([\d.]+) and ([\d.]+) bits/.exec(await shannon.innerText()) ?? [];
  expect(Number(lower) <= Number(upper), `shannon: between ${lower} and ${upper} bits after guessing every letter`);
  await press(another, "Enter");
  expect(await line.isVisible(), "shannon: another line cannot be guessed");

  const letter = widget("connectivity").locator(".passage span").nth(5);
  await letter.hover();
  expect((await letter.getAttribute("class")) === "next", "connectivity: pointing at a character does not choose it");
  const tinted = widget("connectivity").locator(".passage span[style*=background]");
  expect(!(await widget("connectivity").getByText("gradient:").count()) || await tinted.count() > 0, "connectivity: nothing is tinted");

  for (const states of await widget("states").all()) {
    await press(states.locator("button"), "Enter", "Space");
    const before = await states.locator("output").innerText();
    await states.locator("canvas").hover({ position: { x: 5, y: 5 } });
    expect(before !== (await states.locator("output").innerText()), "states: pointing at the strip chooses nothing");
  }

  const writer = widget("writer");
  if (await writer.locator("textarea").count()) {
    const text = writer.locator(".paper"), written = () => writer.locator("mark").innerText();
    const go = writer.locator("button").first(); // its words change
    await write(writer.locator("textarea"), "Ham’s ñ: ");
    expect((await text.innerText()).startsWith("Ham's : "), `writer: “Ham’s ñ: ” is read as ${await text.innerText()}`);
    expect(/Skipped: “ñ”/.test(await writer.innerText()), "writer: an unknown character is not told");
    await press(go, "Enter");
    for (const least of [3, 9]) await becomes("writer: the text does not grow", async () => (await written()).length > least);
    await press(writer.locator("input[type=range]"), "End", "ArrowLeft");
    if ((await go.innerText()) !== "Stop") await press(go, "Enter");
    const grown = (await written()).length;
    await becomes("writer: at another temperature the text does not grow", async () => (await written()).length > grown);
    if ((await go.innerText()) === "Stop") await press(go, "Enter");
    const stopped = await written();
    await page.waitForTimeout(300);
    expect(stopped === (await written()), "writer: it does not stop");
    await press(writer.getByText("Start again"), "Enter");
    expect((await written()) === "" && (await text.innerText()).startsWith("Ham's"), "writer: it does not start again");
    await write(writer.locator("textarea"), "");
  }

  for (const form of await page.locator("form.check").all()) {
    const inputs = await form.locator("input").all();
    const numbers = await Promise.all(inputs.map((input) => input.getAttribute("data-number")));
    const given = [(number) => String(1.3 * number + 1), () => "x", (number) => number, (number) => number.replace(".", ",").replace("-", "−"), (number) => `${number} %`];
    for (const [i, sign] of ["✗", "Write", "✓", "✓", "✓"].entries()) {
      for (const [j, input] of inputs.entries()) await input.fill(given[i](numbers[j]));
      await inputs.at(-1).press("Enter");
      const said = await form.locator("output").innerText();
      expect(said.split(sign).length === 1 + inputs.length, `exercise: ${numbers.map(given[i])} for ${numbers} is answered by ${said}`);
    }
  }

  for (const control of await page.locator(".widget :is(button, select, input, textarea):not([data-used])").all()) {
    problems.push(`${await nameOf(control)}: this check does not use it`);
  }
  for (const box of await page.locator("[data-widget]").all()) {
    for (const hole of await box.evaluate(holes)) problems.push(`${await box.getAttribute("data-widget")}: shows ${hole.slice(0, 200)}`);
  }
  await page.close();
};

// Readers who asked for less motion see the same text, at once.
const still = async () => {
  const page = await open("with less motion", { reducedMotion: "reduce" });
  for (const [name, button, text] of [["opening", "Finish the line", ".letters mark"], ["writer", "Write on", ".paper mark"]]) {
    const box = page.locator(`[data-widget=${name}]`);
    if (!(await box.getByText(button).count())) continue;
    await box.getByText(button).press("Enter");
    await box.locator(".unseen").filter({ hasText: /\S/ }).waitFor({ state: "attached" })
      .catch(() => problems.push(`${name}: with less motion nothing is written`));
    expect((await box.locator(text).innerText()).trim(), `${name}: with less motion no text is shown`);
  }
  await page.close();
};

const plain = async () => {
  const page = await open("without JavaScript", { javaScriptEnabled: false });
  const looked = await page.evaluate(() => {
    const seen = (element) => element.getClientRects().length > 0;
    const all = (selector) => [...document.querySelectorAll(selector)];
    all("details").forEach((box) => { box.open = true; });
    return {
      "an empty widget is shown": all("[data-widget]").some(seen),
      "a form that does nothing is shown": all("form").some(seen),
      "a widget has no word in its place": all("[data-widget]").length > all("noscript").filter((one) => one.innerText.trim()).length,
      "a figure is not shown": !all("figure svg").length || !all("figure svg").every(seen),
      "a paragraph is not shown": !all("section > p").length || !all("section > p").every(seen),
      "an answer is not shown": !all(".exercise details p").length || !all(".exercise details p").every(seen),
    };
  });
  for (const [what, so] of Object.entries(looked)) expect(!so, `without JavaScript ${what}`);
  await page.close();
};

// Log probabilities of the next character after each one of a text, from the page's own network.
const network = async (text) => {
  const page = await open("network", {});
  const log = await page.evaluate((text) => {
    const { network: data } = JSON.parse(document.getElementById("data-characters").textContent);
    const one = lesson.lstm(data);
    let state = one.start();
    return [...text].map((character) => {
      const now = one.step(state, character);
      ({ state } = now);
      return [...lesson.probabilities(now.logits)].map(Math.log);
    });
  }, text);
  await page.close();
  return log;
};

const parts = { looks, use, still, plain };
if (wanted[0] === "network") {
  console.log(JSON.stringify(await network(wanted[1])));
} else {
  for (const name of wanted.length ? wanted : Object.keys(parts)) {
    await parts[name]().catch((error) => problems.push(`${name}: ${error.message.slice(0, 500)}`));
  }
  console.log(JSON.stringify(problems, null, 1));
}
await browser.close();
