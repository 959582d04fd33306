import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { fits, Kit, pages, phone, picture } from "./kit.mjs";

// What others may put into names, messages and reasons. xdsserver refuses most of it; the
// page must not depend on that.
const names = {
  markup: `<img src=x onerror=alert(1)>`,
  script: `</script><script>alert(2)</script>`,
  address: `javascript:alert(3)`,
  quotes: `"><svg onload=alert(4)>' onfocus='alert(5)' autofocus='`,
  template: "{{constructor.constructor('alert(6)')()}} ${alert(7)}",
  right: "\u202Egnitov\u202C \u05D0\u05D1\u05D2 \u0645\u0631\u062D\u0628\u0627",
  control: "a\u0000b\u0007c\nd\te\u2028f",
  prototype: "__proto__",
  long: "x".repeat(65_536),
  wide: "\u{1F9F5}".repeat(300),
};

const now = new Date().toISOString();
const later = new Date(Date.now() + 3_600_000).toISOString();
const golden = { calls: "100", failures: "3", rps: 12.5, p50Ms: 2, p95Ms: 8, p99Ms: 20, timed: true };
const all = Object.values(names);

const graph = {
  at: now,
  window: "60s",
  services: all.map((service) => ({ service, instances: 2, meshed: 2, healthy: 1, inbound: golden, outbound: golden, versions: [{ version: service, instances: 1, golden }], zones: [service], ejected: 1, breakersOpen: 1 })),
  edges: all.map((source, i) => ({ source, destination: all[(i + 1) % all.length], calls: golden, attempts: golden, security: source, clientId: source, serverId: source, versions: [{ version: source, golden }] })),
};
const problems = all.map((text) => ({ object: { kind: text, name: text }, origin: text, field: text, message: text }));
const status = {
  version: names.markup,
  snapshot: names.script,
  published: now,
  storeRevision: "3",
  sources: all.map((name) => ({ name, error: name, updated: now })),
  problems,
  rejections: all.map((text) => ({ node: text, type: text, resource: text, reason: text, at: now })),
  clients: all.map((text) => ({ node: text, service: text, userAgent: text, peer: text, current: false, connected: now })),
  security: { enrolment: ["socket", ...all.map((text) => `oidc ${text}`)] },
};
const answers = {
  GetGraph: graph,
  GetStatus: status,
  List: { revision: "3", objects: all.map((text) => ({ ref: { kind: text, namespace: text, name: text }, revision: "1", origin: text, yaml: text, problems, changed: now })) },
  ListHistory: { revisions: all.map((text, i) => ({ revision: String(all.length - i), at: now, by: text, changes: [{ ref: { kind: text, name: text }, action: text, before: text, after: `${text}\n${text}` }] })) },
  GetAuthority: { authority: { trustDomain: names.markup, kind: names.script, problem: names.quotes, rotation: { level: names.markup, phase: names.address, waiting: names.right }, roots: all.map((name) => ({ name, keyId: name, serial: name, phase: name, notBefore: now, notAfter: later })) } },
  ListIdentities: { identities: all.map((text) => ({ node: text, service: text, id: text, issuer: text, serial: text, notBefore: now, notAfter: later, connected: now })) },
  ListTokens: { tokens: all.map((text) => ({ id: text, service: text, state: "usable", cidrs: [text], uses: 1, expires: later, redemptions: [{ peer: text, at: now }] })) },
  Apply: { results: all.map((text) => ({ ref: { kind: text, name: text }, action: "ACTION_CREATED", before: "", after: text, problems })), revision: "3" },
  GetServiceStats: {
    at: now,
    window: "60s",
    service: graph.services[0],
    points: [{ at: now, golden, buckets: ["1", "2"] }, { at: later, golden, buckets: ["1", "2"] }],
    boundsMs: [1, 10],
    methods: all.map((method) => ({ method, golden })),
    routes: all.map((route) => ({ route, source: route, calls: golden, backends: [{ cluster: route, version: route, attempts: golden }] })),
    instances: all.map((text) => ({ instance: text, version: text, zone: text, addresses: [text], state: text, inbound: golden, rejection: text, library: text, certificateExpires: later })),
    endpoints: all.map((text) => ({ source: text, sourceInstance: text, cluster: text, address: text, instance: text, latencyMs: 1, breaker: text })),
    callers: graph.edges,
    callees: graph.edges,
  },
};
const taps = all.map((text) => ({
  event: {
    side: text, call: "1", start: now, duration: "0.01s", reporter: text, source: text, destination: text, method: text, route: text, cluster: text, endpoint: text, why: text, peer: text, security: text, status: text, message: text, reason: text,
    requestMetadata: [{ key: text, value: text }], responseMetadata: [{ key: text, value: text }],
    messages: [{ request: true, json: JSON.stringify({ [text]: text }), type: text, size: 1 }, { json: text, type: text, cut: true }],
  },
}));

