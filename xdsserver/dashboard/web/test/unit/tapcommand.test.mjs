import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { hostile, load } from "./load.mjs";

const { emptyTap, shellQuote, tapCommand, tapQuery, wrong } = await load("pages/tapcommand.ts");

const form = (fields) => ({ ...emptyTap, service: "web", ...fields });
// A shell ends words at NUL, and node hands it UTF-8.
const sayable = [...hostile, "a'b", "''", "-n", "~", "*", "a\nb", "!x", "'; touch /tmp/x; '"].filter((t) => !t.includes("\0") && t.isWellFormed());

// words are what a shell makes of a command, as JSON would not.
function words(command) {
  const out = execFileSync("sh", ["-c", `printf '%s\\0' ${command}`], { encoding: "utf8", env: { PATH: process.env.PATH, HOME: "/wrong" } });
  return out.split("\0").slice(0, -1);
}

test("a shell makes one word of it, and the same", () => {
  assert.ok(sayable.length > 12);
  for (const text of sayable) assert.deepEqual(words(shellQuote(text)), [text]);
  assert.deepEqual(words(shellQuote("")), [""]);
});

test("what needs no quotes has none", () => {
  assert.equal(shellQuote("/shop.v1.Cart/Put"), "/shop.v1.Cart/Put");
  assert.equal(tapCommand(form({})), "xdsserver tap web");
  assert.equal(tapCommand(emptyTap), "xdsserver tap SERVICE");
});

test("the command says all that the form does", () => {
  const all = form({ instance: "a1", to: "voting", from: "x", method: "*", metadata: "x-user=o'hara\n\n k=v w \n", failures: true, maxRps: "50", payload: true });
  assert.deepEqual(words(tapCommand(all)), ["xdsserver", "tap", "web", "--instance", "a1", "--to", "voting", "--from", "x", "--method", "*", "--header", "x-user=o'hara", "--header", "k=v w", "--failures", "--max-rps", "50", "--payload"]);
  assert.deepEqual([...new URLSearchParams(tapQuery(all))], [["service", "web"], ["instance", "a1"], ["to", "voting"], ["from", "x"], ["method", "*"], ["metadata", "x-user=o'hara"], ["metadata", "k=v w"], ["failures", "1"], ["maxRps", "50"], ["payload", "1"]]);
});

test("hostile names are one word of the command and one value of the address", () => {
  for (const text of sayable) {
    const name = text.trim();
    assert.deepEqual(words(tapCommand(form({ to: text }))), ["xdsserver", "tap", "web", "--to", name]);
    assert.equal(new URLSearchParams(tapQuery(form({ service: text }))).get("service"), name);
  }
});

test("what is wrong is said by field", () => {
  assert.deepEqual(wrong(form({})), {});
  assert.deepEqual(Object.keys(wrong(form({ service: " " }))), ["service"]);
  for (const maxRps of ["", "0", "1001", "NaN", "x", "-1"]) assert.deepEqual(Object.keys(wrong(form({ maxRps }))), ["maxRps"]);
  for (const metadata of ["x", "X=1", "ok=1\n=2", "a b=1"]) assert.deepEqual(Object.keys(wrong(form({ metadata }))), ["metadata"]);
});
