// Colours for YAML as xdsserver reads it: no anchors, tags or directives, so that one
// pass over each line is enough. It never fails: what it does not know stays plain.

export type Token = { kind: Kind; text: string };
export type Kind = "plain" | "key" | "text" | "number" | "word" | "comment" | "sign" | "divider";

// Longer texts stay plain: colours are not worth a slow keystroke.
export const maxLines = 3000;
export const maxLine = 2000;

export function highlight(source: string): Token[][] {
  const lines = source.split("\n");
  if (lines.length > maxLines) return lines.map(plain);
  let block = -1; // the indentation of the key whose block scalar goes on, or -1
  return lines.map((line) => {
    if (block >= 0) {
      if (line.trim() === "" || indent(line) > block) return line === "" ? [] : [{ kind: "text", text: line }];
      block = -1;
    }
    const tokens = line.length > maxLine ? plain(line) : tokenize(line);
    const code = tokens.filter((t) => t.kind !== "comment" && t.text.trim() !== "");
    const last = code[code.length - 1];
    if (last?.kind === "sign" && /^[|>]/.test(last.text)) block = /^[\s-]*/.exec(line)![0].length;
    return tokens;
  });
}

function plain(line: string): Token[] {
  return line === "" ? [] : [{ kind: "plain", text: line }];
}

function indent(line: string): number {
  return line.length - line.trimStart().length;
}

const patterns: [RegExp, Kind][] = [
  [/\s+/y, "plain"],
  [/"(?:[^"\\]|\\.)*"?/y, "text"],
  [/'(?:[^']|'')*'?/y, "text"],
  [/[[\]{},]/y, "sign"],
  [/-(?=\s|$)/y, "sign"],
  [/:(?=\s|$|[[\]{},])/y, "sign"],
  [/[|>][+-]?\d?(?=\s*(?:#|$))/y, "sign"],
];
const scalar = /(?:[^\s:#,[\]{}]|:(?!\s|$|[[\]{},])|#|\s+(?![\s#]|$|:(?:\s|$)))+/y;

function tokenize(line: string): Token[] {
  if (/^(---|\.\.\.)(\s|$)/.test(line)) return [{ kind: "divider", text: line }];
  const tokens: Token[] = [];
  let at = 0;
  let spaced = true;
  while (at < line.length) {
    if (spaced && line[at] === "#") {
      tokens.push({ kind: "comment", text: line.slice(at) });
      break;
    }
    const token = next(line, at);
    tokens.push(token);
    at += token.text.length;
    spaced = /\s$/.test(token.text);
  }
  // What stands before a colon is a key.
  tokens.forEach((token, i) => {
    if (token.kind === "sign" && token.text === ":") {
      let j = i - 1;
      while (j > 0 && tokens[j]!.text.trim() === "") j--;
      if (j >= 0 && tokens[j]!.kind !== "sign") tokens[j]!.kind = "key";
    }
  });
  return tokens;
}

function next(line: string, at: number): Token {
  for (const [pattern, kind] of patterns) {
    pattern.lastIndex = at;
    const match = pattern.exec(line);
    if (match) return { kind, text: match[0] };
  }
  scalar.lastIndex = at;
  const match = scalar.exec(line);
  if (!match) return { kind: "plain", text: line[at]! };
  return { kind: value(match[0].trim()), text: match[0] };
}

function value(text: string): Kind {
  if (/^(true|false|null|~)$/.test(text)) return "word";
  if (/^[-+]?(\d[\d_]*(\.\d+)?|\.\d+)([eE][-+]?\d+)?$/.test(text)) return "number";
  if (/^(\d+(\.\d+)?(h|ms|m|s))+$/.test(text)) return "number";
  return "plain";
}
