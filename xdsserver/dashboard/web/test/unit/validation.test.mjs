import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { hostile, load } from "./load.mjs";

const { placed, Validator } = await load("pages/validation.ts");

test("errors come before warnings, each in the order of the text", () => {
  const source = "kind: Service\nspec:\n  timeout: 2x\n  retry: 1\n";
  const problems = placed(source, {
    problems: [{ origin: "editor:4:3", message: "low", warning: true }, { origin: "mesh.yaml:1", message: "elsewhere" }],
    results: [{ problems: [{ origin: "editor:1", field: "spec.retry", message: "b" }, { origin: "editor:1", field: "spec.timeout", message: "a" }] }, {}],
  });
  assert.deepEqual(problems.map((p) => [p.message, p.line, p.column]), [["elsewhere", undefined, undefined], ["a", 3, 3], ["b", 4, 3], ["low", 4, 3]]);
});

test("what hostile problems say is kept as it is", () => {
  for (const text of hostile) {
    assert.deepEqual(placed(text, { problems: [{ origin: text, field: text, message: text }] }), [{ origin: text, field: text, message: text }]);
  }
});

// The answers are given by hand, in the order that a test wants.
let asked, shown, validator;
const turn = () => new Promise((resolve) => setImmediate(resolve));
beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout"] });
  asked = [];
  shown = [];
  globalThis.window = globalThis;
  mock.method(globalThis, "fetch", (url, { body }) => new Promise((resolve, reject) => asked.push({
    url, request: JSON.parse(body), fails: reject,
    answers: (json) => resolve(new Response(JSON.stringify(json))),
  })));
  validator = new Validator((verdict) => shown.push(verdict));
});
afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
  delete globalThis.window;
});
const states = () => shown.map((v) => v.state);

test("nothing is asked while one types, and only a dry run after", async () => {
  for (const text of ["k", "ki", "kin"]) {
    validator.ask(text);
    mock.timers.tick(399);
  }
  assert.equal(asked.length, 0);
  mock.timers.tick(1);
  assert.deepEqual(asked.map((a) => a.request), [{ manifests: [{ origin: "editor", yaml: "kin" }], dryRun: true }]);
  asked[0].answers({ revision: "7" });
  await turn();
  assert.deepEqual(states(), ["asking", "asking", "asking", "judged"]);
  assert.equal(shown[3].source, "kin");
});

test("an old answer never comes over a newer one", async () => {
  validator.ask("old", 0);
  mock.timers.tick(1);
  validator.ask("new", 0);
  mock.timers.tick(1);
  asked[1].answers({});
  await turn();
  asked[0].answers({});
  await turn();
  assert.deepEqual(shown.filter((v) => v.state === "judged").map((v) => v.source), ["new"]);
});

test("an empty text is not asked about, and ends what was", async () => {
  validator.ask("kind", 0);
  mock.timers.tick(1);
  validator.ask(" \n");
  asked[0].answers({});
  mock.timers.tick(1000);
  await turn();
  assert.equal(asked.length, 1);
  assert.deepEqual(states(), ["asking", "empty"]);
});

test("that nobody answers is said, and a closed one says nothing", async () => {
  validator.ask("kind", 0);
  mock.timers.tick(1);
  asked[0].fails(new TypeError("no network"));
  await turn();
  assert.deepEqual(states(), ["asking", "failed"]);
  assert.match(shown[1].error, /does not answer/);
  validator.ask("kind", 0);
  mock.timers.tick(1);
  validator.close();
  asked[1].answers({});
  await turn();
  assert.deepEqual(states(), ["asking", "failed", "asking"]);
});
