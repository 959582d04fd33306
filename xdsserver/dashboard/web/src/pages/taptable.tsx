import { Fragment } from "preact";
import { useState } from "preact/hooks";
import { attemptOf, millis, TapCall } from "./tapcall";
import type { Row } from "./tapstream";

// TapTable shows calls, the newest first; a row opens to all that was seen of its call.
export function TapTable({ rows }: { rows: Row[] }) {
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (id: number) => {
    const next = new Set(open);
    if (!next.delete(id)) next.add(id);
    setOpen(next);
  };
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Calls">
      <table class="lines tap-table">
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col">Method</th>
            <th scope="col">Status</th>
            <th scope="col" class="n">Took</th>
            <th scope="col" class="n">Attempt</th>
            <th scope="col">Endpoint</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const opened = open.has(row.id);
            return (
              <Fragment key={row.id}>
                <tr class={opened ? "opened" : undefined}>
                  <td>
                    <button type="button" class="reveal" aria-expanded={opened} aria-controls={`call-${row.id}`} onClick={() => toggle(row.id)}>
                      {clock(row.start)}
                    </button>
                  </td>
                  <td class="clip">{row.source || "-"}</td>
                  <td class="clip">{row.destination || "-"}</td>
                  <td class="clip"><code title={row.method}>{row.method?.split("/").pop() || "-"}</code></td>
                  <td><Status code={row.status} /></td>
                  <td class="n">{millis(row.duration)}</td>
                  <td class="n">{attemptOf(row) || "-"}</td>
                  <td class="clip"><code>{row.endpoint || "-"}</code></td>
                </tr>
                {opened && (
                  <tr id={`call-${row.id}`} class="details">
                    <td colSpan={8}><div class="within"><TapCall event={row} /></div></td>
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

// The codes by which a service fails, as in the golden metrics; others are its callers'.
const failures = new Set(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"]);

function Status({ code = "-" }: { code?: string }) {
  const tone = code === "OK" ? "good" : failures.has(code) ? "bad" : "fair";
  return <span class={`status ${tone}`}>{code}</span>;
}

export function clock(timestamp: string | undefined): string {
  const at = new Date(timestamp ?? "");
  if (Number.isNaN(at.getTime())) return "-";
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}
