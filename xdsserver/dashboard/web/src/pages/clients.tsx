import { useState } from "preact/hooks";
import type { GetStatusResponse } from "../types";
import { ago } from "./time";

const most = 200; // rows; a mesh of thousands is told by its counts

// Clients are the processes that are connected, those that lag first.
export function Clients({ status }: { status: GetStatusResponse | undefined }) {
  const [filter, setFilter] = useState("");
  const refusing = new Map<string, number>();
  for (const r of status?.rejections ?? []) refusing.set(r.node ?? "", (refusing.get(r.node ?? "") ?? 0) + 1);
  const wanted = filter.trim().toLowerCase();
  const clients = (status?.clients ?? [])
    .filter((c) => wanted === "" || `${c.service} ${c.node}`.toLowerCase().includes(wanted))
    .sort((a, b) => Number(a.current ?? false) - Number(b.current ?? false) || (a.service ?? "").localeCompare(b.service ?? "") || (a.node ?? "").localeCompare(b.node ?? ""));
  const shown = clients.slice(0, most);
  return (
    <section class="panel" aria-labelledby="clients">
      <div class="bar">
        <h2 id="clients" class="bar-text">Clients</h2>
        <input type="search" aria-label="Filter clients" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
      </div>
      {shown.length === 0 ? (
        <p class="empty">{wanted !== "" ? `No client has “${filter}” in its name.` : "No process is connected. One that imports the library joins by itself when it starts."}</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Clients">
          <table class="lines">
            <thead>
              <tr>
                <th scope="col">Service</th>
                <th scope="col">Node</th>
                <th scope="col">Configuration</th>
                <th scope="col" class="n">Resources</th>
                <th scope="col">Library</th>
                <th scope="col">Connected</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((c) => (
                <tr key={`${c.node} ${c.peer}`}>
                  <td class="clip">{c.service || "client"}</td>
                  <td class="clip"><code>{c.node}</code></td>
                  <td>
                    {refusing.has(c.node ?? "") ? (
                      <span class="status bad">refuses {refusing.get(c.node ?? "")}</span>
                    ) : c.current ? (
                      <span class="status good">current</span>
                    ) : (
                      <span class="status fair">behind</span>
                    )}
                  </td>
                  <td class="n">{c.resources ?? 0}</td>
                  <td class="clip">{c.userAgent || "-"}</td>
                  <td>{ago(c.connected)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {clients.length > most && <p class="quiet">{most} of {clients.length} are shown, those that lag first. Filter for others.</p>}
    </section>
  );
}
