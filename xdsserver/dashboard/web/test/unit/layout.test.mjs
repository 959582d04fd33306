import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { layoutOf, curve, box } = await load("topology/layout.ts");

const mesh = (names, calls) => [names.map((service) => ({ service })), calls.map(([source, destination]) => ({ source, destination }))];
const places = (layout) => new Map(layout.nodes.map((n) => [n.name, [n.x, n.y]]));

// A tree with some calls across, as large as is asked for.
function large(n) {
  const names = Array.from({ length: n }, (_, i) => `s${String(i).padStart(3, "0")}`);
  const calls = names.slice(1).map((name, i) => [names[Math.floor((i * 7) / 13)], name]);
  for (let i = 0; i + 31 < n; i += 17) calls.push([names[i], names[i + 31]]);
  return mesh(names, calls);
}

function apart(layout) {
  for (const [i, a] of layout.nodes.entries()) {
    assert.ok(a.x >= 0 && a.y >= 0 && a.x + box.width <= layout.width && a.y + box.height <= layout.height, `${a.name} is within the picture`);
    for (const b of layout.nodes.slice(0, i)) {
      assert.ok(Math.abs(a.x - b.x) >= box.width || Math.abs(a.y - b.y) >= box.height, `${a.name} and ${b.name} do not overlap`);
    }
  }
}

test("callers stand left of whom they call", () => {
  const layout = layoutOf(...mesh(["c", "b", "a"], [["a", "b"], ["b", "c"], ["a", "c"]]));
  for (const { from, to } of layout.links) assert.ok(from.x + box.width < to.x, `${from.name} calls ${to.name}`);
});

test("the same mesh is the same picture, in whatever order it is told", () => {
  const [services, edges] = large(40);
  const first = places(layoutOf(services, edges));
  assert.deepEqual(places(layoutOf(services, edges)), first);
  assert.deepEqual(places(layoutOf([...services].reverse(), edges)), first);
});

test("a picture that is drawn anew does not move", () => {
  const [services, edges] = large(40);
  const first = layoutOf(services, edges);
  assert.deepEqual(places(layoutOf(services, edges, first)), places(first));
});

test("one more service keeps the others in their columns and in their order", () => {
  const [services, edges] = large(30);
  const before = layoutOf(services, edges);
  const after = layoutOf([...services, { service: "new" }], [...edges, { source: "s003", destination: "new" }], before);
  const was = places(before);
  const is = places(after);
  const columns = Map.groupBy ? Map.groupBy(before.nodes, (n) => n.x) : new Map([...new Set(before.nodes.map((n) => n.x))].map((x) => [x, before.nodes.filter((n) => n.x === x)]));
  assert.ok(is.has("new"));
  for (const column of columns.values()) {
    const names = column.map((n) => n.name);
    for (const name of names) assert.equal(is.get(name)[0], was.get(name)[0], `${name} stays in its column`);
    const by = (at) => [...names].sort((a, b) => at.get(a)[1] - at.get(b)[1]);
    assert.deepEqual(by(is), by(was));
  }
  apart(after);
});

test("200 services do not overlap", () => {
  apart(layoutOf(...large(200)));
  apart(layoutOf(...mesh(Array.from({ length: 200 }, (_, i) => `alone-${i}`), [])));
});

test("circles, calls to oneself and services that only edges know are drawn", () => {
  const layout = layoutOf(...mesh(["a"], [["a", "b"], ["b", "c"], ["c", "a"], ["a", "a"]]));
  assert.deepEqual(layout.nodes.map((n) => n.name).sort(), ["a", "b", "c"]);
  assert.equal(layout.links.length, 3, "a call to oneself is no line");
  for (const link of layout.links) assert.doesNotMatch(curve(link), /NaN|undefined/);
  apart(layout);
});

test("names are only names", () => {
  const layout = layoutOf(...mesh(["__proto__", "constructor", ""], [["__proto__", "constructor"]]));
  assert.deepEqual(layout.nodes.map((n) => n.name).sort(), ["", "__proto__", "constructor"]);
});

test("nobody is a picture, too", () => {
  const layout = layoutOf([], []);
  assert.deepEqual(layout.nodes, []);
  assert.ok(layout.height > 0);
});