const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

// poison answers everything that a page asks with hostile names.
async function poison(page) {
  const stream = (body) => ({ status: 200, contentType: "text/event-stream", body: `retry: 600000\n\n${body}` });
  await page.route("**/api/**", (route) => {
    const { pathname, searchParams } = new URL(route.request().url());
    if (pathname === "/api/session") {
      return route.fulfill({ json: { name: names.markup, may: ["view", "apply", "tap", "payload", names.script], version: names.quotes, trustDomain: names.right, expires: later } });
    }
    if (pathname === "/api/events") {
      const service = searchParams.get("service") === null ? "" : event("service", answers.GetServiceStats);
      return route.fulfill(stream(event("graph", graph) + event("status", status) + event("objects", { revision: "3" }) + service));
    }
    if (pathname === "/api/tap") return route.fulfill(stream(event("tap", { processes: 1, of: 1, dropped: "9" }) + taps.map((t) => event("tap", t)).join("")));
    const answer = answers[pathname.split("/").pop()];
    return answer ? route.fulfill({ json: answer }) : route.fulfill({ status: 404, json: { code: "not_found", message: names.markup } });
  });
}

// harmless looks for what hostile names would have made if they were taken for markup.
async function harmless(page) {
  const found = await page.evaluate(() => {
    const out = [];
    for (const e of document.querySelectorAll("*")) {
      for (const { name, value } of e.attributes) {
        if (name.startsWith("on")) out.push(`${e.tagName} ${name}`);
        if (/^\s*(javascript|data|vbscript):/i.test(value) && ["href", "src", "action", "formaction", "xlink:href"].includes(name)) out.push(`${e.tagName} ${name}=${value.slice(0, 40)}`);
      }
    }
    if (document.querySelector("img[src='x'], svg[onload], body script")) {
      for (const s of document.querySelectorAll("img[src='x'], svg[onload], body script")) if (!s.src?.includes("/assets/")) out.push(s.outerHTML.slice(0, 80));
    }
    return out;
  });
  assert.deepEqual(found, []);
}

// openAll opens one row after the other, and looks at each.
async function openAll(page) {
  const rows = page.locator(".reveal");
  for (let i = 0; i < (await rows.count()); i++) {
    await rows.nth(i).click();
    await harmless(page);
  }
}

describe("hostile names do no harm", () => {
  let kit;
  before(async () => {
    kit = await Kit.start({ always: true });
  });
  after(() => kit?.close());

  const places = [...pages.map((p) => ({ name: p.name, path: p.path })), ...all.map((name, i) => ({ name: `service ${Object.keys(names)[i]}`, path: `#/service/${encodeURIComponent(name)}` })).filter((p) => p.path.length < 10_000)];
  for (const { name, path } of places) {
    test(`on the page ${name}`, async () => {
      const page = await kit.open();
      await poison(page);
      await page.goto(new URL(path, kit.base).href);
      await page.locator("h1").waitFor();
      await page.settled();
      // Whatever can be opened, is.
      await openAll(page);
      await fits(page, "nothing sticks out");
      await picture(page, `hostile-${name.replaceAll(" ", "-")}`, { full: false });
      await page.setViewportSize(phone);
      await fits(page, "nothing sticks out at 390 px");
      await page.quiet();
    });
  }

  test("in calls that are tapped", async () => {
    // The mock's stream ends at once, and the page says so.
    const page = await kit.open();
    await poison(page);
    await page.goto(new URL("#/tap", kit.base).href);
    await page.getByLabel("Service", { exact: true }).fill(names.quotes);
    await page.getByLabel("Method").fill("'; rm -rf / #");
    assert.match(await page.locator(".tap-start code").textContent(), /--method ''\\''; rm -rf \/ #'/, "the command is quoted");
    await page.getByRole("button", { name: "Start" }).click();
    await page.locator(".tap-table tbody tr").first().waitFor();
    await openAll(page);
    await fits(page, "nothing sticks out");
    await picture(page, "hostile-tap-calls", { full: false });
    await page.quiet();
  });

  test("in what is typed into the editor", async () => {
    const page = await kit.open();
    await poison(page);
    await page.goto(new URL("#/apply", kit.base).href);
    const judged = page.waitForResponse("**/*.AdminService/Apply");
    await page.getByLabel("Objects as YAML").fill(all.join("\n"));
    await judged;
    await page.settled();
    await harmless(page);
    await fits(page, "nothing sticks out");
    await picture(page, "hostile-editor", { full: false });
    await page.quiet();
  });
});
