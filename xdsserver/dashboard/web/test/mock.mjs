// A stand-in for xdsserver with a lively mesh of its own making: for work on the page, and
// for its tests. It serves ../dist and the HTTP API as package dashboard does.
//
//   npm run mock            12 services
//   npm run mock -- 200     as many
//   npm run mock -- 0       an empty mesh

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const dist = fileURLToPath(new URL("../../dist", import.meta.url));
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const policy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const names = ["web", "cart", "catalogue", "checkout", "payment", "shipping", "users", "search", "recommend", "stock", "mail.back", "audit.back"];
const calls = [[0, 1], [0, 2], [0, 3], [0, 6], [0, 7], [3, 4], [3, 5], [3, 1], [7, 2], [2, 9], [5, 9], [2, 8], [8, 6], [3, 10], [4, 11], [6, 11]];

// A steady random number for a name, so that the same mesh comes back.
const hash = (text) => [...text].reduce((h, c) => (Math.imul(h, 31) + c.codePointAt(0)) >>> 0, 7);
const wave = (name, speed = 9) => 1 + 0.3 * Math.sin(Date.now() / 1000 / speed + hash(name));

export class World {
  // options: services (how many), names (others in their place), rejections, problems
  constructor(options = {}) {
    const n = options.services ?? 12;
    this.names = options.names ?? Array.from({ length: n }, (_, i) => names[i] ?? `service-${String(i).padStart(3, "0")}`);
    const count = this.names.length;
    this.edges = calls.filter(([a, b]) => a < count && b < count);
    for (let i = names.length; i < count; i++) this.edges.push([Math.floor((i * 7) / 13) % i, i]);
    this.rejections = options.rejections ?? (count > 4 ? [{ node: "cart/x1y2", type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", resource: "cart", version: "9", reason: "RouteConfiguration \"cart\": a match that this client does not know", at: ago(40) }] : []);
    this.problems = options.problems ?? [];
    this.revision = 7;
    this.objects = this.names.slice(0, 8).map((name, i) => object("Service", name, i + 1, `spec:\n  timeout: 2s\n  retry:\n    attempts: ${2 + (i % 3)}\n`));
    if (count > 1) this.objects.push(object("GRPCRoute", `${this.names[1]}-canary`, 9, `spec:\n  parentRefs:\n    - kind: Service\n      name: ${this.names[1]}\n`));
  }

  golden(name, rate, fails = 0.002) {
    const rps = rate * wave(name);
    const base = 2 + (hash(name) % 20);
    return { calls: String(Math.round(rps * 60)), failures: String(Math.round(rps * 60 * fails)), rps, p50Ms: base * wave(name, 5), p95Ms: base * 3 * wave(name, 4), p99Ms: base * 6 * wave(name, 3), timed: true };
  }

  fails(name) {
    return name === this.names[4] ? 0.13 : name === this.names[7] ? 0.07 : 0.001;
  }

  service(name) {
    const i = this.names.indexOf(name);
    const versions = i === 1 ? ["v1", "v2"] : ["v1"];
    return {
      service: name, instances: 3, meshed: 3, healthy: i === 5 ? 2 : 3,
      inbound: i === 0 ? this.golden(name, 120) : this.golden(name, 4 + (hash(name) % 60), this.fails(name)),
      outbound: this.golden(`${name} out`, 30),
      versions: versions.map((version, v) => ({ version, instances: v === 0 ? 2 : 1, healthy: 1, golden: this.golden(name + version, v === 0 ? 40 : 4) })),
      zones: ["north", "south"], connections: 9, breakersOpen: i === 4 ? 1 : 0, ejected: i === 7 ? 1 : 0,
    };
  }

