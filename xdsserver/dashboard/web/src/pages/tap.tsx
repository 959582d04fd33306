import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { GetServiceStatsResponse } from "../types";
import { TapForm } from "./tapform";
import { TapTable } from "./taptable";
import { emptyTap, tapQuery, type TapForm as Form } from "./tapcommand";
import { idle, maxRows, TapStream, type Row, type TapState } from "./tapstream";
import { call } from "../api";
import { useServices, useSession } from "../live";

// Tap shows single calls as the processes themselves see them. The tap is open while the
// page is: leaving it ends it.
export function Tap({ query }: { query: URLSearchParams }) {
  const session = useSession();
  const services = useServices();
  const mayPayload = session?.may.includes("payload") ?? false;
  const [typed, setForm] = useState<Form>(() => formOf(query));
  // What stands in an address gives no permission.
  const form = { ...typed, payload: typed.payload && mayPayload };
  const [state, setState] = useState<TapState>(idle);
  const [held, setHeld] = useState<Row[] | undefined>(); // the rows while paused
  const [filter, setFilter] = useState("");
  const stream = useRef<TapStream>(undefined);

  const methods = useMethods(form.to.trim() || form.service.trim(), services);

  const stop = () => {
    stream.current?.close();
    stream.current = undefined;
  };
  useEffect(() => stop, []);

  const start = () => {
    stop();
    setHeld(undefined);
    const asked = tapQuery(form);
    window.history.replaceState(null, "", `#/tap?${asked}`);
    stream.current = new TapStream(asked, setState);
  };

  const running = state.phase === "opening" || state.phase === "open";
  const rows = held ?? state.rows;
  const shown = useMemo(() => filtered(rows, filter), [rows, filter]);
  const mayTap = session?.may.includes("tap") ?? false;

  return (
    <>
      <h1>Tap</h1>
      <p class="quiet lead">Single calls as the processes themselves see them, while this page is open. Each tap is a line in the audit log.</p>
      {session && !mayTap && <p class="notice">This login may not tap. One that may: <code>xdsserver dashboard --may view,tap</code></p>}
      <TapForm
        form={form}
        services={services}
        methods={methods}
        mayTap={mayTap}
        mayPayload={mayPayload}
        running={running}
        onChange={setForm}
        onStart={start}
        onStop={() => {
          stop();
          setState({ ...state, phase: "over", error: undefined });
        }}
      />
      {state.error && <p class="notice bad" role="alert">{state.error}</p>}
      {state.phase !== "idle" && (
        <section class="panel" aria-label="Calls">
          <div class="bar">
            <p class="bar-text" role="status">{standing(state, running)}</p>
            <input type="search" aria-label="Filter" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
            <button type="button" aria-pressed={held !== undefined} disabled={!running && !held} onClick={() => setHeld(held ? undefined : state.rows)}>
              {held ? "Go on" : "Pause"}
            </button>
            <button type="button" disabled={rows.length === 0} onClick={() => { setHeld(undefined); stream.current ? stream.current.clear() : setState({ ...state, rows: [], seen: 0 }); }}>
              Clear
            </button>
          </div>
          {shown.length > 0 ? <TapTable rows={shown} /> : <Nothing state={state} filter={filter} running={running} />}
        </section>
      )}
    </>
  );
}

// useMethods returns the methods that a service was called by, for completion.
function useMethods(service: string, services: string[]): string[] {
  const [methods, setMethods] = useState<string[]>([]);
  const known = services.includes(service);
  useEffect(() => {
    setMethods([]);
    if (!known) return;
    let gone = false;
    call<GetServiceStatsResponse>("GetServiceStats", { service, window: "3600s" }).then(
      (stats) => !gone && setMethods((stats.methods ?? []).map((m) => m.method ?? "")),
      () => {}, // then nothing is completed
    );
    return () => {
      gone = true;
    };
  }, [service, known]);
  return methods;
}

function Nothing({ state, filter, running }: { state: TapState; filter: string; running: boolean }) {
  if (filter !== "" && state.rows.length > 0) return <p class="empty">None of {state.rows.length} calls has “{filter}” in it.</p>;
  if (!running) return <p class="empty">No call was seen.</p>;
  if (state.phase === "opening") return <p class="empty">Asking the processes …</p>;
  if (state.of === 0) return <p class="empty">No process of this service is connected. Start one, and it is tapped at once.</p>;
  return <p class="empty">Nothing yet: no call that matches was made. Try a wider method, or no To and From.</p>;
}

function standing(state: TapState, running: boolean): string {
  const calls = `${state.seen} ${state.seen === 1 ? "call" : "calls"}`;
  const parts = [calls];
  if (running) parts.push(`${state.processes} of ${state.of} processes tap`);
  if (state.dropped > 0) parts.push(`${state.dropped} more were too many to be told`);
  if (state.seen > maxRows) parts.push(`the last ${maxRows} are kept`);
  if (running && state.until) parts.push(`until ${new Date(state.until).toLocaleTimeString()}`);
  if (!running) parts.push("the tap is over");
  return parts.join(" · ");
}

function filtered(rows: Row[], filter: string): Row[] {
  const wanted = filter.trim().toLowerCase();
  if (wanted === "") return rows;
  return rows.filter((row) =>
    [row.source, row.destination, row.method, row.status, row.message, row.endpoint, row.route, row.cluster, row.reporterInstance].some((text) =>
      text?.toLowerCase().includes(wanted),
    ),
  );
}

function formOf(query: URLSearchParams): Form {
  const text = (name: string) => (query.get(name) ?? "").slice(0, 1024);
  return {
    ...emptyTap,
    service: text("service"),
    instance: text("instance"),
    to: text("to"),
    from: text("from"),
    method: text("method"),
    metadata: query.getAll("metadata").join("\n").slice(0, 4096),
    failures: query.get("failures") === "1",
    maxRps: text("maxRps") || emptyTap.maxRps,
    payload: query.get("payload") === "1",
  };
}
