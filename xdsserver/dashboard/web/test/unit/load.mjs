// What the unit tests stand on: modules of src, compiled as the build compiles them. No
// browser is there, so that only modules without a page can be loaded.

import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

// Texts that others may send, and that must stay text.
export const hostile = [
  "<img src=x onerror=alert(1)>",
  "</script><script>alert(2)</script>",
  `"><svg onload=alert(3)>' "`,
  "a\u0000b\u0007c\td\u2028e",
  "\u202Egnitov\u202C \u05D0\u05D1",
  "\u{1F9F5}\uD800",
  "__proto__",
  "constructor: {toString: [",
  "$(reboot) `reboot` $HOME \\",
  " ".repeat(500) + "#",
  '"'.repeat(501),
  "[{".repeat(500),
];

export async function load(path) {
  const { module } = await runnerImport(fileURLToPath(new URL(`../../src/${path}`, import.meta.url)), { configFile: false, logLevel: "error" });
  return module;
}
