import { Fragment } from "preact";
import { useMemo, useState } from "preact/hooks";
import type { ConfigObject, GetStatusResponse, ListHistoryResponse, ListResponse } from "../types";
import { YamlView } from "../yaml/view";
import { Problems, refText } from "./change";
import { Clients } from "./clients";
import { History } from "./history";
import { madeOf, refusal, type Refusal } from "./rejections";
import { useLive, useSession } from "../live";
import { useAsked } from "./asked";
import { ago } from "./time";

type Held = { objects: ConfigObject[]; revision: string; refusals: Map<string, Refusal[]>; strays: Refusal[] };

// Config shows the objects, who has them, what is wrong with them, and what they were.
export function Config({ query }: { query: URLSearchParams }) {
  const session = useSession();
  const { status, revision: stored } = useLive();
  const list = useAsked<ListResponse>("List", stored);
  const history = useAsked<ListHistoryResponse>("ListHistory", stored);
  const [chosen, setChosen] = useState<string | undefined>(query.get("object") ?? undefined);
  const [filter, setFilter] = useState("");

  const held = useMemo(() => hold(list.value, status), [list.value, status]);
  const mayApply = session?.may.includes("apply") ?? false;
  const wanted = filter.trim().toLowerCase();
  const shown = held.objects.filter((o) => wanted === "" || refText(o.ref).toLowerCase().includes(wanted) || (o.origin ?? "").toLowerCase().includes(wanted));

  return (
    <>
      <h1>Configuration</h1>
      <Publication status={status} revision={held.revision} />
      {list.error && <p class="notice bad" role="alert">{list.error}</p>}
      <section class="panel" aria-labelledby="objects">
        <div class="bar">
          <h2 id="objects" class="bar-text">Objects</h2>
          {held.objects.length > 8 && <input type="search" aria-label="Filter objects" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />}
          <a class="button" href="#/apply">{mayApply ? "Apply" : "Editor"}</a>
        </div>
        {list.value && held.objects.length === 0 ? <NoObjects /> : <Objects of={shown} refusals={held.refusals} chosen={chosen} onChoose={setChosen} />}
      </section>
      {held.strays.length > 0 && (
        <section class="panel" aria-labelledby="strays">
          <h2 id="strays">Refused by clients</h2>
          <p class="quiet">Resources that are made of no object that is here.</p>
          <Refusals of={held.strays} />
        </section>
      )}
      <History history={history} mayApply={mayApply} revision={held.revision} />
      <Clients status={status} />
    </>
  );
}

function hold(list: ListResponse | undefined, status: GetStatusResponse | undefined): Held {
  const objects = list?.objects ?? [];
  const refusals = new Map<string, Refusal[]>();
  const strays: Refusal[] = [];
  for (const rejection of status?.rejections ?? []) {
    const makers = madeOf(rejection, objects);
    if (makers.length === 0) strays.push(refusal(rejection));
    for (const maker of makers) {
      const name = refText(maker.ref);
      refusals.set(name, [...(refusals.get(name) ?? []), refusal(rejection)]);
    }
  }
  return { objects, revision: list?.revision ?? "0", refusals, strays };
}

function Publication({ status, revision }: { status: GetStatusResponse | undefined; revision: string }) {
  if (!status) return null;
  const clients = status.clients ?? [];
  const current = clients.filter((c) => c.current).length;
  const behind = clients.length - current;
  const broken = (status.sources ?? []).filter((s) => s.error);
  return (
    <>
      <dl class="tiles">
        <div class="tile"><dt>Store revision</dt><dd>{revision}</dd></div>
        <div class="tile"><dt>Published</dt><dd>{status.snapshot ?? "-"} <span class="quiet">{ago(status.published)}</span></dd></div>
        <div class="tile">
          <dt>Clients that have it</dt>
          <dd>
            <span class={`dot ${behind > 0 ? "fair" : clients.length > 0 ? "good" : ""}`} aria-hidden="true" /> {current} of {clients.length}
          </dd>
        </div>
        <div class="tile">
          <dt>Refused</dt>
          <dd>
            <span class={`dot ${(status.rejections ?? []).length > 0 ? "bad" : "good"}`} aria-hidden="true" /> {(status.rejections ?? []).length}
          </dd>
        </div>
      </dl>
      {broken.map((source) => (
        <p key={source.name} class="notice bad">
          {source.name} serves its last good set of {ago(source.updated)}: {source.error}
        </p>
      ))}
    </>
  );
}

