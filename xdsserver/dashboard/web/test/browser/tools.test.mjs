import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Kit, phone, picture } from "./kit.mjs";

// What the pages do, with answers that the tests give, over the mock's.

const now = Date.now();
const at = (seconds) => new Date(now + 1000 * seconds).toISOString();
const day = 86_400;

// answer lays answers of the admin API over the mock's: objects, or functions of the
// request. It returns what was asked.
async function answer(page, methods, may = ["view", "apply", "tap", "payload"]) {
  const asked = [];
  await page.route("**/api/session", (route) => route.fulfill({ json: { name: "test", may, version: "0.1.0", expires: at(day), trustDomain: "tulle.local" } }));
  await page.route("**/api/tulle.admin.v1.AdminService/*", async (route) => {
    const method = new URL(route.request().url()).pathname.split("/").pop();
    const request = route.request().postDataJSON();
    assert.equal(route.request().headers()["tulle-request"], "1", "each request has the header that no other site's has");
    asked.push({ method, request });
    if (!(method in methods)) return route.fallback();
    const made = typeof methods[method] === "function" ? methods[method](request) : methods[method];
    return made.code ? route.fulfill({ status: made.code === "permission_denied" ? 403 : 400, json: made }) : route.fulfill({ json: made });
  });
  return asked;
}

async function status(page, value) {
  await page.route("**/api/events?*", (route) =>
    route.fulfill({
      contentType: "text/event-stream",
      body: `retry: 600000\n\nevent: status\ndata: ${JSON.stringify(value)}\n\nevent: objects\ndata: {"revision":"7"}\n\n`,
    }),
  );
}

const focused = (element) => element.evaluate((e) => e === document.activeElement);

