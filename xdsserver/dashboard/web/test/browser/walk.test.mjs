import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fits, Kit, pages, phone, picture, stops, wide } from "./kit.mjs";

describe("every page", () => {
  let kit;
  before(async () => {
    kit = await Kit.start();
  });
  after(() => kit?.close());

  for (const { name, path, heading } of pages) {
    test(`${name} opens, live and without an error, light and dark`, async () => {
      for (const colorScheme of ["light", "dark"]) {
        const page = await kit.open(path, { colorScheme });
        await page.getByRole("heading", { level: 1, name: heading }).waitFor();
        await page.settled();
        await fits(page, "nothing sticks out");
        await picture(page, `${name}-${colorScheme}`);
        await page.quiet();
      }
    });

    test(`${name} fits a phone`, async () => {
      for (const colorScheme of ["light", "dark"]) {
        const page = await kit.open(path, { viewport: phone, colorScheme });
        await page.getByRole("heading", { level: 1, name: heading }).waitFor();
        await page.settled();
        await fits(page, "nothing sticks out at 390 px");
        await picture(page, `${name}-phone-${colorScheme}`);
        await page.quiet();
      }
    });

    test(`${name} is walked through by keyboard, in order, and one sees where one is`, async () => {
      const page = await kit.open(path, { viewport: wide });
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      await page.settled();
      const walked = await stops(page);
      assert.ok(walked.length >= 6, `there is something to stop at: ${walked.length}`);
      for (const [i, stop] of walked.entries()) {
        const what = `${stop.tag} "${stop.name}"`;
        assert.ok(stop.tabindex <= 0, `${what} stands where it is written`);
        assert.ok(stop.seen, `${what} is on the screen when it has the focus`);
        assert.ok(stop.ring, `${what} shows that it has the focus`);
        assert.notEqual(stop.name, "", `${what} has a name (stop ${i})`);
        if (i > 0) assert.ok(stop.index > walked[i - 1].index, `${what} comes after "${walked[i - 1].name}"`);
      }
      await page.quiet();
    });
  }

  test("each page has one main part, a title of its own, and names for what can be pressed", async () => {
    const titles = new Set();
    const page = await kit.open("#/");
    for (const { path, heading } of pages) {
      await page.goto(new URL(path, kit.base).href);
      await page.getByRole("heading", { level: 1, name: heading }).waitFor();
      titles.add(await page.title());
      assert.equal(await page.locator("main").count(), 1, "one main");
      assert.equal(await page.locator("h1").count(), 1, "one heading of level 1");
      assert.equal(await page.locator("[style]:not(svg *):not(canvas)").evaluateAll((all) => all.filter((e) => e.outerHTML.includes("url(")).length), 0);
      const nameless = await page.locator("button, a[href], input, select, textarea").evaluateAll((all) =>
        all
          .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || e.labels?.length || e.textContent.trim() || e.title))
          .map((e) => e.outerHTML.slice(0, 100)),
      );
      assert.deepEqual(nameless, []);
    }
    assert.equal(titles.size, pages.length, `titles differ: ${[...titles]}`);
    await page.quiet();
  });
});
