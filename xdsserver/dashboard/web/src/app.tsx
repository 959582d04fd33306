import { useEffect, useState } from "preact/hooks";
import { LiveProvider, useLive, windows } from "./live";
import { usePlace, type Place } from "./router";
import { Apply } from "./pages/apply";
import { Config } from "./pages/config";
import { Identity } from "./pages/identity";
import { Overview } from "./pages/overview";
import { Service } from "./pages/service";
import { Tap } from "./pages/tap";
import { Topology } from "./pages/topology";

export function App() {
  return (
    <LiveProvider>
      <Frame />
    </LiveProvider>
  );
}

const pages = [
  { path: "", name: "Overview" },
  { path: "topology", name: "Topology" },
  { path: "tap", name: "Tap" },
  { path: "config", name: "Configuration" },
  { path: "identity", name: "Identity" },
  { path: "apply", name: "Apply" },
];

function Frame() {
  const place = usePlace();
  const live = useLive();
  const at = place.path[0] ?? "";
  useEffect(() => {
    const page = at === "service" ? place.path[1] : pages.find((p) => p.path === at)?.name;
    document.title = page ? `${page} · Tulle` : "Tulle";
  }, [at, place]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")!.focus(); }}>Skip to the page</a>
      <header class="top">
        <a class="brand" href="#/" aria-label="Tulle, overview">
          <svg viewBox="0 0 32 32" aria-hidden="true" class="brand-mark">
            <path d="M4 9c8 6 16 6 24 0M4 16c8 6 16 6 24 0M4 23c8 6 16 6 24 0M9 4c6 8 6 16 0 24M16 4c6 8 6 16 0 24M23 4c6 8 6 16 0 24" />
          </svg>
          Tulle
        </a>
        <nav aria-label="Pages">
          {pages.map((page) => (
            <a key={page.path} href={`#/${page.path}`} aria-current={page.path === at || (page.path === "" && at === "service") ? "page" : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        <div class="top-end">
          <label class="window">
            <span class="hidden">Window</span>
            <select value={live.window} onChange={(event) => live.setWindow(event.currentTarget.value)}>
              {windows.map((w) => (
                <option key={w.value} value={w.value}>{w.name}</option>
              ))}
            </select>
          </label>
          <Theme />
          <Who />
        </div>
      </header>
      {!live.connected && <p class="lost" role="alert">xdsserver does not answer. The mesh goes on without it; this page tries again by itself.</p>}
      <main id="main" tabIndex={-1}>
        <Page place={place} />
      </main>
    </>
  );
}

function Page({ place }: { place: Place }) {
  switch (place.path[0] ?? "") {
    case "":
      return <Overview />;
    case "topology":
      return <Topology query={place.query} />;
    case "service":
      return <Service key={place.path[1]} name={place.path[1] ?? ""} />;
    case "tap":
      return <Tap query={place.query} />;
    case "config":
      return <Config query={place.query} />;
    case "identity":
      return <Identity />;
    case "apply":
      return <Apply query={place.query} />;
  }
  return (
    <>
      <h1>Nothing here</h1>
      <p class="empty">There is no such page. <a href="#/">Back to the overview</a></p>
    </>
  );
}

const themes = ["system", "light", "dark"] as const;

// Theme goes through what the system says, light, and dark.
function Theme() {
  const [theme, setTheme] = useState(() => localStorage.getItem("tulle.theme") ?? "system");
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem("tulle.theme", theme);
  }, [theme]);
  const next = themes[(themes.indexOf(theme as (typeof themes)[number]) + 1) % themes.length]!;
  return (
    <button type="button" class="plain" title={`Colours: ${theme}. Change to ${next}`} aria-label={`Colours: ${theme}. Change to ${next}`} onClick={() => setTheme(next)}>
      {theme === "system" ? "◐" : theme === "light" ? "☀" : "☾"}
    </button>
  );
}

function Who() {
  const { session } = useLive();
  if (!session) return null;
  const leave = async () => {
    await fetch("/api/logout", { method: "POST", headers: { "Tulle-Request": "1" } }).catch(() => {});
    location.assign("/login");
  };
  return (
    <button type="button" class="plain" title={`${session.name}: may ${session.may.join(", ")}`} onClick={leave}>
      Log out
    </button>
  );
}
