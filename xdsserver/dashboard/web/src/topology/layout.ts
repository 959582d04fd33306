import type { EdgeStat, ServiceStat } from "../types";

export type Node = { name: string; stat?: ServiceStat; rank: number; x: number; y: number };
export type Link = { edge: EdgeStat; from: Node; to: Node };
export type Layout = { nodes: Node[]; links: Link[]; width: number; height: number };

export const box = { width: 168, height: 54 };
const gap = { x: 96, y: 22 };
const tallest = 14; // nodes in one column, beyond which a rank takes another column

// layoutOf puts services into columns by who calls whom, callers at the left, and orders
// each column so that edges cross little. A node that was placed before keeps its place in
// the order among those of its column, so that the picture does not jump when calls come
// and go.
export function layoutOf(services: ServiceStat[], edges: EdgeStat[], before?: Layout): Layout {
  const stats = new Map(services.map((s) => [s.service ?? "", s]));
  const names = new Set(stats.keys());
  for (const e of edges) {
    names.add(e.source ?? "");
    names.add(e.destination ?? "");
  }
  const nodes = new Map<string, Node>();
  for (const name of [...names].sort()) nodes.set(name, { name, stat: stats.get(name), rank: 0, x: 0, y: 0 });
  const links: Link[] = [];
  for (const edge of edges) {
    const from = nodes.get(edge.source ?? "")!;
    const to = nodes.get(edge.destination ?? "")!;
    if (from !== to) links.push({ edge, from, to });
  }
  rank([...nodes.values()], links);
  const columns = columnsOf([...nodes.values()]);
  const places = new Map(before?.nodes.map((n) => [n.name, n.y]));
  order(columns, links, places);
  return place(columns, links);
}

// rank is how many calls deep a service is, at the most; a circle is cut where it closes.
function rank(nodes: Node[], links: Link[]) {
  const out = new Map<Node, Node[]>(nodes.map((n) => [n, []]));
  const callers = new Map<Node, number>(nodes.map((n) => [n, 0]));
  for (const l of links) {
    out.get(l.from)!.push(l.to);
    callers.set(l.to, callers.get(l.to)! + 1);
  }
  const state = new Map<Node, "open" | "done">();
  const sorted: Node[] = [];
  const back = new Set<string>();
  const visit = (root: Node) => {
    const stack: { node: Node; next: number }[] = [{ node: root, next: 0 }];
    state.set(root, "open");
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const to = out.get(top.node)![top.next++];
      if (to === undefined) {
        state.set(top.node, "done");
        sorted.push(top.node);
        stack.pop();
      } else if (state.get(to) === "open") {
        back.add(`${top.node.name}\n${to.name}`);
      } else if (!state.has(to)) {
        state.set(to, "open");
        stack.push({ node: to, next: 0 });
      }
    }
  };
  for (const n of [...nodes].sort((a, b) => callers.get(a)! - callers.get(b)! || (a.name < b.name ? -1 : 1))) if (!state.has(n)) visit(n);
  for (const n of sorted.reverse()) {
    for (const to of out.get(n)!) if (!back.has(`${n.name}\n${to.name}`)) to.rank = Math.max(to.rank, n.rank + 1);
  }
}

// columnsOf are the ranks, those with many nodes over several columns.
function columnsOf(nodes: Node[]): Node[][] {
  const ranks: Node[][] = [];
  for (const n of nodes) (ranks[n.rank] ??= []).push(n);
  const most = Math.max(tallest, Math.ceil(Math.sqrt(nodes.length) * 1.2));
  return ranks.flatMap((all) => {
    const parts = Math.ceil(all.length / most);
    const size = Math.ceil(all.length / parts);
    return Array.from({ length: parts }, (_, i) => all.slice(i * size, (i + 1) * size));
  });
}

// order moves each node towards the middle of those it is linked to, some times back and
// forth. One that has a place keeps it.
function order(columns: Node[][], links: Link[], places: Map<string, number>) {
  const neighbours = new Map<Node, Node[]>();
  for (const l of links) {
    neighbours.set(l.from, [...(neighbours.get(l.from) ?? []), l.to]);
    neighbours.set(l.to, [...(neighbours.get(l.to) ?? []), l.from]);
  }
  for (const column of columns) column.forEach((n, i) => (n.y = i - column.length / 2));
  for (let round = 0; round < 6; round++) {
    for (const column of round % 2 === 0 ? columns : [...columns].reverse()) {
      const wish = new Map(column.map((n) => {
        const of = neighbours.get(n) ?? [];
        return [n, of.length > 0 ? of.reduce((sum, m) => sum + m.y, 0) / of.length : n.y];
      }));
      column.sort((a, b) => wish.get(a)! - wish.get(b)! || (a.name < b.name ? -1 : 1));
      column.forEach((n, i) => (n.y = i - column.length / 2));
    }
  }
  if (places.size === 0) return;
  for (const column of columns) {
    const old = column.filter((n) => places.has(n.name)).sort((a, b) => places.get(a.name)! - places.get(b.name)!);
    let i = 0;
    column.forEach((n, at) => {
      if (places.has(n.name)) column[at] = old[i++]!;
    });
  }
}

function place(columns: Node[][], links: Link[]): Layout {
  const tall = Math.max(1, ...columns.map((c) => c.length));
  const height = tall * (box.height + gap.y) + gap.y;
  columns.forEach((column, i) => {
    const top = (height - column.length * (box.height + gap.y) + gap.y) / 2;
    column.forEach((n, j) => {
      n.x = gap.y + i * (box.width + gap.x);
      n.y = top + j * (box.height + gap.y);
    });
  });
  return { nodes: columns.flat(), links, width: columns.length * (box.width + gap.x) - gap.x + 2 * gap.y, height };
}

// curve is the way of an edge from the right side of one box to the left of another; one
// that leads back goes around below.
export function curve({ from, to }: Link): string {
  const [x1, y1] = [from.x + box.width, from.y + box.height / 2];
  const [x2, y2] = [to.x, to.y + box.height / 2];
  if (x2 > x1) {
    const bend = Math.max(30, (x2 - x1) / 2);
    return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2 - 5} ${y2}`;
  }
  const low = Math.max(y1, y2) + box.height / 2 + 18;
  return `M${x1} ${y1}C${x1 + 60} ${low} ${x2 - 60} ${low} ${x2 - 5} ${y2}`;
}
