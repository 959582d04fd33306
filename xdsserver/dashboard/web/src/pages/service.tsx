import { useMemo, useState } from "preact/hooks";
import { useServiceStats } from "../live";
import { serviceLink } from "../router";
import type { EdgeStat, EndpointStat, GetServiceStatsResponse, InstanceStat, MethodStat, RouteStat } from "../types";
import { Badge, Lock, Panel, Success } from "../ui/bits";
import { Chart, Heat, type Line } from "../ui/chart";
import { ago, brief, calls, latency, ms, percent, rps, success, until } from "../ui/format";
import { Table, type Column } from "../ui/table";
import { badges } from "./overview";

export function Service({ name }: { name: string }) {
  const stats = useServiceStats(name);
  const short = brief(name, 80);
  if (!stats) {
    return (
      <>
        <h1>{short}</h1>
        <p class="empty" role="status">Asking xdsserver … Where there is no such service nothing comes. <a href="#/">All services</a></p>
      </>
    );
  }
  const s = stats.service ?? {};
  return (
    <>
      <div class="panel-head">
        <h1>{short}</h1>
        <span>{badges(s)}</span>
        <a class="button" href={`#/tap?service=${encodeURIComponent(name)}`}>Tap its calls</a>
        <a href={`#/config?name=${encodeURIComponent(name)}`}>Configuration</a>
      </div>
      <dl class="tiles">
        <Tile name="Success" value={percent(success(s.inbound))} />
        <Tile name="Calls a second" value={rps(s.inbound)} />
        <Tile name="P50" value={latency(s.inbound, "p50Ms")} />
        <Tile name="P95" value={latency(s.inbound, "p95Ms")} />
        <Tile name="P99" value={latency(s.inbound, "p99Ms")} />
        <Tile name="Instances" value={`${s.healthy ?? 0}/${s.instances ?? 0}`} />
      </dl>
      <Charts stats={stats} name={name} />
      <Panel title="Routes" command={`xdsserver routes ${name}`}><Routes of={stats.routes ?? []} /></Panel>
      <div class="panels">
        <Panel title="Methods" command={`xdsserver top ${name}`}>
          <Table rows={stats.methods ?? []} columns={methods} label="methods" rowKey={(m) => m.method ?? ""} text={(m) => m.method ?? ""} sorted="Method" empty={<None what="No call came in the window." />} />
        </Panel>
        <Panel title="Instances" command={`xdsserver endpoints ${name}`}>
          <Table rows={stats.instances ?? []} columns={instances} label="instances" rowKey={(i) => `${i.instance}${i.addresses}`} text={(i) => i.instance ?? ""} sorted="Instance" empty={<None what="No process serves it now." />} />
        </Panel>
        <Panel title="Callers" command={`xdsserver edges ${name}`}><Edges of={stats.callers ?? []} other={(e) => e.source ?? ""} none="Nobody called it in the window." /></Panel>
        <Panel title="Callees"><Edges of={stats.callees ?? []} other={(e) => e.destination ?? ""} none="It called nobody in the window." /></Panel>
      </div>
      <Panel title="Endpoints as callers see them" command={`xdsserver explain ${name}`}>
        <Table
          rows={stats.endpoints ?? []} columns={endpoints} label="endpoints" rowKey={(e) => `${e.source}/${e.sourceInstance}/${e.cluster}/${e.address}`}
          text={(e) => `${e.source} ${e.sourceInstance} ${e.address} ${e.instance}`} sorted="Seen by" empty={<None what="No caller with the library is connected to it." />}
        />
      </Panel>
    </>
  );
}

function Tile({ name, value }: { name: string; value: string }) {
  return <div class="tile"><dt>{name}</dt><dd>{value}</dd></div>;
}

function None({ what }: { what: string }) {
  return <p class="empty">{what}</p>;
}

