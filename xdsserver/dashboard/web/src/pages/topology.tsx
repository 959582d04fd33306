import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useLive } from "../live";
import { serviceLink } from "../router";
import { box, curve, layoutOf, type Layout, type Link, type Node } from "../topology/layout";
import type { EdgeStat } from "../types";
import { Command, Lock, Success } from "../ui/bits";
import { brief, calls, health, latency, percent, rps, success } from "../ui/format";

type View = { x: number; y: number; scale: number };

// Topology is the mesh as a picture: services call to the right.
export function Topology({ query }: { query: URLSearchParams }) {
  const { graph } = useLive();
  const last = useRef<Layout | undefined>(undefined);
  const layout = useMemo(() => {
    if (graph) last.current = layoutOf(graph.services ?? [], graph.edges ?? [], last.current);
    return last.current;
  }, [graph]);
  const [search, setSearch] = useState(query.get("q") ?? "");
  const [over, setOver] = useState<string>();
  const wanted = search.trim().toLowerCase();
  if (!layout) return <><h1>Topology</h1><p class="empty" role="status">Asking xdsserver …</p></>;
  if (layout.nodes.length === 0) {
    return (
      <>
        <h1>Topology</h1>
        <div class="empty"><p>No service is in the mesh yet. Start some, and who calls whom appears here.</p><Command text="go run ./examples/demo" /></div>
      </>
    );
  }
  return (
    <>
      <div class="panel-head">
        <h1>Topology</h1>
        <input type="search" placeholder="Find a service" aria-label="Find a service" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
        <p class="quiet legend">
          <span class="edge-key good" /> over 95% succeed <span class="edge-key fair" /> over 90% <span class="edge-key bad" /> less <span class="edge-key none" /> no calls · √ mutual TLS
        </p>
      </div>
      <Picture layout={layout} shows={(n) => wanted === "" || n.name.toLowerCase().includes(wanted)} over={over} setOver={setOver} />
      <Command text="xdsserver edges" />
      <Detail layout={layout} name={over} />
    </>
  );
}

function Picture({ layout, shows, over, setOver }: { layout: Layout; shows(n: Node): boolean; over?: string; setOver(name?: string): void }) {
  const svg = useRef<SVGSVGElement>(null);
  const [view, setView] = useState<View>();
  const drag = useRef<{ x: number; y: number; view: View } | undefined>(undefined);
  const fit = () => {
    const area = svg.current?.getBoundingClientRect();
    if (!area) return;
    const scale = Math.min(1.15, area.width / layout.width, area.height / layout.height);
    setView({ scale, x: (area.width - layout.width * scale) / 2, y: (area.height - layout.height * scale) / 2 });
  };
  useEffect(fit, [layout.width, layout.height]);
  useEffect(() => {
    addEventListener("resize", fit);
    return () => removeEventListener("resize", fit);
  });
  const zoom = (by: number, x?: number, y?: number) => {
    const area = svg.current!.getBoundingClientRect();
    const at = { x: x ?? area.width / 2, y: y ?? area.height / 2 };
    setView((v) => {
      if (!v) return v;
      const scale = Math.min(2.5, Math.max(0.1, v.scale * by));
      return { scale, x: at.x - ((at.x - v.x) * scale) / v.scale, y: at.y - ((at.y - v.y) * scale) / v.scale };
    });
  };
  useEffect(() => {
    // Preact's own listeners are passive, and could not keep the page from scrolling.
    const turn = (event: WheelEvent) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
      event.preventDefault();
      const area = svg.current!.getBoundingClientRect();
      zoom(Math.exp(-event.deltaY / 400), event.clientX - area.left, event.clientY - area.top);
    };
    const element = svg.current!;
    element.addEventListener("wheel", turn, { passive: false });
    return () => element.removeEventListener("wheel", turn);
  }, []);
  const near = (l: Link) => l.from.name === over || l.to.name === over;
  const busiest = Math.max(1e-9, ...layout.links.map((l) => l.edge.calls?.rps ?? 0));
  const far = (view?.scale ?? 1) < 0.45;
  return (
    <div class="topology">
      <div class="zoom" role="group" aria-label="Zoom">
        <button type="button" aria-label="Zoom in" onClick={() => zoom(1.25)}>+</button>
        <button type="button" aria-label="Zoom out" onClick={() => zoom(0.8)}>−</button>
        <button type="button" onClick={fit}>Fit</button>
      </div>
      <svg
        ref={svg} class={`map ${far ? "far" : ""} ${over ? "some" : ""}`} role="group" aria-label="Who calls whom"
        onPointerDown={(event) => { if (view) drag.current = { x: event.clientX, y: event.clientY, view }; }}
        onPointerMove={(event) => {
          const d = drag.current;
          if (d && event.buttons) setView({ ...d.view, x: d.view.x + event.clientX - d.x, y: d.view.y + event.clientY - d.y });
        }}
        onPointerUp={() => { drag.current = undefined; }}
      >
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" class="arrow" /></marker>
        </defs>
        <g transform={view ? `translate(${view.x} ${view.y}) scale(${view.scale})` : undefined} visibility={view ? "visible" : "hidden"}>
          {layout.links.map((l) => (
            <g key={`${l.from.name}\n${l.to.name}`} class={`edge ${health(success(l.edge.calls))} ${near(l) ? "near" : ""} ${shows(l.from) || shows(l.to) ? "" : "dim"}`}>
              <path d={curve(l)} stroke-width={1 + 3 * Math.sqrt((l.edge.calls?.rps ?? 0) / busiest)} marker-end="url(#arrow)" />
              <EdgeLabel link={l} />
            </g>
          ))}
          {layout.nodes.map((n) => <Box key={n.name} node={n} dim={!shows(n)} setOver={setOver} />)}
        </g>
      </svg>
    </div>
  );
}