  edge([a, b]) {
    const [source, destination] = [this.names[a], this.names[b]];
    const golden = this.golden(`${source}>${destination}`, 3 + (hash(source + destination) % 40), this.fails(destination));
    return {
      source, destination, calls: golden, attempts: { ...golden, failures: String(Number(golden.failures) * 2) }, security: destination === this.names[11] ? "plaintext" : "mtls",
      clientId: `spiffe://tulle.local/ns/default/svc/${source}`, serverId: `spiffe://tulle.local/ns/default/svc/${destination}`, local: 0.8, retries: "12", hedges: "0", denied: "0", refused: "1",
    };
  }

  graph() {
    return { at: new Date().toISOString(), window: "60s", services: this.names.map((n) => this.service(n)), edges: this.edges.map((e) => this.edge(e)) };
  }

  status() {
    return {
      version: "0.5.0", started: ago(7200), snapshot: "41", published: ago(30), services: this.names.length, endpoints: 3 * this.names.length, routes: 1, storeRevision: String(this.revision),
      problems: this.problems, rejections: this.rejections, listeners: ["mesh 127.0.0.1:18000"], security: { enrolment: ["socket", "token"], accessDefault: "authenticated" },
      clients: this.names.flatMap((service, i) => [0, 1, 2].map((j) => ({ node: `${service}/${j}`, service, userAgent: "tulle 0.5.0", current: !(i === 1 && j === 0), resources: 4, connected: ago(600 + j), delta: true }))),
    };
  }

  stats(name) {
    if (!this.names.includes(name)) return undefined;
    const bounds = Array.from({ length: 24 }, (_, i) => 0.5 * 2 ** (i / 2));
    const points = Array.from({ length: 60 }, (_, i) => {
      const at = Date.now() - (59 - i) * 5000;
      const middle = 7 + 2 * Math.sin(at / 30_000);
      const golden = this.golden(name, 20 + 8 * Math.sin(at / 40_000));
      return { at: new Date(at).toISOString(), golden: { ...golden, p50Ms: bounds[Math.round(middle)], p95Ms: bounds[Math.round(middle) + 4], p99Ms: bounds[Math.round(middle) + 7] }, buckets: bounds.map((_, b) => String(Math.round(300 * Math.exp(-((b - middle) ** 2) / 8)))) };
    });
    const edges = this.graph().edges;
    const index = this.names.indexOf(name);
    return {
      at: new Date().toISOString(), window: "60s", service: this.service(name), points, boundsMs: bounds,
      methods: ["Get", "List", "Put"].map((m) => ({ method: `/shop.v1.${name}/${m}`, golden: this.golden(name + m, 9) })),
      routes: [{ route: "canary", calls: this.golden(name, 30, 0.001), timeouts: 0.001, retries: 0.12, backends: ["v1", "v2"].map((version) => ({ cluster: `${name}/${version}`, version, attempts: this.golden(name + version, version === "v1" ? 30 : 4, version === "v1" ? 0.01 : 0.2), timeouts: 0 })) }],
      instances: [0, 1, 2].map((i) => ({ instance: `${name}-${i}`, version: i === 2 ? "v2" : "v1", zone: i ? "south" : "north", addresses: [`10.0.${index}.${i + 1}:8080`], state: index === 5 && i === 2 ? "lost" : "healthy", inbound: this.golden(name + i, 12), certificateExpires: ago(-3600 * (3 + i)), current: !(index === 1 && i === 0), configured: ago(300), rejection: index === 1 && i === 0 ? this.rejections[0]?.reason : undefined, reported: ago(3), library: "0.5.0", connections: 3 })),
      endpoints: [0, 1, 2].map((i) => ({ source: "web", sourceInstance: "a1", cluster: name, address: `10.0.${index}.${i + 1}:8080`, instance: `${name}-${i}`, latencyMs: 2.5 + i, open: i, breaker: index === 4 && i === 1 ? "open" : "closed", ejected: index === 7 && i === 2, local: i === 0, inUse: true })),
      callers: edges.filter((e) => e.destination === name), callees: edges.filter((e) => e.source === name),
    };
  }

