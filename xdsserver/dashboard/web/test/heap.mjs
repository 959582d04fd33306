// Opens a dashboard, walks its pages and says how much memory they hold, until its standard
// input ends: node test/heap.mjs LOGIN_URL SERVICE. It prints one line of JSON, bytes after
// a collection of garbage, page by page as they were opened.

import { chromium } from "playwright-core";

const [login, service] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.TULLE_CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = await browser.newPage();
const errors = [];
page.on("pageerror", (error) => errors.push(error.message));
await page.goto(login);
const session = await page.context().newCDPSession(page);
let over = false;
process.stdin.on("end", () => { over = true; }).resume();
const pages = ["#/", "#/topology", `#/service/${encodeURIComponent(service)}`];
const bytes = [];
for (let i = 0; !over; i++) {
  await page.goto(new URL(`/${pages[i % pages.length]}`, login).href);
  for (let waited = 0; waited < 5 && !over; waited++) await page.waitForTimeout(1000);
  await session.send("HeapProfiler.collectGarbage");
  bytes.push(Math.round((await session.send("Runtime.getHeapUsage")).usedSize));
}
console.log(JSON.stringify({ bytes, errors }));
await browser.close();
