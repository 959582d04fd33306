import { defineConfig } from "vite";

// The page is built into ../dist, which is committed and embedded in xdsserver. Names hold
// hashes of their contents, so that a browser may keep what it has.
export default defineConfig({
  base: "/",
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    target: "es2022",
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
});
