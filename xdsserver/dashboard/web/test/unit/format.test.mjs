import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const f = await load("ui/format.ts");

test("what is not known is a dash, never a zero", () => {
  assert.equal(f.percent(f.success(undefined)), "-");
  assert.equal(f.percent(f.success({ calls: "0" })), "-", "no call succeeded or failed");
  assert.equal(f.rps({ rps: 3 }), "-");
  assert.equal(f.latency({ calls: "5", p99Ms: 20 }, "p99Ms"), "-", "it was not timed");
  assert.equal(f.ms(0), "-");
  assert.equal(f.ago(undefined), "-");
  assert.equal(f.until(undefined), "-");
});

test("success is the share that did not fail, of numbers that come as text", () => {
  assert.equal(f.success({ calls: "200", failures: "3" }), 0.985);
  assert.equal(f.success({ calls: "200" }), 1);
  assert.equal(f.percent(0.985), "98.50%");
});

test("health changes at Linkerd's bounds", () => {
  assert.deepEqual([1, 0.95, 0.9499, 0.9, 0.8999, 0].map(f.health), ["good", "good", "fair", "fair", "bad", "bad"]);
  assert.equal(f.health(undefined), "none");
});

test("numbers have as many digits as can be read", () => {
  assert.deepEqual([0.123, 1.26, 12.6, 9999, 12_340].map(f.ms), ["0.12 ms", "1.3 ms", "13 ms", "9999 ms", "12.3 s"]);
  assert.equal(f.rps({ calls: "1", rps: 99.94 }), "99.9");
  assert.equal(f.rps({ calls: "1", rps: 123.4 }), "123");
});

test("spans have the two largest units", () => {
  const spans = [-5, 0, 59, 60, 3599, 3600, 86_399, 86_400, 90_061].map((s) => f.span(1000 * s));
  assert.deepEqual(spans, ["0s", "0s", "59s", "1m0s", "59m59s", "1h0m", "23h59m", "1d0h", "1d1h"]);
});

test("a moment is over at its instant, not after it", () => {
  const at = "2026-01-02T03:04:05Z";
  const now = Date.parse(at);
  assert.equal(f.until(at, now - 1000), "1s");
  assert.equal(f.until(at, now), "expired");
  assert.equal(f.ago(at, now - 5000), "0s", "a clock that is behind makes no negative age");
});

test("names from elsewhere are kept within a line", () => {
  assert.equal(f.brief("x".repeat(60)), "x".repeat(60));
  assert.equal(f.brief("x".repeat(61)), `${"x".repeat(59)}…`);
});