function Charts({ stats, name }: { stats: GetServiceStatsResponse; name: string }) {
  const [heat, setHeat] = useState(false);
  const points = stats.points ?? [];
  const data = useMemo(() => {
    const times = points.map((p) => Date.parse(p.at ?? "") / 1000);
    const of = (value: (p: (typeof points)[number]) => number | undefined) => points.map((p) => (calls(p.golden) > 0 ? value(p) ?? null : null));
    const took: Line[] = [
      { name: "p50", color: "--good", values: of((p) => p.golden?.p50Ms) },
      { name: "p95", color: "--fair", values: of((p) => p.golden?.p95Ms), dash: [6, 3] },
      { name: "p99", color: "--bad", values: of((p) => p.golden?.p99Ms), dash: [2, 3] },
    ];
    return {
      times,
      took,
      success: [{ name: "success", color: "--good", values: of((p) => 100 * (success(p.golden) ?? 1)) }] as Line[],
      rate: [{ name: "calls/s", color: "--accent", values: points.map((p) => p.golden?.rps ?? 0) }] as Line[],
      columns: points.map((p) => (p.buckets ?? []).map(Number)),
    };
  }, [stats]);
  if (points.every((p) => calls(p.golden) === 0)) {
    return <p class="empty">No call came in the window. Make one, and see it here: <code>xdsserver tap {name}</code></p>;
  }
  return (
    <div class="panels">
      <Panel
        title="Latency"
        extra={
          <span role="group" aria-label="Latency as">
            <button type="button" class="chip" aria-pressed={!heat} onClick={() => setHeat(false)}>percentiles</button>{" "}
            <button type="button" class="chip" aria-pressed={heat} onClick={() => setHeat(true)}>heat map</button>
          </span>
        }
      >
        {heat ? <Heat columns={data.columns} bounds={stats.boundsMs ?? []} label="how many calls took how long" /> : <Chart times={data.times} lines={data.took} unit=" ms" label="latency percentiles over time" />}
      </Panel>
      <Panel title="Calls"><Chart times={data.times} lines={data.rate} unit="" label="calls a second over time" height={190} /></Panel>
      <Panel title="Success"><Chart times={data.times} lines={data.success} unit="%" top={100.5} label="share of calls that succeed over time" height={140} /></Panel>
    </div>
  );
}

// Routes has two levels: what callers get above, what each backend gives below.
function Routes({ of }: { of: RouteStat[] }) {
  if (of.length === 0) return <None what="No caller with the library has called it in the window." />;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="routes">
      <table>
        <thead>
          <tr><th scope="col">Route</th><th scope="col">Backend</th><th scope="col" class="n">Success</th><th scope="col" class="n">RPS</th><th scope="col" class="n">P50</th><th scope="col" class="n">P95</th><th scope="col" class="n">P99</th><th scope="col" class="n">Timeouts</th><th scope="col" class="n">Retries</th></tr>
        </thead>
        <tbody>
          {of.flatMap((r) => [
            <tr key={`${r.route}/${r.source}`}>
              <td>{brief(r.route || "[default]")}{r.source ? <span class="quiet"> from {brief(r.source)}</span> : null}</td><td />
              <td class="n"><Success of={r.calls} /></td><td class="n">{rps(r.calls)}</td><td class="n">{latency(r.calls, "p50Ms")}</td><td class="n">{latency(r.calls, "p95Ms")}</td><td class="n">{latency(r.calls, "p99Ms")}</td>
              <td class="n">{percent(r.timeouts ?? 0)}</td><td class="n">{percent(r.retries ?? 0)}</td>
            </tr>,
            ...(r.backends ?? []).map((b) => (
              <tr key={`${r.route}/${r.source}/${b.cluster}`} class="sub">
                <td aria-hidden="true">└──►</td><td>{brief(b.cluster ?? "")}</td>
                <td class="n"><Success of={b.attempts} /></td><td class="n">{rps(b.attempts)}</td><td class="n">{latency(b.attempts, "p50Ms")}</td><td class="n">{latency(b.attempts, "p95Ms")}</td><td class="n">{latency(b.attempts, "p99Ms")}</td>
                <td class="n">{percent(b.timeouts ?? 0)}</td><td />
              </tr>
            )),
          ])}
        </tbody>
      </table>
    </div>
  );
}

const methods: Column<MethodStat>[] = [
  { name: "Method", by: (m) => m.method ?? "", cell: (m) => <span class="name" title={brief(m.method ?? "", 300)}>{brief((m.method ?? "").split("/").pop() || "-", 50)}</span> },
  { name: "Success", number: true, by: (m) => success(m.golden) ?? 2, cell: (m) => <Success of={m.golden} /> },
  { name: "RPS", number: true, by: (m) => m.golden?.rps ?? 0, cell: (m) => rps(m.golden) },
  { name: "P50", number: true, by: (m) => m.golden?.p50Ms ?? 0, cell: (m) => latency(m.golden, "p50Ms") },
  { name: "P99", number: true, by: (m) => m.golden?.p99Ms ?? 0, cell: (m) => latency(m.golden, "p99Ms") },
];

