import { Fragment } from "preact";
import { useState } from "preact/hooks";
import type { ListHistoryResponse, Revision } from "../types";
import { actionWord, Changes, refText } from "./change";
import { type Asked } from "./asked";
import { RollBack } from "./rollback";
import { ago } from "./time";

type Props = { history: Asked<ListHistoryResponse>; mayApply: boolean; revision: string };

// History is what was applied and deleted, and the way back.
export function History({ history, mayApply, revision }: Props) {
  const [open, setOpen] = useState<string>();
  const [back, setBack] = useState<Revision>();
  const revisions = history.value?.revisions ?? [];
  return (
    <section class="panel" aria-labelledby="history">
      <h2 id="history">History</h2>
      {history.error && <p class="notice bad" role="alert">{history.error}</p>}
      {history.value && revisions.length === 0 && <p class="empty">Nothing was applied yet. Each change will stand here, with who made it and the way back.</p>}
      {revisions.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="History">
          <table class="lines">
            <thead>
              <tr>
                <th scope="col">Revision</th>
                <th scope="col">When</th>
                <th scope="col">Who</th>
                <th scope="col">What</th>
                <th scope="col"><span class="hidden">Roll back</span></th>
              </tr>
            </thead>
            <tbody>
              {revisions.map((r) => {
                const id = r.revision ?? "0";
                const opened = open === id;
                return (
                  <Fragment key={id}>
                    <tr class={opened ? "opened" : undefined}>
                      <td><button type="button" class="reveal" aria-expanded={opened} onClick={() => setOpen(opened ? undefined : id)}>{id}</button></td>
                      <td>{ago(r.at)}</td>
                      <td class="clip">{r.by || "-"}</td>
                      <td class="clip">{what(r)}</td>
                      <td class="n">
                        {id === revision ? (
                          <span class="quiet">now</span>
                        ) : (
                          <button type="button" disabled={!mayApply} title={mayApply ? undefined : "This login may not apply"} onClick={() => setBack(r)}>
                            Roll back<span class="hidden"> to revision {id}</span> …
                          </button>
                        )}
                      </td>
                    </tr>
                    {opened && (
                      <tr class="details">
                        <td colSpan={5}><div class="within"><Changes of={r.changes ?? []} /></div></td>
                      </tr>
                    )}
                  </Fragment>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
      {back && <RollBack to={back.revision ?? "0"} onClose={() => setBack(undefined)} />}
    </section>
  );
}

function what(r: Revision): string {
  const changes = r.changes ?? [];
  const first = changes.slice(0, 3).map((c) => `${refText(c.ref)} ${actionWord(c.action)}`);
  if (changes.length > 3) first.push(`${changes.length - 3} more`);
  return first.join(", ") || "-";
}