function EdgeLabel({ link: { from, to, edge } }: { link: Link }) {
  const back = to.x <= from.x + box.width;
  const x = back ? (from.x + to.x + box.width) / 2 : (from.x + box.width + to.x) / 2;
  const y = back ? Math.max(from.y, to.y) + box.height + 16 : (from.y + to.y + box.height) / 2;
  return (
    <text x={x} y={y - 4} text-anchor="middle" class="edge-label">
      <tspan class={edge.security === "mtls" ? "secured" : "open"}>{edge.security === "mtls" ? "√" : "×"}</tspan>
      {` ${rps(edge.calls)}${edge.calls?.rps ? "/s" : ""}`}
    </text>
  );
}

function Box({ node: n, dim, setOver }: { node: Node; dim: boolean; setOver(name?: string): void }) {
  const s = n.stat;
  const share = success(s?.inbound);
  const known = s !== undefined;
  const versions = (s?.versions ?? []).map((v) => v.version || "-");
  const trouble = (s?.breakersOpen ?? 0) + (s?.ejected ?? 0);
  const words = `${n.name}: ${percent(share)} succeed, ${rps(s?.inbound)} calls a second, p99 ${latency(s?.inbound, "p99Ms")}, ${s?.healthy ?? 0} of ${s?.instances ?? 0} instances healthy${trouble ? `, ${trouble} endpoints kept out` : ""}`;
  const place = { transform: `translate(${n.x} ${n.y})` };
  const inside = (
    <>
      <rect width={box.width} height={box.height} rx="8" />
      <rect class="stripe" width="5" height={box.height - 12} x="5" y="6" rx="2" />
      <text x="18" y="21" class="node-name">{brief(n.name || "outside", 19)}</text>
      <text x="18" y="40" class="node-numbers">
        {known ? `${percent(share)}  ${rps(s?.inbound)}/s  ${latency(s?.inbound, "p99Ms")}` : "outside the mesh"}
      </text>
      {trouble > 0 && <text x={box.width - 8} y="40" text-anchor="end" class="node-trouble">⚡{trouble}</text>}
      {versions.length > 1 && <text x={box.width - 8} y="20" text-anchor="end" class="node-versions">{brief(versions.join(" "), 8)}</text>}
      {(s?.zones?.length ?? 0) > 1 && Array.from({ length: Math.min(4, s!.zones!.length) }, (_, i) => <circle key={i} class="zone" cx={box.width - 12 - i * 9} cy={box.height - 5} r="2.5" />)}
      <title>{words}</title>
    </>
  );
  const look = { onPointerEnter: () => setOver(n.name), onPointerLeave: () => setOver(undefined), onFocus: () => setOver(n.name), onBlur: () => setOver(undefined) };
  const looks = `node ${health(share)} ${dim ? "dim" : ""}`;
  if (!known) return <g class={looks} {...place} {...look} tabIndex={0} role="img" aria-label={`${n.name || "a caller without an identity"}, outside the mesh`}>{inside}</g>;
  return <a class={looks} {...place} {...look} href={serviceLink(n.name)} aria-label={words}>{inside}</a>;
}

// Detail says in words what the picture shows of one service.
function Detail({ layout, name }: { layout: Layout; name?: string }) {
  const edges: EdgeStat[] = layout.links.filter((l) => l.from.name === name || l.to.name === name).map((l) => l.edge);
  if (name === undefined) return <p class="quiet" aria-live="off">Point at a service, or go to it with Tab, to see its edges; Enter opens it. Drag to move, Ctrl and the wheel to zoom.</p>;
  return (
    <div class="panel" aria-live="off">
      <b>{brief(name, 80)}</b>
      <table>
        <tbody>
          {edges.slice(0, 12).map((e) => (
            <tr key={`${e.source}\n${e.destination}`}>
              <td>{brief(e.source ?? "", 40)} → {brief(e.destination ?? "", 40)}</td>
              <td><Success of={e.calls} /></td>
              <td class="n">{rps(e.calls)} rps</td>
              <td class="n">{latency(e.calls, "p99Ms")}</td>
              <td><Lock security={e.security} /></td>
              <td class="n">{calls(e.attempts) > 0 ? `${percent(e.local ?? 0)} in zone` : ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {edges.length > 12 && <p class="quiet">and {edges.length - 12} more</p>}
    </div>
  );
}
