import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { YamlEditor, type Editor, type Mark } from "../yaml/editor";
import { templates } from "../yaml/templates";
import { Changes, refText } from "./change";
import { Rollout } from "./rollout";
import { Validator, type Placed, type Verdict } from "./validation";
import type { ListResponse } from "../types";
import { call, errorText } from "../api";
import { useSession } from "../live";

const draftKey = "tulle.draft";

// Apply is the one place where the mesh is changed: what is typed is judged as it is
// typed, and what would change is on the screen before it does.
export function Apply({ query }: { query: URLSearchParams }) {
  const session = useSession();
  const [source, setSource] = useState(() => sessionStorage.getItem(draftKey) ?? "");
  const [verdict, setVerdict] = useState<Verdict>({ state: "empty" });
  const [rollout, setRollout] = useState<{ source: string; ifRevision?: string }>();
  const [loading, setLoading] = useState<string>();
  const editor = useRef<Editor>(null);
  const validator = useRef<Validator>(undefined);
  validator.current ??= new Validator(setVerdict);
  useEffect(() => () => validator.current?.close(), []);

  useEffect(() => {
    validator.current!.ask(source);
    try {
      sessionStorage.setItem(draftKey, source);
    } catch {
      // It is too large to be kept; it only lasts as long as the page then.
    }
  }, [source]);

  // An object that is to be edited comes by the address: #/apply?kind=..&name=..
  const wanted = query.get("name") ? query.toString() : "";
  useEffect(() => {
    if (wanted === "") return;
    const ref = { kind: query.get("kind") ?? "", namespace: query.get("namespace") || "default", name: query.get("name") ?? "" };
    call<ListResponse>("List", ref).then(
      ({ objects = [] }) => {
        if (objects[0]?.yaml) setSource(objects[0].yaml);
        else setLoading(`There is no ${refText(ref)} any more.`);
        window.history.replaceState(null, "", "#/apply");
      },
      (error) => setLoading(errorText(error)),
    );
  }, [wanted]);

  const mayApply = session?.may.includes("apply") ?? false;
  const problems = verdict.state === "judged" ? verdict.problems : [];
  const marks = useMemo(
    () => problems.filter((p) => p.line !== undefined).map((p): Mark => ({ line: p.line!, warning: p.warning ?? false })),
    [problems],
  );
  const ready = verdict.state === "judged" && verdict.source === source && !problems.some((p) => !p.warning);
  const changes = verdict.state === "judged" ? (verdict.answer.results ?? []) : [];
  const anything = changes.some((c) => c.action === "ACTION_CREATED" || c.action === "ACTION_CONFIGURED");

  const apply = () => {
    if (!mayApply || !ready || !anything || verdict.state !== "judged") return;
    setRollout({ source, ifRevision: verdict.answer.revision });
  };

  return (
    <>
      <h1>Apply</h1>
      {session && !mayApply && <p class="notice">This login may look and not change. One that may: <code>xdsserver dashboard --may view,apply</code></p>}
      {loading && <p class="notice bad" role="alert">{loading}</p>}
      <div class="apply">
        <section class="panel" aria-label="Editor">
          <div class="templates" role="group" aria-label="Begin from">
            <span class="quiet">Begin from</span>
            {templates.map((template) => (
              <button key={template.name} type="button" class="chip" title={template.about} onClick={() => setSource(joined(source, template.yaml))}>
                {template.name}
              </button>
            ))}
          </div>
          <YamlEditor value={source} label="Objects as YAML" marks={marks} describedBy="verdict" handle={editor} onInput={setSource} onSubmit={apply} />
          <p class="quiet keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> applies, <kbd>Ctrl</kbd> <kbd>]</kbd> and <kbd>[</kbd> indent, <kbd>Tab</kbd> leaves the editor.</p>
        </section>
        <section aria-label="What would change" class="panel">
          <div class="bar">
            <p id="verdict" class="bar-text" role="status">{summary(verdict)}</p>
            <button type="button" disabled={source === ""} onClick={() => setSource("")}>Clear</button>
            <button type="button" class="primary" disabled={!mayApply || !ready || !anything || rollout !== undefined} onClick={apply}>Apply</button>
          </div>
          <PlacedProblems of={problems} onJump={(p) => editor.current?.jump(p.line!, p.column ?? 1)} />
          {rollout && <Rollout source={rollout.source} ifRevision={rollout.ifRevision} onStored={() => validator.current!.ask(source, 0)} onDone={() => setRollout(undefined)} />}
          {verdict.state === "empty" ? <Teach /> : <Changes of={changes} />}
        </section>
      </div>
    </>
  );
}

function Teach() {
  return (
    <div class="empty">
      <p>Write or paste objects at the left, or begin from a template. What they would change stands here before anything does.</p>
      <p>In a terminal: <code>xdsserver diff -f mesh.yaml</code>, then <code>xdsserver apply -f mesh.yaml --wait 5s</code></p>
    </div>
  );
}

function PlacedProblems({ of, onJump }: { of: Placed[]; onJump(p: Placed): void }) {
  if (of.length === 0) return null;
  return (
    <ul class="problems" aria-label="Problems">
      {of.map((p, i) => (
        <li key={i} class={p.warning ? "fair" : "bad"}>
          <span class="problem-kind">{p.warning ? "Warning" : "Error"}</span>{" "}
          {p.line !== undefined && (
            <button type="button" class="link" onClick={() => onJump(p)}>
              line {p.line}{p.column !== undefined && `, column ${p.column}`}
            </button>
          )}{" "}
          {p.field && <code>{p.field}</code>} {p.message}
        </li>
      ))}
    </ul>
  );
}

function summary(verdict: Verdict): string {
  switch (verdict.state) {
    case "empty":
      return "Nothing to judge yet.";
    case "asking":
      return "Judging …";
    case "failed":
      return verdict.error;
    case "judged": {
      const errors = verdict.problems.filter((p) => !p.warning).length;
      const warnings = verdict.problems.length - errors;
      if (errors > 0) return `${count(errors, "error")}: it would be refused.`;
      const results = verdict.answer.results ?? [];
      const changed = results.filter((r) => r.action !== "ACTION_UNCHANGED").length;
      const rest = warnings > 0 ? `, ${count(warnings, "warning")}` : "";
      return changed === 0 ? `Valid${rest}; nothing would change.` : `Valid${rest}; ${count(changed, "object")} would change.`;
    }
  }
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

// joined puts a template behind what is there.
function joined(source: string, yaml: string): string {
  if (source.trim() === "") return yaml;
  return `${source.replace(/\n*$/, "\n")}---\n${yaml}`;
}