  api(method, request) {
    switch (method) {
      case "GetGraph": return this.graph();
      case "GetStatus": return this.status();
      case "GetServiceStats": return this.stats(request.service);
      case "List": return { revision: String(this.revision), objects: this.objects.filter((o) => (!request.kind || o.ref.kind === request.kind) && (!request.name || o.ref.name === request.name)) };
      case "Apply": return this.apply(request);
      case "ListHistory": return { revisions: [{ revision: "7", at: ago(60), by: "user 1000", changes: [{ ref: this.objects[0]?.ref, action: "ACTION_CONFIGURED", before: "spec:\n  timeout: 1s\n", after: "spec:\n  timeout: 2s\n" }] }, { revision: "6", at: ago(4000), by: "dashboard 3f2a", changes: [] }] };
      case "RollBack": return { revision: String(request.dryRun ? this.revision : ++this.revision), changes: [{ ref: this.objects[0]?.ref, action: "ACTION_CONFIGURED", before: "spec:\n  timeout: 2s\n", after: "spec:\n  timeout: 1s\n" }] };
      case "GetAuthority": return { authority: { trustDomain: "tulle.local", kind: "built-in", rootOnline: true, leafTtl: "86400s", issued: "48", generation: "1", roots: [{ name: "root", keyId: "678215cc7613c430e5f62b5b", serial: "f9ea0f", notBefore: ago(90_000), notAfter: ago(-3650 * 86_400), phase: "active", online: true }], intermediates: [{ name: "intermediate", keyId: "bc54bede3e6a648d0b71a316", serial: "9272", notBefore: ago(90_000), notAfter: ago(-29 * 86_400), phase: "active", online: true }] } };
      case "ListIdentities": return { identities: this.names.map((service) => ({ node: `${service}/0`, service, id: `spiffe://tulle.local/ns/default/svc/${service}`, issuer: "bc54bede3e6a648d0b71a316", serial: "0a1b", connected: ago(3600), notBefore: ago(3600), notAfter: ago(-3600 * 20) })) };
      case "ListTokens": return { tokens: [] };
      case "ListCommands": return { commands: [] };
    }
    return undefined;
  }

  apply({ manifests = [], dryRun }) {
    const text = manifests.map((m) => m.yaml).join("\n");
    const name = /name:\s*([a-z0-9.-]+)/.exec(text)?.[1];
    const ref = { kind: /kind:\s*(\w+)/.exec(text)?.[1] ?? "Service", namespace: "default", name: name ?? "x" };
    if (/tiemout/.test(text)) return { revision: String(this.revision), results: [{ ref, action: "ACTION_REFUSED", problems: [{ object: ref, origin: `${manifests[0].origin}:5:3`, field: "spec.tiemout", message: "unknown field \"tiemout\"; did you mean \"timeout\"?" }] }] };
    const before = this.objects.find((o) => o.ref.name === ref.name && o.ref.kind === ref.kind);
    if (!dryRun) {
      this.revision++;
      if (before) before.yaml = text;
      else this.objects.push({ ref, revision: String(this.revision), origin: "applied", yaml: text, changed: ago(0) });
    }
    return { revision: String(this.revision), clients: 36, clientsCurrent: 36, results: [{ ref, action: before ? "ACTION_CONFIGURED" : "ACTION_CREATED", before: before?.yaml, after: text }] };
  }
}

function object(kind, name, revision, spec) {
  return { ref: { kind, namespace: "default", name }, revision: String(revision), origin: "applied", changed: ago(100 * revision), yaml: `apiVersion: tulle/v1\nkind: ${kind}\nmetadata:\n  name: ${name}\n${spec}` };
}

function ago(seconds) {
  return new Date(Date.now() - 1000 * seconds).toISOString();
}