const instances: Column<InstanceStat>[] = [
  { name: "Instance", by: (i) => i.instance ?? "", cell: (i) => <><span class="name" title={(i.addresses ?? []).join(" ")}>{brief(i.instance ?? "", 30)}</span> {i.version && <Badge>{brief(i.version, 16)}</Badge>}</> },
  { name: "State", by: (i) => i.state ?? "", cell: (i) => <Badge kind={i.state === "healthy" ? "good" : i.state === "client" ? "" : "bad"}>{i.state || "-"}</Badge> },
  { name: "Zone", by: (i) => i.zone ?? "", cell: (i) => brief(i.zone || "-", 20) },
  { name: "Success", number: true, by: (i) => success(i.inbound) ?? 2, cell: (i) => <Success of={i.inbound} /> },
  { name: "RPS", number: true, by: (i) => i.inbound?.rps ?? 0, cell: (i) => rps(i.inbound) },
  { name: "Certificate", number: true, by: (i) => i.certificateExpires ?? "", cell: (i) => until(i.certificateExpires) },
  { name: "Configuration", cell: (i) => i.rejection ? <Badge kind="bad" title={brief(i.rejection, 300)}>refuses</Badge> : i.current ? <span title="the age of its stream">current, {ago(i.configured)}</span> : <Badge kind="fair">not current</Badge> },
];

const endpoints: Column<EndpointStat>[] = [
  { name: "Seen by", by: (e) => `${e.source} ${e.sourceInstance}`, cell: (e) => <>{brief(e.source ?? "", 24)} <span class="quiet">{brief(e.sourceInstance ?? "", 14)}</span></> },
  { name: "Endpoint", by: (e) => e.address ?? "", cell: (e) => <>{e.address} <span class="quiet">{brief(e.instance ?? "", 20)}</span></> },
  { name: "Cluster", by: (e) => e.cluster ?? "", cell: (e) => brief(e.cluster ?? "", 24) },
  { name: "EWMA", number: true, by: (e) => e.latencyMs ?? 0, cell: (e) => e.guess ? <span class="quiet" title="no call has told yet">{ms(e.latencyMs)} ?</span> : ms(e.latencyMs) },
  { name: "Open", number: true, by: (e) => e.open ?? 0, cell: (e) => e.open ?? 0 },
  { name: "Breaker", by: (e) => e.breaker ?? "", cell: (e) => <Badge kind={e.breaker === "open" ? "bad" : e.breaker === "half-open" ? "fair" : "good"}>{e.breaker || "-"}</Badge> },
  { name: "", cell: (e) => <>{e.ejected && <Badge kind="bad">ejected</Badge>}{e.local && <Badge>same zone</Badge>}{!e.inUse && <Badge>spare</Badge>}</> },
];

function Edges({ of, other, none }: { of: EdgeStat[]; other(e: EdgeStat): string; none: string }) {
  const columns: Column<EdgeStat>[] = [
    { name: "Service", by: other, cell: (e) => <><a class="name" href={serviceLink(other(e))}>{brief(other(e) || "outside", 30)}</a>{e.stock && <Badge title="a client without the library, known by its load reports">stock</Badge>}</> },
    { name: "Success", number: true, by: (e) => success(e.calls) ?? 2, cell: (e) => <Success of={e.calls} /> },
    { name: "RPS", number: true, by: (e) => e.calls?.rps ?? 0, cell: (e) => rps(e.calls) },
    { name: "P99", number: true, by: (e) => e.calls?.p99Ms ?? 0, cell: (e) => latency(e.calls, "p99Ms") },
    { name: "Retries", number: true, by: (e) => Number(e.retries ?? 0), cell: (e) => e.retries ?? "0" },
    { name: "Secured", cell: (e) => <Lock security={e.security} /> },
  ];
  return <Table rows={of} columns={columns} label="edges" rowKey={(e) => `${e.source}\n${e.destination}`} sorted="Service" empty={<None what={none} />} />;
}
