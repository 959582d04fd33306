// Differences of two texts, line by line: the shortest edit script (Myers, "An O(ND)
// Difference Algorithm and Its Variations", 1986), cut into hunks for reading.

export type Line = { kind: "same" | "added" | "removed"; text: string; before?: number; after?: number };
export type Hunk = { lines: Line[] };

// Beyond so many edits, texts have nothing in common worth finding: the old one is then
// shown as removed and the new one as added. It bounds time and memory to edits squared.
const maxEdits = 1000;

export function diffLines(before: string, after: string): Line[] {
  const a = split(before);
  const b = split(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;

  const lines: Line[] = [];
  const same = (i: number, j: number) => lines.push({ kind: "same", text: a[i]!, before: i + 1, after: j + 1 });
  for (let i = 0; i < head; i++) same(i, i);
  for (const step of script(a.slice(head, a.length - tail), b.slice(head, b.length - tail))) {
    const i = head + step.i;
    const j = head + step.j;
    if (step.kind === "same") same(i, j);
    else if (step.kind === "removed") lines.push({ kind: "removed", text: a[i]!, before: i + 1 });
    else lines.push({ kind: "added", text: b[j]!, after: j + 1 });
  }
  for (let i = 0; i < tail; i++) same(a.length - tail + i, b.length - tail + i);
  return lines;
}

// hunks keeps what changed, with so many lines around it.
export function hunks(lines: Line[], context = 3): Hunk[] {
  const out: Hunk[] = [];
  let end = -1; // of the last hunk, in lines
  for (let i = 0; i < lines.length; i++) {
    if (lines[i]!.kind === "same") continue;
    const from = Math.max(0, i - context, end);
    const to = Math.min(lines.length, i + context + 1);
    if (out.length > 0 && i - context <= end) out[out.length - 1]!.lines.push(...lines.slice(end, to));
    else out.push({ lines: lines.slice(from, to) });
    end = to;
  }
  return out;
}

export function tally(lines: Line[]): { added: number; removed: number } {
  let added = 0;
  let removed = 0;
  for (const line of lines) {
    if (line.kind === "added") added++;
    if (line.kind === "removed") removed++;
  }
  return { added, removed };
}

function split(text: string): string[] {
  if (text === "") return [];
  const lines = text.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  return lines;
}

type Step = { kind: Line["kind"]; i: number; j: number };

function script(a: string[], b: string[]): Step[] {
  const limit = Math.min(a.length + b.length, maxEdits);
  const offset = limit + 1;
  // reach[k + offset] is how far into a one comes on diagonal k.
  const reach = new Int32Array(2 * limit + 3);
  const trace: Int32Array[] = [];
  for (let d = 0; d <= limit; d++) {
    trace.push(reach.slice(offset - d - 1, offset + d + 2));
    for (let k = -d; k <= d; k += 2) {
      const down = k === -d || (k !== d && reach[offset + k - 1]! < reach[offset + k + 1]!);
      let x = down ? reach[offset + k + 1]! : reach[offset + k - 1]! + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
      reach[offset + k] = x;
      if (x >= a.length && x - k >= b.length) return walk(a.length, b.length, trace);
    }
  }
  return [
    ...a.map((_, i): Step => ({ kind: "removed", i, j: 0 })),
    ...b.map((_, j): Step => ({ kind: "added", i: a.length, j })),
  ];
}

// walk follows the trace back from the end.
function walk(x: number, y: number, trace: Int32Array[]): Step[] {
  const steps: Step[] = [];
  for (let d = trace.length - 1; d >= 0; d--) {
    const reach = trace[d]!;
    const at = (k: number) => reach[k + d + 1]!;
    const k = x - y;
    const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
    const from = down ? k + 1 : k - 1;
    const startX = d === 0 ? 0 : at(from);
    const startY = d === 0 ? 0 : startX - from;
    while (x > startX && y > startY && (d === 0 || x - (down ? 0 : 1) > startX || y - (down ? 1 : 0) > startY)) {
      x--;
      y--;
      steps.push({ kind: "same", i: x, j: y });
    }
    if (d === 0) break;
    if (down) steps.push({ kind: "added", i: x, j: --y });
    else steps.push({ kind: "removed", i: --x, j: y });
  }
  return steps.reverse();
}
