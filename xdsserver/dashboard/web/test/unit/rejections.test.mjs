import assert from "node:assert/strict";
import { test } from "node:test";
import { hostile, load } from "./load.mjs";

const { refusal, madeOf } = await load("pages/rejections.ts");

const type = (kind) => `type.googleapis.com/envoy.config.${kind}`;
const cluster = type("cluster.v3.Cluster");
const route = type("route.v3.RouteConfiguration");
const listener = type("listener.v3.Listener");
const object = (kind, name, spec = "", namespace = "default") => ({ ref: { kind, namespace, name }, yaml: `apiVersion: tulle/v1\nkind: ${kind}\nmetadata:\n  name: ${name}\nspec:\n${spec}` });
const canary = object("GRPCRoute", "canary", "  parentRefs:\n    - kind: Service\n      name: voting\n  rules:\n    - backendRefs:\n        - name: emoji\n");
const objects = [
  object("Service", "voting"),
  object("Service", "voting", "", "shop"),
  object("Service", "emoji"),
  canary,
  object("GRPCRoute", "shop-canary", "  parentRefs:\n    - kind: Service\n      name: voting\n", "shop"),
  object("AccessPolicy", "voting"),
  object("AccessPolicy", "some", '  services:\n    - emoji\n    - "*.shop"\n'),
  object("AccessPolicy", "all", '  services:\n    - "*"\n'),
];
const makers = (type, resource, of = objects) => madeOf({ type, resource }, of).map((o) => `${o.ref.kind} ${o.ref.name}.${o.ref.namespace}`);

test("a resource's name has the service it belongs to", () => {
  const read = (resource) => refusal({ type: cluster, resource });
  assert.equal(read("voting").service, "voting");
  assert.equal(read("voting.shop/v2").service, "voting.shop");
  assert.equal(read("tulle/server/voting/0.0.0.0:1").service, "voting");
  assert.equal(read("voting").kind, "Cluster");
  assert.deepEqual([refusal({}).kind, refusal({}).service], ["", ""]);
});

test("a cluster is made of its service, in its namespace", () => {
  assert.deepEqual(makers(cluster, "voting/v2"), ["Service voting.default"]);
  assert.deepEqual(makers(type("endpoint.v3.ClusterLoadAssignment"), "voting.shop"), ["Service voting.shop"]);
});

test("a route is made of those that name the service as parent, not as backend", () => {
  assert.deepEqual(makers(route, "voting"), ["GRPCRoute canary.default"]);
  assert.deepEqual(makers(route, "voting.shop"), ["GRPCRoute shop-canary.shop"]);
  assert.deepEqual(makers(route, "emoji"), ["Service emoji.default"], "without a route, of the service");
});

test("a server's listener is made of the policies that protect it", () => {
  assert.deepEqual(makers(listener, "tulle/server/voting/x"), ["AccessPolicy voting.default", "AccessPolicy all.default"]);
  assert.deepEqual(makers(listener, "tulle/server/emoji/x"), ["AccessPolicy some.default", "AccessPolicy all.default"]);
  assert.deepEqual(makers(listener, "tulle/server/voting.shop/x"), ["AccessPolicy some.default", "AccessPolicy all.default"]);
});

test("what is made of nothing that is here blames nobody", () => {
  assert.deepEqual(makers(route, "nope"), []);
  assert.deepEqual(makers(route, ""), []);
  for (const text of hostile) {
    assert.deepEqual(makers(text, text), []);
    assert.deepEqual(makers(route, "voting", [{ ref: { kind: text, name: text }, yaml: text }, {}]), []);
  }
});
