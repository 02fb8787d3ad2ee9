// Opens a lesson's page as readers do, and prints what is wrong with it, a JSON list.
//   node check.mjs CHROMIUM PAGE
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, file] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const problems = [];
const expect = (right, what) => right || problems.push(what);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });

const open = async (where, options) => {
  const page = await browser.newPage(options);
  page.on("console", (said) => said.type() === "error" && problems.push(`${where}: console: ${said.text()}`));
  page.on("pageerror", (error) => problems.push(`${where}: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    expect(url === String(pathToFileURL(file)) || url.startsWith("data:"), `${where}: request for ${url}`);
  });
  await page.goto(String(pathToFileURL(file)));
  return page;
};

// Text below 12 pixels; of mathematics the whole is looked at, not each index.
const smallText = () => {
  const found = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style, noscript, math") || !element.getClientRects().length) continue;
    const matrix = element.ownerSVGElement && element.getScreenCTM();
    const size = parseFloat(getComputedStyle(element).fontSize) * (matrix ? Math.hypot(matrix.a, matrix.b) : 1);
    const section = element.closest("section")?.id ?? "outside the sections";
    if (size < 11.95) found.add(`${section}: "${node.data.trim().slice(0, 40)}" is ${size.toFixed(1)} pixels high`);
  }
  return [...found];
};

// What a figure draws in black or white does not follow the page's colours.
const unreadable = () => {
  const found = new Set();
  for (const element of document.querySelectorAll("figure svg *, .widget svg *")) {
    if (element.closest("defs, style, title") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const painted = element.matches("g, svg, use") ? [] : [style.fill, style.stroke];
    for (const colour of painted) {
      if (["rgb(0, 0, 0)", "rgb(255, 255, 255)"].includes(colour)) {
        found.add(`${element.closest("section").id}: ${element.outerHTML.slice(0, 120)} is painted ${colour}`);
      }
    }
  }
  return [...found].slice(0, 5);
};

// Readers with wide and narrow screens, by day and by night; everything unfolded.
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
    const looks = [...(width === 1280 ? [smallText] : []), unreadable];
    for (const look of looks) {
      for (const found of await page.evaluate(look)) problems.push(`${where}: ${found}`);
    }
    await page.close();
  }
}

const page = await open("in use", { viewport: { width: 1280, height: 900 } });

await page.keyboard.press("Tab");
expect(await page.evaluate(() => document.activeElement.matches(".skip")), "the first Tab does not reach the skip link");
expect((await page.locator(".skip").boundingBox()).x >= 0, "the skip link is not seen when focused");
await page.keyboard.press("Enter");
expect(page.url().endsWith("#lesson"), "the skip link leads nowhere");

// A slider moved by the keyboard changes what stands in its widget.
for (const slider of await page.locator(".widget input[type=range]").all()) {
  const widget = slider.locator("xpath=ancestor::*[@data-widget]");
  const name = `${await widget.getAttribute("data-widget")}: ${await slider.getAttribute("id")}`;
  await slider.focus();
  const outline = await slider.evaluate((element) => getComputedStyle(element).outlineStyle);
  expect(outline !== "none", `${name}: focus is not seen`);
  for (const key of ["ArrowLeft", "End", "Home"]) {
    const before = await widget.evaluate((element) => element.innerHTML);
    await page.keyboard.press(key);
    expect(before !== (await widget.evaluate((element) => element.innerHTML)), `${name}: ${key} changes nothing`);
  }
  for (const text of [await widget.innerText(), (await slider.getAttribute("aria-valuetext")) ?? ""]) {
    expect(!/NaN|undefined|\bnull\b/.test(text), `${name}: ${/.*(NaN|undefined|null).*/.exec(text)?.[0]}`);
  }
}

const letter = page.locator("[data-widget=connectivity] .passage span").nth(5);
await letter.hover();
expect((await letter.getAttribute("class")) === "next", "connectivity: pointing at a character does not choose it");
expect(await page.locator("[data-widget=connectivity] .passage span[style*=background]").count() > 0, "connectivity: nothing is tinted");

const guess = page.locator("[data-widget=guess]");
await guess.locator("input").fill("the");
await page.keyboard.press("Enter");
expect(await guess.locator("table").count() >= 2, "guess: no likeliest words are shown");
await page.keyboard.press("Enter");
expect(await guess.locator("table").count() === 0, "guess: the next round still shows the last");

const shannon = page.locator("[data-widget=shannon]");
for (const key of ["space", ..."etaoinshrdlucmfwypvbgkjqxz"]) {
  await shannon.locator("input").fill(key);
  await page.keyboard.press("Enter");
}
const [, lower, upper] = /between ([\d.]+) and ([\d.]+) bits a letter/.exec(await shannon.innerText()) ?? [];
expect(Number(lower) <= Number(upper), `shannon: between ${lower} and ${upper} bits after guessing every letter`);

for (const form of await page.locator("form.check").all()) {
  const inputs = await form.locator("input").all();
  const numbers = await Promise.all(inputs.map((input) => input.getAttribute("data-number")));
  const given = [(number) => String(1.3 * number + 1), () => "x", (number) => number, (number) => number.replace(".", ",")];
  for (const [i, sign] of ["✗", "Write", "✓", "✓"].entries()) {
    for (const [j, input] of inputs.entries()) await input.fill(given[i](numbers[j]));
    await form.locator("button").click();
    const said = await form.locator("output").innerText();
    expect(said.split(sign).length === 1 + inputs.length, `exercise: ${numbers.map(given[i])} for ${numbers} is answered by ${said}`);
  }
}
await page.close();

const plain = await open("without JavaScript", { javaScriptEnabled: false });
expect(await plain.locator(".widget").first().isHidden(), "without JavaScript an empty widget is shown");
expect(await plain.locator("figure svg").first().isVisible(), "without JavaScript no figure is shown");
await browser.close();
console.log(JSON.stringify(problems));
