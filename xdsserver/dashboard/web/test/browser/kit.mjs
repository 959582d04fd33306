// What the browser tests stand on: Debian's Chromium, watched so that nothing goes wrong
// unseen. A test that ends with an error on the console, a violation of the content
// security policy or a dialog has failed, whatever else it looked at.
//
//   TULLE_DASHBOARD_URL  a login address of a real xdsserver; without it the mock is used
//   TULLE_SCREENSHOTS    a folder that pictures are put into
//   TULLE_CHROMIUM       the browser, /usr/bin/chromium by default

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { startMock } from "../mock.mjs";

export const real = process.env.TULLE_DASHBOARD_URL ?? "";
// Empty is an address that somebody did not get: the mock in its place would prove nothing.
assert.notEqual(process.env.TULLE_DASHBOARD_URL, "", "TULLE_DASHBOARD_URL is set and empty");
export const pictures = process.env.TULLE_SCREENSHOTS ?? "";

export const wide = { width: 1280, height: 900 };
export const phone = { width: 390, height: 844 };

// The pages, and the heading each has.
export const pages = [
  { name: "overview", path: "#/", heading: /overview/i },
  { name: "topology", path: "#/topology", heading: /topology/i },
  { name: "tap", path: "#/tap", heading: /^tap/i },
  { name: "config", path: "#/config", heading: /configuration/i },
  { name: "identity", path: "#/identity", heading: /identity/i },
  { name: "apply", path: "#/apply", heading: /^apply/i },
];

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// Kit is a browser and a dashboard. Close it.
export class Kit {
  static async start(mock = {}) {
    const kit = new Kit();
    kit.browser = await chromium.launch({
      executablePath: process.env.TULLE_CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      args: flags,
    });
    if (real !== "" && !mock.always) {
      const context = await kit.browser.newContext();
      const page = await context.newPage();
      // The address works once, and several files of tests need a session.
      if (Kit.session === undefined) {
        await page.goto(real);
        Kit.session = await context.storageState();
        assert.ok(Kit.session.cookies.some((c) => c.name === "tulle_session"), "TULLE_DASHBOARD_URL lets nobody in: it works once, within 5 minutes");
      }
      kit.base = new URL("/", real).href;
      await context.close();
    } else {
      kit.mock = await startMock(mock);
      kit.base = kit.mock.url;
    }
    return kit;
  }

  async close() {
    await this.browser?.close();
    await this.mock?.close();
  }

  // open returns a watched page; call page.quiet() at the end, which closes it.
  async open(path, { viewport = wide, colorScheme = "light", expected = [], permissions = [] } = {}) {
    const context = await this.browser.newContext({
      viewport,
      colorScheme,
      permissions,
      reducedMotion: "reduce",
      storageState: this.mock ? undefined : Kit.session,
    });
    const page = await context.newPage();
    const trouble = [];
    const tell = (text) => {
      if (!expected.some((pattern) => pattern.test(text))) trouble.push(text);
    };
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") tell(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => tell(`uncaught: ${error.stack ?? error.message}`));
    page.on("dialog", (dialog) => {
      tell(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    page.on("request", (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol !== "data:" && `${origin}/` !== this.base) tell(`request to elsewhere: ${request.url().slice(0, 200)}`);
    });
    await page.exposeFunction("tellViolation", tell);
    const waiting = new Set(); // requests without an answer; streams never end
    page.on("request", (request) => request.resourceType() !== "eventsource" && waiting.add(request));
    for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => waiting.delete(request));
    // settled waits until the page knows what it asks for when it is opened.
    page.settled = async () => {
      await page.waitForFunction(() => window.heard?.has("objects"));
      for (let still = 0; still < 3; still = waiting.size === 0 ? still + 1 : 0) await page.waitForTimeout(100);
    };
    await page.addInitScript(() => {
      window.heard = new Set();
      window.EventSource = class extends EventSource {
        addEventListener(name, listen) {
          super.addEventListener(name, (event) => {
            listen(event);
            window.heard.add(name);
          });
        }
      };
      document.addEventListener("securitypolicyviolation", (event) => {
        window.tellViolation(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    page.quiet = async () => {
      await context.close();
      assert.deepEqual(trouble, [], "nothing went wrong unseen");
    };
    if (path !== undefined) await page.goto(new URL(path, this.base).href);
    return page;
  }
}

export async function picture(page, name, { full = true } = {}) {
  if (pictures === "") return;
  await mkdir(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: full, animations: "disabled" });
}

// overflow returns what sticks out of the screen at the right and cannot be scrolled to
// within a box of its own.
export function overflow(page) {
  return page.evaluate(() => {
    const root = document.scrollingElement;
    if (root.scrollWidth <= root.clientWidth) return [];
    const kept = (e) => {
      for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
        if (getComputedStyle(p).overflowX !== "visible") return true;
      }
      return false;
    };
    return [...document.querySelectorAll("body *")]
      .filter((e) => e.getBoundingClientRect().right > root.clientWidth + 1 && !kept(e))
      .map((e) => `${e.tagName.toLowerCase()}.${e.getAttribute("class") ?? ""} ${Math.round(e.getBoundingClientRect().right)} ${e.textContent.slice(0, 40)}`)
      .concat(`the page is ${root.scrollWidth} wide`)
      .slice(-6);
  });
}

// fits fails where something sticks out for longer than a drawing takes to be fitted.
export async function fits(page, message) {
  let out = await overflow(page);
  for (const end = Date.now() + 5000; out.length > 0 && Date.now() < end; out = await overflow(page)) await page.waitForTimeout(100);
  assert.deepEqual(out, [], message);
}

// stops presses Tab until the focus comes round, and returns where it stood.
export async function stops(page, most = 300) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    window.scrollTo(0, 0);
  });
  const out = [];
  for (let i = 0; i < most; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body || e.dataset.stop === "1") return null;
      e.dataset.stop = "1";
      const box = e.getBoundingClientRect();
      // Round the element itself, a box close around it, or a node of a drawing.
      const drawn = e.closest("svg") && e.querySelector("rect, circle");
      const ring = [e, e.parentElement, e.parentElement?.parentElement].some((box) => {
        const s = box && getComputedStyle(box);
        return s && ((s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== "none");
      });
      const all = [...document.querySelectorAll("*")];
      return {
        index: all.indexOf(e),
        tag: e.tagName.toLowerCase(),
        name: (e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.getAttribute("title") || "").trim().slice(0, 40),
        seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        ring: ring || (drawn && parseFloat(getComputedStyle(drawn).strokeWidth) >= 2),
        tabindex: e.tabIndex,
      };
    });
    if (stop === null) break;
    out.push(stop);
  }
  await page.evaluate(() => document.querySelectorAll("[data-stop]").forEach((e) => delete e.dataset.stop));
  return out;
}