describe("tools", () => {
  let kit;
  before(async () => {
    kit = await Kit.start({ always: true });
  });
  after(() => kit?.close());

  describe("tap", () => {
    test("shows the command that does the same, with what is typed quoted", async () => {
      const page = await kit.open("#/tap");
      await page.getByLabel("Service", { exact: true }).fill("web");
      await page.getByLabel("To", { exact: true }).fill("voting");
      await page.getByLabel("Method").fill("*");
      await page.getByLabel("Metadata").fill("x-user=o'hara");
      await page.getByLabel("Failures only").check();
      await page.getByLabel("Calls a second").fill("50");
      assert.equal(await page.locator(".tap-start code").textContent(), `xdsserver tap web --to voting --method '*' --header 'x-user=o'\\''hara' --failures --max-rps 50`);
      await page.getByLabel("Calls a second").fill("0");
      await page.getByText("A number from 1 to 1000.").waitFor();
      assert.ok(await page.getByRole("button", { name: "Start" }).isDisabled());
      await page.quiet();
    });

    test("shows calls, opens one, pauses, filters, clears, and ends when one leaves", async () => {
      const page = await kit.open();
      await answer(page, {});
      await page.goto(new URL("#/tap?service=web&to=voting&payload=1", kit.base).href);
      const opened = page.waitForRequest((r) => r.url().includes("/api/tap?"));
      await page.getByRole("button", { name: "Start" }).click();
      const request = await opened;
      const ended = page.waitForEvent("requestfailed", (r) => r === request);
      assert.equal(new URL(request.url()).search, "?service=web&to=voting&maxRps=100&payload=1");
      const rows = page.locator(".tap-table tbody tr:not(.details)");
      await rows.nth(3).waitFor();
      await page.getByText(/of \d+ processes tap/).waitFor();

      await page.getByRole("button", { name: "Pause" }).click();
      const before = await rows.count();
      await page.waitForTimeout(800);
      assert.equal(await rows.count(), before, "a paused table stands still");
      await rows.first().getByRole("button").focus();
      await page.keyboard.press("Enter");
      await page.getByRole("heading", { name: "Request" }).waitFor();
      await picture(page, "tap-open");
      await page.setViewportSize(phone);
      await picture(page, "tap-open-phone");
      await page.getByRole("button", { name: "Go on" }).click();
      await page.getByLabel("Filter", { exact: true }).fill("no call has this in it");
      await page.getByText("None of").waitFor();
      await page.getByLabel("Filter", { exact: true }).fill("");
      await page.getByRole("button", { name: "Clear" }).click();
      await page.goto(new URL("#/config", kit.base).href);
      await ended; // the browser closed it
      await page.quiet();
    });

    test("says why a login may not, and what would", async () => {
      const page = await kit.open();
      await answer(page, {}, ["view"]);
      await page.goto(new URL("#/tap?service=web&payload=1", kit.base).href);
      await page.getByText("This login may not tap").waitFor();
      assert.ok(await page.getByRole("button", { name: "Start" }).isDisabled());
      assert.ok(await page.getByLabel("Messages").isDisabled());
      assert.ok(!(await page.getByLabel("Messages").isChecked()), "what is in the address gives no permission");
      assert.equal(await page.locator(".tap-start code").textContent(), "xdsserver tap web");
      await picture(page, "tap-may-not");
      await page.quiet();
    });

    test("keeps 500 calls at the most", async () => {
      const page = await kit.open();
      const body = Array.from({ length: 3000 }, (_, i) => `event: tap\ndata: ${JSON.stringify({ event: { start: at(i), source: "web", destination: "voting", method: `/v/M${i}`, status: "OK", duration: "0.001s" } })}\n\n`).join("");
      await page.route("**/api/tap?*", (route) => route.fulfill({ contentType: "text/event-stream", body }));
      await answer(page, {});
      await page.goto(new URL("#/tap?service=web", kit.base).href);
      await page.getByRole("button", { name: "Start" }).click();
      await page.getByText("3000 calls").waitFor();
      assert.equal(await page.locator(".tap-table tbody tr").count(), 500);
      assert.match(await page.locator(".tap-table tbody tr").first().textContent(), /M2999/, "the newest are kept");
      await page.quiet();
    });
  });

  const route = "apiVersion: tulle/v1\nkind: GRPCRoute\nmetadata:\n  name: voting-canary\nspec:\n  parentRefs:\n    - kind: Service\n      name: voting\n  rules:\n    - backendRefs:\n        - name: voting\n          version: v1\n          weight: 90\n        - name: voting\n          version: v2\n          weight: 10\n";
  const objects = {
    revision: "7",
    objects: [
      { ref: { kind: "AccessPolicy", namespace: "default", name: "voting" }, revision: "3", origin: "applied", yaml: "apiVersion: tulle/v1\nkind: AccessPolicy\nmetadata:\n  name: voting\nspec:\n  allow:\n    - from:\n        - web\n", changed: at(-7200) },
      { ref: { kind: "GRPCRoute", namespace: "default", name: "voting-canary" }, revision: "7", origin: "applied", yaml: route, changed: at(-60) },
      { ref: { kind: "Service", namespace: "default", name: "voting" }, origin: "mesh.yaml:12", yaml: "apiVersion: tulle/v1\nkind: Service\nmetadata:\n  name: voting\nspec: {}\n", problems: [{ origin: "mesh.yaml:12:3", field: "spec.timeout", message: "is low: most calls take longer", warning: true }] },
    ],
  };
  const refused = {
    version: "0.1.0", snapshot: "41", published: at(-60), storeRevision: "7",
    clients: [
      { node: "web-1", service: "web", userAgent: "tulle 0.1.0", current: true, resources: 9, connected: at(-4000) },
      { node: "py-1", service: "reports", userAgent: "gRPC Python 1.80", current: false, resources: 4, connected: at(-400) },
    ],
    rejections: [{ node: "py-1", type: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration", resource: "voting", version: "9", reason: "route 0: unsupported field retry_policy.retry_back_off", at: at(-30) }],
  };
  const history = {
    revisions: [
      { revision: "7", at: at(-60), by: "dashboard login ada", changes: [{ ref: { kind: "GRPCRoute", namespace: "default", name: "voting-canary" }, action: "ACTION_CONFIGURED", before: route.replace("90", "100").replace("10\n", "0\n"), after: route }] },
      { revision: "6", at: at(-7200), by: "user ada (uid 1000)", changes: [{ ref: { kind: "AccessPolicy", namespace: "default", name: "voting" }, action: "ACTION_CREATED", after: "kind: AccessPolicy\n" }] },
    ],
  };

  describe("configuration", () => {
    test("shows a NACK on the object that caused it, with who and why", async () => {
      const page = await kit.open();
      await answer(page, { List: objects, ListHistory: history });
      await status(page, refused);
      await page.goto(new URL("#/config", kit.base).href);
      const row = page.getByRole("region", { name: "Objects" }).getByRole("row", { name: /GRPCRoute voting-canary/ });
      await row.getByText("refused by 1 client").waitFor();
      assert.equal(await page.getByRole("region", { name: "Objects" }).getByRole("row", { name: /AccessPolicy voting/ }).getByText("refused").count(), 0, "the others are not to blame");
      await row.getByRole("button").click();
      await page.getByText("unsupported field retry_policy").waitFor();
      await page.getByLabel("Refused by clients").getByText("py-1").waitFor();
      await page.getByText("1 of 2").waitFor();
      await picture(page, "config-nack");
      await page.setViewportSize(phone);
      await picture(page, "config-nack-phone");
      await page.quiet();
    });

    test("rolls back after showing what that changes, and keeps the focus where it belongs", async () => {
      const page = await kit.open();
      const asked = await answer(page, {
        List: objects,
        ListHistory: history,
        RollBack: ({ dryRun }) => ({ changes: [{ ref: { kind: "GRPCRoute", namespace: "default", name: "voting-canary" }, action: "ACTION_DELETED", before: route }], revision: dryRun ? "7" : "8" }),
      });
      await status(page, refused);
      await page.goto(new URL("#/config", kit.base).href);
      const button = page.getByRole("button", { name: /Roll back to revision 6/ });
      await button.focus();
      await page.keyboard.press("Enter");
      const dialog = page.getByRole("dialog", { name: "Roll back to revision 6" });
      await dialog.getByText("16 removed").or(dialog.locator(".diff-removed").first()).first().waitFor();
      await picture(page, "config-roll-back", { full: false });
      for (let i = 0; i < 8; i++) {
        await page.keyboard.press("Tab");
        assert.ok(await page.evaluate(() => document.activeElement === document.body || document.querySelector("dialog").contains(document.activeElement)), "the focus stays in the dialog");
      }
      await page.keyboard.press("Escape");
      await dialog.waitFor({ state: "detached" });
      assert.ok(await focused(button), "and goes back to the button");
      await page.keyboard.press("Enter");
      await dialog.getByRole("button", { name: "Roll back" }).click();
      await dialog.getByText("this is revision 8").waitFor();
      assert.deepEqual(asked.filter((a) => a.method === "RollBack").pop().request, { revision: "6", ifRevision: "7" }, "only what was shown");
      await page.quiet();
    });

    test("without permission shows and does not offer", async () => {
      const page = await kit.open();
      await answer(page, { List: objects, ListHistory: history }, ["view"]);
      await page.goto(new URL("#/config", kit.base).href);
      const button = page.getByRole("button", { name: /Roll back to revision 6/ });
      await button.waitFor();
      assert.ok(await button.isDisabled());
      assert.match(await button.getAttribute("title"), /may not/);
      await page.quiet();
    });
  });

  describe("apply", () => {
    const bad = {
      results: [
        { ref: { kind: "Service", namespace: "default", name: "voting" }, action: "ACTION_REFUSED", problems: [{ origin: "editor:5:12", field: "spec.timeout", message: `"2x" is no duration: write one of h, m, s and ms` }] },
        { ref: { kind: "GRPCRoute", namespace: "default", name: "r" }, action: "ACTION_REFUSED", after: "kind: GRPCRoute\n", problems: [{ origin: "editor:7", field: "spec.rules[0].backendRefs[0].name", message: "no service nope is known" }] },
      ],
    };
    const text = "apiVersion: tulle/v1\nkind: Service\nmetadata: {name: voting}\nspec:\n  timeout: 2x\n---\napiVersion: tulle/v1\nkind: GRPCRoute\nmetadata: {name: r}\nspec:\n  rules:\n    - backendRefs:\n        - name: nope\n";

    test("tells problems while one types, and goes to their lines", async () => {
      const page = await kit.open();
      const asked = await answer(page, { Apply: bad });
      await page.goto(new URL("#/apply", kit.base).href);
      const editor = page.getByLabel("Objects as YAML");
      await editor.pressSequentially(text.slice(0, 30)); // a slow machine pauses between some
      await editor.fill(text);
      await page.getByText("2 errors: it would be refused.").waitFor();
      assert.ok(asked.every((a) => a.method !== "Apply" || a.request.dryRun === true), "nothing is stored by typing");
      assert.ok(asked.filter((a) => a.method === "Apply").length <= 15, "it is not asked at each key");
      await page.getByRole("button", { name: "line 13, column 11" }).click();
      const place = () => editor.evaluate((e) => [document.activeElement === e, e.value.slice(0, e.selectionStart).split("\n").length, e.selectionStart - e.value.lastIndexOf("\n", e.selectionStart - 1)]);
      assert.deepEqual(await place(), [true, 13, 11]);
      await page.getByRole("button", { name: "line 5, column 12" }).click();
      assert.deepEqual(await place(), [true, 5, 12]);
      assert.ok(await page.getByRole("button", { name: "Apply" }).isDisabled());
      await picture(page, "apply-problems");
      await page.setViewportSize(phone);
      await picture(page, "apply-problems-phone");
      await page.quiet();
    });

    test("shows the difference, applies, and counts the clients that have it", async () => {
      const page = await kit.open();
      let current = 1;
      const asked = await answer(page, {
        Apply: ({ dryRun }) => ({
          results: [{ ref: { kind: "GRPCRoute", namespace: "default", name: "voting-canary" }, action: "ACTION_CONFIGURED", before: route.replace("weight: 90", "weight: 100"), after: route }],
          revision: dryRun ? "7" : "8",
          ...(dryRun ? {} : { clients: 3, clientsCurrent: 1 }),
        }),
        GetStatus: () => ({ clients: [1, 2, 3].map((i) => ({ node: `n${i}`, current: i <= current })) }),
      });
      await page.goto(new URL("#/apply", kit.base).href);
      await page.getByRole("button", { name: "Split between versions" }).click();
      await page.getByText("Valid; 1 object would change.").waitFor();
      await page.locator(".diff-added", { hasText: "weight: 90" }).waitFor();
      await page.getByLabel("Objects as YAML").focus();
      await page.keyboard.press("Control+Enter");
      await page.getByText("1 of 3 clients have it").waitFor();
      await picture(page, "apply-progress");
      current = 3;
      await page.getByText("3 of 3 clients have it").waitFor();
      assert.equal(asked.find((a) => a.method === "Apply" && !a.request.dryRun).request.ifRevision, "7", "only what was shown");
      await page.quiet();
    });

    test("says that somebody else was faster", async () => {
      const page = await kit.open(undefined, { expected: [/status of 4\d\d/] });
      await answer(page, {
        Apply: ({ dryRun }) => (dryRun ? { results: [{ ref: { kind: "Service", name: "a" }, action: "ACTION_CREATED", after: "x\n" }], revision: "7" } : { code: "aborted", message: "the store is at revision 8, not 7: look again" }),
      });
      await page.goto(new URL("#/apply", kit.base).href);
      await page.getByRole("button", { name: "Timeout" }).click();
      await page.getByText("1 object would change").waitFor();
      await page.getByRole("button", { name: "Apply", exact: true }).click();
      await page.getByText("the store is at revision 8").waitFor();
      await page.quiet();
    });

    test("the editor keeps indentation, undoes, and lets Tab leave", async () => {
      const page = await kit.open();
      await answer(page, { Apply: {} });
      await page.goto(new URL("#/apply", kit.base).href);
      const editor = page.getByLabel("Objects as YAML");
      await editor.focus();
      await page.keyboard.type("spec:\ntimeout: 2s\nrules:\n- name: x");
      assert.equal(await editor.inputValue(), "spec:\n  timeout: 2s\n  rules:\n    - name: x");
      await page.keyboard.press("Control+[");
      assert.equal(await editor.inputValue(), "spec:\n  timeout: 2s\n  rules:\n  - name: x");
      await page.keyboard.press("Control+z");
      assert.equal(await editor.inputValue(), "spec:\n  timeout: 2s\n  rules:\n    - name: x");
      await page.keyboard.press("Tab");
      assert.ok(!(await editor.evaluate((e) => e === document.activeElement)), "Tab leaves");
      await page.quiet();
    });
  });

  describe("identity", () => {
    const authority = {
      authority: {
        trustDomain: "tulle.local", kind: "built-in", leafTtl: "86400s", issued: "42", generation: "3", rootOnline: true,
        roots: [
          { name: "root-2", keyId: "678215cc7613c430e5f6", serial: "01", notBefore: at(-60), notAfter: at(3650 * day), phase: "prepared", since: at(-60), online: true },
          { name: "root", keyId: "99aa15cc7613c430e5f6", serial: "02", notBefore: at(-3600 * day), notAfter: at(50 * day), phase: "active", online: true },
        ],
        intermediates: [{ name: "intermediate", keyId: "bc54bede3e6a648d0b71", serial: "03", notBefore: at(-20 * day), notAfter: at(10 * day), phase: "active", online: true }],
        rotation: { level: "root", phase: "prepared", since: at(-60), until: at(3600), waiting: "waits for 2 of 9 clients to acknowledge the new root" },
      },
    };
    const identities = {
      identities: [
        { node: "web-1", service: "web", id: "spiffe://tulle.local/ns/default/svc/web", issuer: "bc54bede3e6a648d0b71", serial: "a1", notBefore: at(-3600), notAfter: at(82_800), connected: at(-3600) },
        { node: "voting-1", service: "voting", id: "spiffe://tulle.local/ns/default/svc/voting", issuer: "bc54bede3e6a648d0b71", serial: "a2", notBefore: at(-70_000), notAfter: at(16_400), connected: at(-70_000) },
        { node: "emoji-1", service: "emoji", id: "spiffe://tulle.local/ns/default/svc/emoji", issuer: "ffff", serial: "a3", notBefore: at(-86_000), notAfter: at(400), connected: at(-86_000) },
        { node: "old-1", service: "old", id: "spiffe://tulle.local/ns/default/svc/old", issuer: "ffff", serial: "a4", notBefore: at(-90_000), notAfter: at(-10), connected: at(-90_000) },
      ],
    };
    const tokens = { tokens: [{ id: "d7x91l7NwJU", service: "payments", created: at(-60), expires: at(3540), uses: 3, used: 1, cidrs: ["10.0.0.0/8"], state: "usable", redemptions: [{ at: at(-30), peer: "10.0.0.9:55012" }] }, { id: "c2FtcGxlaWQ", service: "web", expires: at(-10), uses: 1, used: 1, state: "used up" }] };

    test("shows who signs, how a rotation goes on, and for how long leaves last", async () => {
      const page = await kit.open();
      await answer(page, { GetAuthority: authority, ListIdentities: identities, ListTokens: tokens });
      await status(page, { security: { enrolment: ["socket", "token"] } });
      await page.goto(new URL("#/identity", kit.base).href);
      await page.getByText("waits for 2 of 9 clients").waitFor();
      await page.getByRole("row", { name: /old-1/ }).getByText("expired").waitFor();
      assert.deepEqual(await page.getByRole("region", { name: "Identities" }).locator(".meter").evaluateAll((all) => all.map((e) => e.className.replace("meter ", ""))), ["bad", "bad", "fair", "good"], "the soonest first");
      await page.getByText("Not open here").waitFor();
      await picture(page, "identity-rotation");
      await page.setViewportSize(phone);
      await picture(page, "identity-rotation-phone");
      await page.quiet();
    });

    test("makes a token, shows it once, and revokes one", async () => {
      const page = await kit.open();
      const asked = await answer(page, {
        GetAuthority: authority, ListIdentities: identities, ListTokens: tokens, RevokeToken: {},
        CreateToken: { text: "tulle1.d7x91l7NwJU.secret.pin@127.0.0.1:18000", token: { id: "d7x91l7NwJU", service: "payments" } },
      });
      await page.goto(new URL("#/identity", kit.base).href);
      await page.getByRole("button", { name: "New token" }).click();
      const dialog = page.getByRole("dialog");
      await dialog.getByLabel("Service").fill("payments");
      await dialog.getByLabel("Networks").fill("10.0.0.0/8, 10.1.0.0/16");
      await picture(page, "identity-new-token", { full: false });
      await dialog.getByRole("button", { name: "Create" }).click();
      await dialog.getByText("tulle1.d7x91l7NwJU").waitFor();
      assert.deepEqual(asked.find((a) => a.method === "CreateToken").request, { service: "payments", ttl: "3600s", uses: 1, cidrs: ["10.0.0.0/8", "10.1.0.0/16"], address: "" });
      await dialog.getByRole("button", { name: "Done" }).click();
      assert.equal(await page.getByText("tulle1.").count(), 0, "the secret is gone from the page");
      await page.getByRole("button", { name: /Revoke d7x91l7NwJU/ }).click();
      await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
      await page.getByRole("dialog").waitFor({ state: "detached" });
      assert.deepEqual(asked.find((a) => a.method === "RevokeToken").request, { id: "d7x91l7NwJU" });
      await page.quiet();
    });
  });

  describe("a dialog", () => {
    const tokens = { tokens: [{ id: "d7x91l7NwJU", service: "payments", expires: at(3540), uses: 1, state: "usable" }] };
    for (const [path, name] of [["#/config", /Roll back to revision 6/], ["#/identity", /New token/], ["#/identity", /Revoke d7x91l7NwJU/]]) {
      test(`gives the focus back in the turn in which it closes, and opens again: ${name.source}`, async () => {
        const page = await kit.open();
        await answer(page, { List: objects, ListHistory: history, ListTokens: tokens, RollBack: { revision: "7" } });
        await page.goto(new URL(path, kit.base).href);
        const button = page.getByRole("button", { name });
        const dialog = page.getByRole("dialog");
        await button.focus();
        // What has the focus when the dialog goes: a moment later is too late for the next key.
        await page.evaluate(() => {
          new MutationObserver((changes) => {
            if (changes.some((c) => [...c.removedNodes].some((n) => n.nodeName === "DIALOG"))) window.heir = document.activeElement;
          }).observe(document.body, { childList: true, subtree: true });
        });
        const closes = {
          "Escape": () => page.keyboard.press("Escape"),
          "the browser": () => page.evaluate(() => document.querySelector("dialog").close()),
          "its button": () => dialog.getByRole("button", { name: "Cancel" }).click(),
        };
        for (const [by, close] of Object.entries(closes)) {
          await page.keyboard.press("Enter");
          await dialog.waitFor();
          await close();
          await page.locator("dialog").waitFor({ state: "detached" });
          assert.ok(await button.evaluate((e) => window.heir === e), `closed by ${by}`);
          assert.ok(await focused(button), `closed by ${by}`);
        }
        await page.quiet();
      });
    }
  });

  describe("without a session", () => {
    test("the page teaches how to get one, light and dark, wide and narrow", async () => {
      for (const [colorScheme, viewport] of [["light", undefined], ["dark", phone]]) {
        const page = await kit.open(undefined, { colorScheme, viewport, expected: [/status of 401/] });
        await page.route("**/api/**", (route) => route.fulfill({ status: 401, json: { code: "unauthenticated", message: "log in" } }));
        await page.goto(kit.base);
        await page.waitForURL("**/login");
        await page.getByText("xdsserver dashboard", { exact: true }).waitFor();
        await picture(page, `login-${colorScheme}`);
        await page.quiet();
      }
    });
  });
});
