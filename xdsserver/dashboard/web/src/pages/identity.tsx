import { useState } from "preact/hooks";
import type { Authority, CACertificate, GetAuthorityResponse, Identity as Leaf, ListIdentitiesResponse } from "../types";
import { Join } from "./join";
import { Tokens } from "./tokens";
import { useLive, useSession } from "../live";
import { useAsked } from "./asked";
import { Expiry } from "./expiry";
import { ago, span, when } from "./time";

const refresh = 10_000; // ms: certificates last hours
const most = 200; // rows of leaves

// Identity shows who signs, who is who, for how long, and how others may join.
export function Identity() {
  const session = useSession();
  const { status } = useLive();
  const authority = useAsked<GetAuthorityResponse>("GetAuthority", undefined, refresh);
  const leaves = useAsked<ListIdentitiesResponse>("ListIdentities", undefined, refresh);
  const mayApply = session?.may.includes("apply") ?? false;
  const a = authority.value?.authority;
  return (
    <>
      <h1>Identity</h1>
      {authority.error && <p class="notice bad" role="alert">{authority.error}</p>}
      {a?.problem && <p class="notice bad" role="alert">{a.problem}</p>}
      {a && <Signer a={a} />}
      {a && <Certificates a={a} />}
      <Leaves leaves={leaves.value?.identities ?? []} error={leaves.error} authority={a} known={leaves.value !== undefined} />
      <Tokens mayApply={mayApply} />
      <Join security={status?.security} />
    </>
  );
}

function Signer({ a }: { a: Authority }) {
  return (
    <>
      <dl class="tiles">
        <div class="tile"><dt>Trust domain</dt><dd class="small"><code>{a.trustDomain}</code></dd></div>
        <div class="tile"><dt>Authority</dt><dd>{a.kind}</dd></div>
        <div class="tile"><dt>Leaves last</dt><dd>{a.leafTtl ? span(a.leafTtl) : "-"}</dd></div>
        <div class="tile"><dt>Issued since start</dt><dd>{a.issued ?? 0}</dd></div>
      </dl>
      {a.issuesUntil && <p class="notice fair">Issuing ends {when(a.issuesUntil)} unless somebody brings the root’s key or a new intermediate.</p>}
      {a.rotation && <RotationState a={a} />}
    </>
  );
}

// RotationState tells a rotation as the steps it takes.
function RotationState({ a }: { a: Authority }) {
  const rotation = a.rotation!;
  const steps = [
    { phase: "prepared", text: "made and published" },
    { phase: "active", text: "signs; all renew" },
    { phase: "done", text: "the old one is gone" },
  ];
  const at = steps.findIndex((s) => s.phase === rotation.phase);
  return (
    <section class="panel rotation" aria-label="Rotation">
      <h2>The {rotation.level} is being rotated</h2>
      <ol class="steps">
        {steps.map((step, i) => (
          <li key={step.phase} class={i < at ? "past" : i === at ? "now" : ""} aria-current={i === at ? "step" : undefined}>{step.text}</li>
        ))}
      </ol>
      <p>
        {rotation.waiting}
        {rotation.until && <span class="quiet"> This step ends {when(rotation.until)} at the latest.</span>}
      </p>
    </section>
  );
}

function Certificates({ a }: { a: Authority }) {
  const rows = [...(a.roots ?? []).map((c) => ({ c, level: "root" })), ...(a.intermediates ?? []).map((c) => ({ c, level: "intermediate" }))];
  return (
    <section class="panel" aria-labelledby="authority">
      <div class="bar">
        <h2 id="authority" class="bar-text">Certificates of the authority</h2>
        <code class="quiet">xdsserver ca rotate</code>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Certificates of the authority">
        <table class="lines">
          <thead>
            <tr>
              <th scope="col">Certificate</th>
              <th scope="col">Phase</th>
              <th scope="col">Expires</th>
              <th scope="col">Key</th>
              <th scope="col">Key id</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ c, level }) => (
              <tr key={`${level} ${c.serial}`}>
                <td class="clip">{level}{c.name && c.name !== level && <span class="quiet"> {c.name}</span>}</td>
                <td><Phase c={c} /></td>
                <td><Expiry from={c.notBefore} to={c.notAfter} /></td>
                <td>{c.online ? "here" : "elsewhere"}</td>
                <td class="clip"><code title={`serial ${c.serial}`}>{c.keyId?.slice(0, 16)}</code></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Phase({ c }: { c: CACertificate }) {
  const tone = c.phase === "active" ? "good" : "fair";
  return (
    <>
      <span class={`status ${tone}`}>{c.phase || "-"}</span>
      {c.until && <span class="quiet"> until {when(c.until)}</span>}
    </>
  );
}

type LeavesProps = { leaves: Leaf[]; error: string | undefined; authority: Authority | undefined; known: boolean };

function Leaves({ leaves, error, authority, known }: LeavesProps) {
  const [filter, setFilter] = useState("");
  const wanted = filter.trim().toLowerCase();
  const signers = new Map((authority?.intermediates ?? []).concat(authority?.roots ?? []).map((c) => [c.keyId, c.name]));
  const found = leaves.filter((leaf) => wanted === "" || `${leaf.id} ${leaf.node} ${leaf.service}`.toLowerCase().includes(wanted));
  const shown = [...found].sort((a, b) => (a.notAfter ?? "").localeCompare(b.notAfter ?? "")).slice(0, most);
  return (
    <section class="panel" aria-labelledby="leaves">
      <div class="bar">
        <h2 id="leaves" class="bar-text">Who is who <span class="quiet">{leaves.length}</span></h2>
        <input type="search" aria-label="Filter identities" placeholder="Filter" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
      </div>
      {error && <p class="notice bad" role="alert">{error}</p>}
      {shown.length === 0 ? (
        known && <p class="empty">{wanted !== "" ? `No identity has “${filter}” in it.` : "No process is connected by a certificate yet. See below how one joins."}</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Identities">
          <table class="lines">
            <thead>
              <tr>
                <th scope="col">Service</th>
                <th scope="col">Process</th>
                <th scope="col">Expires</th>
                <th scope="col">Identity</th>
                <th scope="col">Signed by</th>
                <th scope="col">Connected</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((leaf) => (
                <tr key={`${leaf.node} ${leaf.serial}`}>
                  <td class="clip">{leaf.service}</td>
                  <td class="clip"><code>{leaf.node}</code></td>
                  <td><Expiry from={leaf.notBefore} to={leaf.notAfter} /></td>
                  <td class="clip"><code title={`serial ${leaf.serial}`}>{leaf.id}</code></td>
                  <td class="clip">{signers.get(leaf.issuer) ?? (leaf.issuer ? <code>{leaf.issuer.slice(0, 16)}</code> : "-")}</td>
                  <td>{ago(leaf.connected)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {found.length > most && <p class="quiet">{most} of {found.length} are shown, those that expire first. Filter for others.</p>}
    </section>
  );
}