type ObjectsProps = { of: ConfigObject[]; refusals: Map<string, Refusal[]>; chosen: string | undefined; onChoose(name: string | undefined): void };

function Objects({ of, refusals, chosen, onChoose }: ObjectsProps) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Objects">
      <table class="lines">
        <thead>
          <tr>
            <th scope="col">Object</th>
            <th scope="col">State</th>
            <th scope="col" class="n">Revision</th>
            <th scope="col">Origin</th>
            <th scope="col">Changed</th>
          </tr>
        </thead>
        <tbody>
          {of.map((object) => {
            const name = refText(object.ref);
            const refused = refusals.get(name) ?? [];
            const opened = chosen === name;
            return (
              <Fragment key={name}>
                <tr class={opened ? "opened" : undefined}>
                  <td class="clip">
                    <button type="button" class="reveal" aria-expanded={opened} onClick={() => onChoose(opened ? undefined : name)}>
                      <span class="quiet">{object.ref?.kind}</span> {refText(object.ref).slice((object.ref?.kind ?? "").length + 1)}
                    </button>
                  </td>
                  <td><State problems={object.problems ?? []} refused={refused.length} /></td>
                  <td class="n">{object.revision && object.revision !== "0" ? object.revision : "-"}</td>
                  <td class="clip"><code>{object.origin}</code></td>
                  <td>{ago(object.changed)}</td>
                </tr>
                {opened && (
                  <tr class="details">
                    <td colSpan={5}><div class="within"><Opened object={object} refused={refused} /></div></td>
                  </tr>
                )}
              </Fragment>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function State({ problems, refused }: { problems: { warning?: boolean }[]; refused: number }) {
  const errors = problems.filter((p) => !p.warning).length;
  if (errors > 0) return <span class="status bad">set aside</span>;
  if (refused > 0) return <span class="status bad">refused by {refused} {refused === 1 ? "client" : "clients"}</span>;
  if (problems.length > 0) return <span class="status fair">{problems.length} {problems.length === 1 ? "warning" : "warnings"}</span>;
  return <span class="status good">served</span>;
}

function Opened({ object, refused }: { object: ConfigObject; refused: Refusal[] }) {
  const { kind = "", namespace = "", name = "" } = object.ref ?? {};
  const edit = new URLSearchParams({ kind, namespace, name });
  const applied = (object.origin ?? "").startsWith("applied");
  return (
    <div class="opened-object">
      <Problems of={object.problems ?? []} />
      <Refusals of={refused} />
      <YamlView source={object.yaml ?? ""} label={`${refText(object.ref)} as YAML`} />
      <p class="actions">
        {applied ? <a class="button" href={`#/apply?${edit}`}>Edit</a> : <span class="quiet">It belongs to {object.origin}: change it there.</span>}
        <code class="quiet">xdsserver get {kind} {name}{namespace && namespace !== "default" ? ` -n ${namespace}` : ""} -o yaml</code>
      </p>
    </div>
  );
}

// Refusals are NACKs: what a client would not take, and why, in its own words.
function Refusals({ of }: { of: Refusal[] }) {
  if (of.length === 0) return null;
  return (
    <ul class="problems" aria-label="Refused by clients">
      {of.map((r, i) => (
        <li key={i} class="bad">
          <span class="problem-kind">Refused</span> by <code>{r.node}</code> {ago(r.at)}: {r.kind} <code>{r.resource || "(not said)"}</code>
          <p class="reason">{r.reason}</p>
        </li>
      ))}
    </ul>
  );
}

function NoObjects() {
  return (
    <div class="empty">
      <p>No object yet, and none is needed: every service that joins can be called by every process of the mesh, over mutual TLS.</p>
      <p>To shift traffic, bound time, retry or say who may call: <a href="#/apply">Apply</a> has templates.</p>
    </div>
  );
}
