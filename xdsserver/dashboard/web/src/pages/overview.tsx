import { useEffect, useRef } from "preact/hooks";
import { useLive } from "../live";
import { serviceLink } from "../router";
import type { GetGraphResponse, ServiceStat } from "../types";
import { Badge, Command, Panel, Spark, Success } from "../ui/bits";
import { brief, calls, latency, ms, percent, rps, success } from "../ui/format";
import { Table, type Column } from "../ui/table";

const kept = 60; // frames of the small curves

// useHistory keeps what each service's rate was while the page is open.
function useHistory(graph: GetGraphResponse | undefined): Map<string, number[]> {
  const history = useRef(new Map<string, number[]>());
  useEffect(() => {
    for (const service of graph?.services ?? []) {
      const name = service.service ?? "";
      history.current.set(name, [...(history.current.get(name) ?? []), service.inbound?.rps ?? 0].slice(-kept));
    }
  }, [graph?.at]);
  return history.current;
}

export function Overview() {
  const { graph, status } = useLive();
  const history = useHistory(graph);
  if (!graph) return <><h1>Overview</h1><p class="empty" role="status">Asking xdsserver …</p></>;
  const services = graph.services ?? [];
  return (
    <>
      <h1>Overview</h1>
      <Trouble />
      <Tiles graph={graph} clients={status?.clients?.length ?? 0} />
      <Panel title="Services" command="xdsserver stat -w">
        <Table
          rows={services} columns={columns(history)} label="services" rowKey={(s) => s.service ?? ""} text={(s) => s.service ?? ""} sorted="Service"
          empty={<Teach />}
        />
      </Panel>
    </>
  );
}

function Teach() {
  return (
    <div class="empty">
      <p>No service is in the mesh yet. In a Go service two lines change: <code>mesh.NewClient("mesh:///voting")</code> and <code>mesh.NewServer()</code>.</p>
      <Command text="go run ./examples/demo" />
    </div>
  );
}

// Trouble is what is wrong, each with where to mend it.
function Trouble() {
  const { status } = useLive();
  const problems = (status?.problems ?? []).filter((p) => !p.warning);
  const rejections = status?.rejections ?? [];
  if (problems.length + rejections.length === 0) return null;
  return (
    <div class="notice bad" role="alert">
      <b>{problems.length + rejections.length === 1 ? "One thing is wrong" : `${problems.length + rejections.length} things are wrong`}</b>
      <ul>
        {problems.slice(0, 5).map((p, i) => (
          <li key={i}>{p.object?.kind} {p.object?.name} {p.field}: {p.message}</li>
        ))}
        {rejections.slice(0, 5).map((r, i) => (
          <li key={`r${i}`}>{brief(r.node ?? "")} refuses {r.type?.split(".").pop()} {brief(r.resource ?? "")}: {brief(r.reason ?? "", 200)}</li>
        ))}
      </ul>
      <a href="#/config">Configuration</a>
    </div>
  );
}

function Tiles({ graph, clients }: { graph: GetGraphResponse; clients: number }) {
  const edges = graph.edges ?? [];
  const services = graph.services ?? [];
  let all = 0;
  let failed = 0;
  let rate = 0;
  for (const edge of edges) {
    all += calls(edge.calls);
    failed += Number(edge.calls?.failures ?? 0);
    rate += edge.calls?.rps ?? 0;
  }
  const secured = edges.filter((e) => e.security === "mtls").length;
  const worst = services.reduce((most, s) => Math.max(most, s.inbound?.timed ? s.inbound.p99Ms ?? 0 : 0), 0);
  const instances = services.reduce((n, s) => n + (s.instances ?? 0), 0);
  const healthy = services.reduce((n, s) => n + (s.healthy ?? 0), 0);
  return (
    <dl class="tiles">
      <Tile name="Success" value={percent(all > 0 ? 1 - failed / all : undefined)} note={`${failed} of ${all} calls failed`} />
      <Tile name="Calls a second" value={all > 0 ? rate.toFixed(rate >= 100 ? 0 : 1) : "-"} note={`between ${services.length} services`} />
      <Tile name="Slowest p99" value={ms(worst)} note="of any service" />
      <Tile name="Instances" value={`${healthy}/${instances}`} note="healthy" />
      <Tile name="Secured" value={edges.length > 0 ? `${secured}/${edges.length}` : "-"} note="edges by mutual TLS" />
      <Tile name="Connected" value={String(clients)} note="processes that hold a stream" />
    </dl>
  );
}

function Tile({ name, value, note }: { name: string; value: string; note: string }) {
  return (
    <div class="tile">
      <dt>{name}</dt>
      <dd>{value}<small>{note}</small></dd>
    </div>
  );
}

function columns(history: Map<string, number[]>): Column<ServiceStat>[] {
  return [
    {
      name: "Service", by: (s) => s.service ?? "",
      cell: (s) => <a class="name" href={serviceLink(s.service ?? "")} title={brief(s.service ?? "", 300)}>{brief(s.service ?? "")}</a>,
    },
    { name: "Meshed", number: true, by: (s) => s.meshed ?? 0, cell: (s) => `${s.meshed ?? 0}/${s.instances ?? 0}` },
    { name: "Success", number: true, by: (s) => success(s.inbound) ?? 2, cell: (s) => <Success of={s.inbound} /> },
    { name: "RPS", number: true, by: (s) => s.inbound?.rps ?? 0, cell: (s) => rps(s.inbound) },
    { name: "", cell: (s) => <Spark values={history.get(s.service ?? "") ?? []} label="calls a second since the page was opened" /> },
    { name: "P50", number: true, by: (s) => s.inbound?.p50Ms ?? 0, cell: (s) => latency(s.inbound, "p50Ms") },
    { name: "P95", number: true, by: (s) => s.inbound?.p95Ms ?? 0, cell: (s) => latency(s.inbound, "p95Ms") },
    { name: "P99", number: true, by: (s) => s.inbound?.p99Ms ?? 0, cell: (s) => latency(s.inbound, "p99Ms") },
    { name: "", cell: badges },
  ];
}

export function badges(s: ServiceStat) {
  const versions = s.versions ?? [];
  const down = (s.instances ?? 0) - (s.healthy ?? 0);
  return (
    <>
      {down > 0 && <Badge kind="bad" title="instances that take no calls">{down} down</Badge>}
      {(s.breakersOpen ?? 0) > 0 && <Badge kind="bad" title="endpoints that some caller's breaker keeps calls from">breaker {s.breakersOpen}</Badge>}
      {(s.ejected ?? 0) > 0 && <Badge kind="fair" title="endpoints that outlier detection ejected">ejected {s.ejected}</Badge>}
      {versions.length > 1 && versions.slice(0, 4).map((v) => (
        <Badge key={v.version} title={`${rps(v.golden)} calls a second, ${percent(success(v.golden))}`}>{brief(v.version || "no version", 16)}</Badge>
      ))}
    </>
  );
}