// startMock serves a world on a port of its own until close. options are those of World,
// and may: what the session may, signedOut: whether there is none.
export async function startMock(options = {}) {
  const world = options.world ?? new World(options);
  const open = new Set();
  const server = createServer(async (request, response) => {
    const url = new URL(request.url, "http://localhost");
    response.setHeader("Content-Security-Policy", policy);
    const json = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    if (url.pathname.startsWith("/api/") && options.signedOut) return json(401, { code: "unauthenticated", message: "no session: run xdsserver dashboard" });
    if (url.pathname === "/api/session") return json(200, { name: "dashboard 3f2a", may: options.may ?? ["view", "apply", "tap", "payload"], version: "0.5.0", expires: ago(-40_000), trustDomain: "tulle.local" });
    if (url.pathname === "/api/logout") return json(200, {});
    if (url.pathname === "/api/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const tell = () => {
        const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
        const service = url.searchParams.get("service");
        const stats = service === null ? undefined : world.stats(service);
        if (stats) send("service", stats);
        send("graph", world.graph());
        send("status", world.status());
        send("objects", { revision: String(world.revision) });
      };
      tell();
      const timer = setInterval(tell, 2000);
      open.add(response);
      request.on("close", () => { clearInterval(timer); open.delete(response); });
      return;
    }
    if (url.pathname === "/api/tap") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      let n = 0;
      const send = (data) => response.write(`event: tap\ndata: ${JSON.stringify(data)}\n\n`);
      send({ processes: 3, of: 3, dropped: "0", until: ago(-600) });
      const timer = setInterval(() => {
        n++;
        send({ event: { side: "client", call: String(n), start: ago(0), duration: "0.0042s", reporter: url.searchParams.get("service"), reporterInstance: "a1", source: "web", destination: "cart", method: "/shop.v1.Cart/Put", route: "canary", cluster: "cart/v1", attempt: n % 7 === 0 ? 1 : 0, endpoint: "10.0.1.1:8080", why: "peak-ewma: 2.1ms x 1 beat 10.0.1.2:8080 4.0ms x 3", peer: "spiffe://tulle.local/ns/default/svc/cart", security: "mtls", status: n % 5 === 0 ? "UNAVAILABLE" : "OK", message: n % 5 === 0 ? "no" : "", requestMetadata: [{ key: "x-user", value: "7" }, { key: "authorization", value: "[redacted]" }], messages: url.searchParams.get("payload") ? [{ request: true, json: '{"item":"tulip","card":"[redacted]"}', size: 31, type: "shop.v1.PutRequest" }] : [] }, processes: 3, of: 3 });
      }, 150);
      open.add(response);
      request.on("close", () => { clearInterval(timer); open.delete(response); });
      return;
    }
    if (url.pathname.startsWith("/api/")) {
      let body = "";
      for await (const part of request) body += part;
      let asked = {};
      try { asked = JSON.parse(body || "{}"); } catch { /* it is asked for nothing then */ }
      const answer = request.headers["tulle-request"] === "1" ? world.api(url.pathname.split("/").pop(), asked) : undefined;
      return answer === undefined ? json(404, { code: "not_found", message: "there is none" }) : json(200, answer);
    }
    // The page for who has no session is the server's own, and needs no script.
    if (url.pathname === "/login" || url.pathname === "/login.css") {
      const text = await readFile(new URL(`../../page/login.${url.pathname === "/login" ? "html" : "css"}`, import.meta.url), "utf8");
      response.writeHead(url.pathname === "/login" ? 401 : 200, { "Content-Type": url.pathname === "/login" ? types[".html"] : types[".css"] });
      return response.end(text.replace("SAYING", "This is the dashboard of a mesh. A command lets you in:"));
    }
    const path = url.pathname === "/" ? "/index.html" : normalize(url.pathname);
    try {
      const file = await readFile(join(dist, path));
      response.writeHead(200, { "Content-Type": types[extname(path)] ?? "application/octet-stream" });
      response.end(file);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    world,
    async close() {
      for (const response of open) response.end();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const services = process.argv[2] === undefined ? undefined : Number(process.argv[2]);
  const mock = await startMock({ services, port: Number(process.env.PORT ?? 0) });
  console.log(mock.url);
}
