// What an operator does in front of a real mesh, run by the tests of examples/demo and of
// xdsserver/e2e: node test/tour.mjs demo | nack. It ends with an error where something is
// not as it should be.
//
//   TULLE_DASHBOARD_URL  a login address
//   TULLE_GRID_URL       of the demo: its page of switches
//   TULLE_REFUSAL        of nack: what a client gave as its reason
//   TULLE_SCREENSHOTS    a folder that pictures are put into

import assert from "node:assert/strict";
import { Kit, overflow, pages, phone, picture } from "./browser/kit.mjs";

const kit = await Kit.start();
const tours = { demo, nack };
try {
  await tours[process.argv[2]]();
  console.log("all is as it should be");
} finally {
  await kit.close();
}

// eventually asks until it is so.
async function eventually(what, so, within = 20_000) {
  const end = Date.now() + within;
  while (!(await so())) {
    if (Date.now() > end) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function graph(page) {
  return page.evaluate(async () => {
    const answer = await fetch("/api/tulle.admin.v1.AdminService/GetGraph", { method: "POST", headers: { "Content-Type": "application/json", "Tulle-Request": "1" }, body: '{"window":"15s"}' });
    return answer.json();
  });
}

async function turn(name, value) {
  const answer = await fetch(`${process.env.TULLE_GRID_URL}/switch/${name}/${value}`, { method: "POST" });
  if (!answer.ok) throw new Error(`${name} ${value}: ${await answer.text()}`);
}

async function demo() {
  await everyPageIsLive();
  await everyEdgeHasALock();
  await trafficFollowsASplit();
  await aKilledInstanceIsSeen();
}

// Within 10 seconds of the start every page shows what goes on.
async function everyPageIsLive() {
  const live = {
    overview: (page) => page.getByRole("row", { name: /voting.*\d\.\d\d%/ }),
    topology: (page) => page.getByRole("link", { name: /^voting: \d/ }),
    tap: (page) => page.getByRole("button", { name: "Start" }),
    config: (page) => page.getByRole("button", { name: /voting-canary/ }),
    identity: (page) => page.getByText("spiffe://tulle.local/ns/default/svc/voting").first(),
    apply: (page) => page.getByLabel("Objects as YAML"),
  };
  for (const { name, path } of pages) {
    const page = await kit.open(path);
    await live[name](page).first().waitFor({ timeout: 10_000 });
    assert.deepEqual(await overflow(page), [], `${name}: nothing sticks out`);
    await picture(page, `demo-${name}`);
    await page.setViewportSize(phone);
    assert.deepEqual(await overflow(page), [], `${name}: nothing sticks out at 390 px`);
    await picture(page, `demo-${name}-phone`);
    await page.quiet();
  }
  const page = await kit.open("#/service/voting");
  await page.getByRole("heading", { name: "voting" }).waitFor();
  await page.getByRole("row", { name: /voting-2.*healthy/ }).waitFor({ timeout: 10_000 });
  await page.locator(".chart canvas").first().waitFor();
  await picture(page, "demo-service");
  await page.getByRole("button", { name: "heat map" }).click();
  await page.locator("canvas.heat").waitFor();
  await page.getByRole("link", { name: "Tap its calls" }).click();
  await page.getByRole("button", { name: "Start" }).click();
  await page.locator(".tap-table tbody tr").nth(5).waitFor({ timeout: 10_000 });
  await picture(page, "demo-tap-calls", { full: false });
  await page.quiet();
}

async function everyEdgeHasALock() {
  const page = await kit.open("#/topology");
  await page.locator(".edge-label").nth(2).waitFor();
  for (const label of await page.locator(".edge-label").all()) assert.match(await label.textContent(), /^√/, "the edge is secured");
  await page.quiet();
}

// A split that is applied by the page moves the traffic.
async function trafficFollowsASplit() {
  const page = await kit.open("#/apply");
  const route = (v1, v2) => `apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting-canary}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - backendRefs:
        - {name: voting, version: v1, weight: ${v1}}
        - {name: voting, version: v2, weight: ${v2}}
`;
  const editor = page.getByLabel("Objects as YAML");
  await editor.fill(route(0, 100).replace("weight: 100", "wieght: 100"));
  await page.getByText(/did you mean|unknown field/i).first().waitFor();
  assert.ok(await page.getByRole("button", { name: "Apply", exact: true }).isDisabled(), "what is wrong cannot be applied");
  await editor.fill(route(0, 100));
  const apply = page.getByRole("button", { name: "Apply", exact: true });
  await eventually("the split may be applied", async () => apply.isEnabled());
  await picture(page, "demo-apply-split");
  await apply.click();
  await page.getByText(/of \d+ clients have it/).waitFor();
  await page.getByRole("button", { name: "Close" }).click({ timeout: 40_000 });
  const share = async () => {
    const edge = (await graph(page)).edges.find((e) => e.destination === "voting");
    const calls = (version) => Number(edge.versions.find((v) => v.version === version)?.golden?.calls ?? 0);
    return calls("v2") / (calls("v1") + calls("v2"));
  };
  await eventually("all votes go to v2", async () => (await share()) > 0.99, 40_000);
  await editor.fill(route(90, 10));
  await eventually("the split back may be applied", async () => apply.isEnabled());
  await apply.click();
  await eventually("votes go to v1 again", async () => (await share()) < 0.6, 40_000);
  await page.goto(new URL("#/config", kit.base).href);
  await page.getByRole("heading", { name: "History" }).waitFor();
  await picture(page, "demo-config-history");
  await page.quiet();
}

async function aKilledInstanceIsSeen() {
  const page = await kit.open("#/service/voting");
  await page.getByRole("row", { name: /voting-2.*healthy/ }).waitFor();
  await turn("kill", "on");
  await eventually("voting-2 is not healthy", async () => (await page.getByRole("row", { name: /voting-2.*healthy/ }).count()) === 0);
  await picture(page, "demo-killed");
  await turn("kill", "off");
  await page.getByRole("row", { name: /voting-2.*healthy/ }).waitFor({ timeout: 20_000 });
  await page.quiet();
}

// What a client refuses stands on the object that caused it.
async function nack() {
  const reason = process.env.TULLE_REFUSAL;
  const page = await kit.open("#/");
  await page.getByText(reason).first().waitFor({ timeout: 10_000 });
  await page.goto(new URL("#/config", kit.base).href);
  await page.getByRole("heading", { name: "Objects" }).waitFor();
  const row = page.getByRole("region", { name: "Objects" }).getByRole("row", { name: /GRPCRoute.*split/ });
  await row.waitFor();
  await eventually("the route is marked as refused", async () => /refus/i.test(await row.textContent()));
  await row.getByRole("button").click();
  await page.getByText(reason).first().waitFor();
  await picture(page, "nack");
  await page.quiet();
}
