import { useMemo } from "preact/hooks";
import { diffLines, hunks, tally } from "./lines";

const signs = { same: " ", added: "+", removed: "-" } as const;
const words = { same: "", added: "added", removed: "removed" } as const;

// DiffView shows what changes of one text, by sign and by colour.
export function DiffView({ before, after, label }: { before: string; after: string; label: string }) {
  const { parts, added, removed } = useMemo(() => {
    const lines = diffLines(before, after);
    return { parts: hunks(lines), ...tally(lines) };
  }, [before, after]);
  if (parts.length === 0) return <p class="quiet">No line changes.</p>;
  return (
    <div class="diff" tabIndex={0} role="region" aria-label={`${label}: ${added} added, ${removed} removed`}>
      {parts.map((hunk, i) => (
        <pre key={i} class="diff-hunk">
          {hunk.lines.map((line, j) => (
            <span key={j} class={`diff-line diff-${line.kind}`}>
              <span class="diff-number" aria-hidden="true">{line.before ?? ""}</span>
              <span class="diff-number" aria-hidden="true">{line.after ?? ""}</span>
              <span class="diff-sign">{signs[line.kind]}</span>
              {words[line.kind] !== "" && <span class="hidden">{words[line.kind]}: </span>}
              <span class="diff-text">{line.text}{"\n"}</span>
            </span>
          ))}
        </pre>
      ))}
    </div>
  );
}
