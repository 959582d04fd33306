// Where in a text a problem is. What the reader of YAML finds has a line and a column;
// what is found later, with all objects together, has the first line of its document and
// the path of a field: locate follows that path as far as it can.

export type Place = { line: number; column: number };

// place reads "NAME:LINE" and "NAME:LINE:COLUMN".
export function place(origin: string): { line: number; column?: number } | undefined {
  const match = /:(\d{1,9})(?::(\d{1,9}))?$/.exec(origin);
  if (!match) return undefined;
  return { line: Number(match[1]), column: match[2] === undefined ? undefined : Number(match[2]) };
}

// locate returns a place within the document that begins in line first (from 1).
export function locate(source: string, origin: string, field: string): Place | undefined {
  const at = place(origin);
  if (!at) return undefined;
  if (at.column !== undefined) return { line: at.line, column: at.column };
  const lines = source.split("\n");
  let from = at.line - 1;
  let to = from;
  while (to < lines.length && (to === from || !/^(---|\.\.\.)(\s|$)/.test(lines[to]!))) to++;
  let found: Place = { line: at.line, column: 1 };
  let column = 0; // from which the first line counts
  for (const part of path(field)) {
    const next = typeof part === "number" ? item(lines, from, to, column, part) : key(lines, from, to, column, part);
    if (!next) break;
    found = { line: next.line + 1, column: next.column + 1 };
    ({ from, to, column } = next.inner);
  }
  return found;
}

function path(field: string): (string | number)[] {
  const parts: (string | number)[] = [];
  for (const match of field.matchAll(/\[(\d+)\]|([^.[\]]+)/g)) {
    parts.push(match[1] !== undefined ? Number(match[1]) : match[2]!);
  }
  return parts;
}

type Range = { from: number; to: number; column: number };
type Hit = { line: number; column: number; inner: Range };

// indent of a line's content; list dashes count as indentation, as they do in YAML.
function indent(line: string): number {
  return /^[\s-]*/.exec(line)![0].length;
}

function blank(line: string): boolean {
  return /^\s*(#|$)/.test(line);
}

function key(lines: string[], from: number, to: number, column: number, name: string): Hit | undefined {
  const escaped = name.replace(/[^\w-]/g, "\\$&");
  const pattern = new RegExp(`(^|[\\s{,-])(["']?)${escaped}\\2\\s*:(\\s|$)`);
  let best: Hit | undefined;
  for (let i = from; i < to; i++) {
    const text = i === from ? " ".repeat(column) + lines[i]!.slice(column) : lines[i]!;
    if (blank(text)) continue;
    const match = pattern.exec(text);
    if (!match) continue;
    const at = match.index + match[1]!.length;
    if (best && at >= best.column) continue;
    best = { line: i, column: at, inner: { from: i, to, column: match.index + match[0].length } };
  }
  if (!best) return undefined;
  for (let i = best.line + 1; i < to; i++) {
    const line = lines[i]!;
    if (blank(line)) continue;
    const dash = /^\s*-\s/.test(line) && line.search(/\S/) === best.column;
    if (indent(line) <= best.column && !dash) {
      best.inner.to = i;
      break;
    }
  }
  return best;
}

function item(lines: string[], from: number, to: number, column: number, index: number): Hit | undefined {
  let depth = -1;
  let count = -1;
  let hit: Hit | undefined;
  for (let i = from; i < to; i++) {
    const text = i === from ? " ".repeat(column) + lines[i]!.slice(column) : lines[i]!;
    const match = /^(\s*)-(\s|$)/.exec(text);
    if (!match || blank(text)) continue;
    if (depth < 0) depth = match[1]!.length;
    if (match[1]!.length !== depth) continue;
    count++;
    if (hit) {
      hit.inner.to = i;
      break;
    }
    if (count === index) hit = { line: i, column: depth + 2, inner: { from: i, to, column: depth + 1 } };
  }
  return hit;
}
