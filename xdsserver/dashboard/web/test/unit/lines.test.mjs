import assert from "node:assert/strict";
import { test } from "node:test";
import { hostile, load } from "./load.mjs";

const { diffLines, hunks, tally } = await load("diff/lines.ts");

const signs = { same: " ", added: "+", removed: "-" };
const drawn = (lines) => lines.map((l) => signs[l.kind] + l.text);
const side = (lines, not) => lines.filter((l) => l.kind !== not).map((l) => l.text);

test("a changed line is removed and added, between those that stay", () => {
  const lines = diffLines("a\nb\nc\n", "a\nB\nc\n");
  assert.deepEqual(drawn(lines), [" a", "-b", "+B", " c"]);
  assert.deepEqual(lines.map((l) => [l.before, l.after]), [[1, 1], [2, undefined], [undefined, 2], [3, 3]]);
  assert.deepEqual(tally(lines), { added: 1, removed: 1 });
});

test("what is created is added, what is deleted is removed", () => {
  assert.deepEqual(drawn(diffLines("", "a\nb\n")), ["+a", "+b"]);
  assert.deepEqual(drawn(diffLines("a\nb\n", "")), ["-a", "-b"]);
  assert.deepEqual(diffLines("", ""), []);
  assert.deepEqual(hunks(diffLines("a\n", "a\n")), []);
});

test("both texts can be read from it, and no edit is wasted", () => {
  let seed = 1;
  const random = (n) => (seed = (Math.imul(seed, 48_271) >>> 0) % 2_147_483_647) % n;
  for (let round = 0; round < 500; round++) {
    const [a, b] = [0, 1].map(() => Array.from({ length: random(12) }, () => "abc"[random(3)]));
    const lines = diffLines(a.join("\n"), b.join("\n"));
    assert.deepEqual(side(lines, "added"), a);
    assert.deepEqual(side(lines, "removed"), b);
    assert.equal(lines.filter((l) => l.kind === "same").length, common(a, b), `${a} and ${b}`);
  }
});

// common is the length of the longest common subsequence, the slow way.
function common(a, b) {
  const table = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) table[i][j] = a[i - 1] === b[j - 1] ? table[i - 1][j - 1] + 1 : Math.max(table[i - 1][j], table[i][j - 1]);
  }
  return table[a.length][b.length];
}

test("hunks have three lines around, and meet where those meet", () => {
  const text = Array.from({ length: 40 }, (_, i) => `${i}`);
  const changed = (...at) => text.map((line, i) => (at.includes(i) ? "x" : line)).join("\n");
  const sizes = (after) => hunks(diffLines(text.join("\n"), after)).map((h) => h.lines.length);
  assert.deepEqual(sizes(changed(20)), [8]);
  assert.deepEqual(sizes(changed(5, 30)), [8, 8]);
  assert.deepEqual(sizes(changed(5, 12)), [16], "six lines between are shown once");
  assert.deepEqual(sizes(changed(0)), [5]);
});

test("texts with nothing in common are told in bounded time", () => {
  const [a, b] = ["a", "b"].map((c) => Array.from({ length: 5000 }, (_, i) => `${c}${i}`).join("\n"));
  assert.deepEqual(tally(diffLines(a, b)), { added: 5000, removed: 5000 });
});

test("hostile text stays text", () => {
  const lines = diffLines(hostile.join("\n"), hostile.toReversed().join("\n"));
  assert.deepEqual(side(lines, "added"), hostile);
  assert.deepEqual(side(lines, "removed"), hostile.toReversed());
});
