import assert from "node:assert/strict";
import { test } from "node:test";
import { hostile, load } from "./load.mjs";

const { locate, place } = await load("yaml/locate.ts");
const { highlight, maxLine, maxLines } = await load("yaml/highlight.ts");

const text = `apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: r, namespace: shop}
spec:
  timeout: 2s # timeout: of all
  rules:
    - backendRefs:
        - name: v1
          weight: 90
        - name: nope
          weight: 10
    - timeout: 1s
---
apiVersion: tulle/v1
kind: Service
metadata:
  name: other
spec:
  timeout: 9s
`;

test("an origin ends with a line, and maybe a column", () => {
  assert.deepEqual(place("mesh.yaml:12:3"), { line: 12, column: 3 });
  assert.deepEqual(place("C:/a:b.yaml:12"), { line: 12, column: undefined });
  assert.equal(place("applied"), undefined);
  assert.equal(place("editor:"), undefined);
});

test("a field is found where it is written, in its own document", () => {
  const at = (origin, field) => Object.values(locate(text, origin, field));
  assert.deepEqual(at("editor:1", "spec.timeout"), [5, 3]);
  assert.deepEqual(at("editor:1", "spec.rules[0].backendRefs[1].name"), [10, 11]);
  assert.deepEqual(at("editor:1", "spec.rules[1].timeout"), [12, 7]);
  assert.deepEqual(at("editor:1", "metadata.namespace"), [3, 21]);
  assert.deepEqual(at("editor:14", "spec.timeout"), [19, 3]);
  assert.deepEqual(at("editor:14", "metadata.name"), [17, 3]);
});

test("of a key that is written twice the first is told", () => {
  assert.deepEqual(locate("spec:\n  a: 1\n  a: 2\n", "editor:1", "spec.a"), { line: 2, column: 3 });
});

test("the reader's own place is taken as it is", () => {
  assert.deepEqual(locate(text, "editor:7:9", "spec.timeout"), { line: 7, column: 9 });
});

test("what is not there is told at what is there of it", () => {
  assert.deepEqual(locate(text, "editor:1", "spec.rules[7].name"), { line: 6, column: 3 });
  assert.deepEqual(locate(text, "editor:1", "nope"), { line: 1, column: 1 });
  assert.equal(locate(text, "applied", "spec"), undefined);
});

test("hostile fields, origins and texts have a place or none", () => {
  for (const a of hostile) {
    assert.equal(locate(a, a, a), undefined);
    for (const b of hostile) assert.ok(locate(a, "editor:1", `spec.${b}`).line >= 1);
    assert.deepEqual(locate(text, "editor:999", a), { line: 999, column: 1 });
  }
});

const kinds = (line) => highlight(line)[0].filter((t) => t.text.trim() !== "").map((t) => [t.kind, t.text]);

test("colours tell keys, values, words and comments apart", () => {
  assert.deepEqual(kinds("timeout: 2s # why"), [["key", "timeout"], ["sign", ":"], ["number", "2s"], ["comment", "# why"]]);
  assert.deepEqual(kinds(`- "a: b": true`), [["sign", "-"], ["key", `"a: b"`], ["sign", ":"], ["word", "true"]]);
  assert.deepEqual(kinds("url: http://a#b"), [["key", "url"], ["sign", ":"], ["plain", "http://a#b"]]);
  assert.deepEqual(kinds("---"), [["divider", "---"]]);
});

test("a block of text lasts as long as it is indented", () => {
  const [, inside, empty, after] = highlight("a: |\n  b: 1\n\nc: 2");
  assert.deepEqual(inside, [{ kind: "text", text: "  b: 1" }]);
  assert.deepEqual(empty, []);
  assert.equal(after[0].kind, "key");
});

test("tokens are the text and nothing else, whatever it is", () => {
  for (const source of [text, ...hostile, hostile.join("\n"), hostile.join(": "), "x".repeat(maxLine + 1), "a: 1\n".repeat(maxLines + 1)]) {
    const lines = highlight(source);
    assert.equal(lines.map((line) => line.map((t) => t.text).join("")).join("\n"), source);
    assert.ok(lines.flat().every((t) => t.text !== "" && /^[a-z]+$/.test(t.kind)));
  }
});

test("what is too long stays plain", () => {
  assert.deepEqual(kinds("a: ".padEnd(maxLine + 1, "x")).map(([kind]) => kind), ["plain"]);
  assert.ok(highlight("a: 1\n".repeat(maxLines)).flat().every((t) => t.kind === "plain"));
});
