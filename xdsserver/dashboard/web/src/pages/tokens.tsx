import { useRef, useState } from "preact/hooks";
import type { CreateTokenResponse, ListTokensResponse, Token } from "../types";
import { Field } from "./field";
import { ago, when } from "./time";
import { call, errorText } from "../api";
import { useServices } from "../live";
import { Command } from "../ui/bits";
import { Dialog } from "./dialog";
import { useAsked } from "./asked";

// Tokens let processes on other machines join. A token's secret is shown once, by the
// answer that made it; neither xdsserver nor this page keeps it.
export function Tokens({ mayApply }: { mayApply: boolean }) {
  const [round, setRound] = useState(0);
  const tokens = useAsked<ListTokensResponse>("ListTokens", round, 10_000);
  const [making, setMaking] = useState(false);
  const [revoking, setRevoking] = useState<Token>();
  const rows = tokens.value?.tokens ?? [];
  const again = () => setRound(round + 1);
  return (
    <section class="panel" aria-labelledby="tokens">
      <div class="bar">
        <h2 id="tokens" class="bar-text">Join tokens</h2>
        <button type="button" disabled={!mayApply} title={mayApply ? undefined : "This login may not apply"} onClick={() => setMaking(true)}>New token …</button>
      </div>
      {tokens.error ? (
        <p class="notice" role="alert">{tokens.error}</p>
      ) : rows.length === 0 ? (
        tokens.value && <p class="empty">No token. A process on another machine joins by one: it is good for one process and one hour.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Join tokens">
          <table class="lines">
            <thead>
              <tr>
                <th scope="col">Token</th>
                <th scope="col">Service</th>
                <th scope="col">State</th>
                <th scope="col" class="n">Used</th>
                <th scope="col">Expires</th>
                <th scope="col">From</th>
                <th scope="col"><span class="hidden">Revoke</span></th>
              </tr>
            </thead>
            <tbody>
              {rows.map((token) => (
                <tr key={token.id}>
                  <td class="clip"><code>{token.id}</code></td>
                  <td class="clip">{token.service}</td>
                  <td><span class={`status ${token.state === "usable" ? "good" : "quiet"}`}>{token.state}</span></td>
                  <td class="n" title={(token.redemptions ?? []).map((r) => `${r.peer} ${ago(r.at)}`).join(", ") || undefined}>{token.used ?? 0} of {token.uses ?? 0}</td>
                  <td>{when(token.expires)}</td>
                  <td class="clip">{(token.cidrs ?? []).join(", ") || "anywhere"}</td>
                  <td class="n">
                    {token.state === "usable" && (
                      <button type="button" disabled={!mayApply} title={mayApply ? undefined : "This login may not apply"} onClick={() => setRevoking(token)}>
                        Revoke<span class="hidden"> {token.id}</span> …
                      </button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {making && <NewToken onClose={() => { setMaking(false); again(); }} />}
      {revoking && <Revoke token={revoking} onClose={() => { setRevoking(undefined); again(); }} />}
    </section>
  );
}

function NewToken({ onClose }: { onClose(): void }) {
  const services = useServices();
  const [service, setService] = useState("");
  const [ttl, setTtl] = useState("3600s");
  const [uses, setUses] = useState("1");
  const [cidrs, setCidrs] = useState("");
  const [address, setAddress] = useState("");
  const [made, setMade] = useState<CreateTokenResponse>();
  const [error, setError] = useState<string>();
  const busy = useRef(false);

  const create = async () => {
    if (busy.current) return;
    busy.current = true;
    try {
      const request = { service: service.trim(), ttl, uses: Number(uses) || 1, cidrs: cidrs.split(/[\s,]+/).filter((c) => c !== ""), address: address.trim() };
      setMade(await call<CreateTokenResponse>("CreateToken", request));
      setError(undefined);
    } catch (cause) {
      setError(errorText(cause));
    }
    busy.current = false;
  };

  if (made) {
    return (
      <Dialog title={`A token for ${made.token?.service ?? service}`} onClose={onClose}>
        <p>Put this line into a file of mode 0600 on the other machine; <code>TULLE_TOKEN_FILE</code> names it. Whoever has it can be {made.token?.service ?? service} until it is used up. It is shown this once.</p>
        <Command text={made.text ?? ""} />
        <p class="actions"><button type="button" class="primary" onClick={onClose}>Done</button></p>
      </Dialog>
    );
  }
  return (
    <Dialog title="New join token" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <Field label="Service" hint="what it makes a process of: name, or name.namespace">
          {(ids) => <input {...ids} type="text" required list="token-services" autocomplete="off" spellcheck={false} value={service} onInput={(event) => setService(event.currentTarget.value)} />}
        </Field>
        <datalist id="token-services">{services.map((s) => <option key={s} value={s} />)}</datalist>
        <Field label="Good for" hint="more than a day needs networks below">
          {(ids) => (
            <select {...ids} value={ttl} onChange={(event) => setTtl(event.currentTarget.value)}>
              <option value="600s">10 minutes</option>
              <option value="3600s">an hour</option>
              <option value="86400s">a day</option>
              <option value="604800s">a week</option>
            </select>
          )}
        </Field>
        <Field label="Processes" hint="how many may join by it; more than one needs networks below">
          {(ids) => <input {...ids} type="number" min={1} max={1000} value={uses} onInput={(event) => setUses(event.currentTarget.value)} />}
        </Field>
        <Field label="Networks" hint="it may be used from, as 10.0.0.0/8; empty is anywhere">
          {(ids) => <input {...ids} type="text" autocomplete="off" spellcheck={false} value={cidrs} onInput={(event) => setCidrs(event.currentTarget.value)} />}
        </Field>
        <Field label="Address" hint="host:port by which it reaches the mesh port; empty is what xdsserver listens on">
          {(ids) => <input {...ids} type="text" autocomplete="off" spellcheck={false} value={address} onInput={(event) => setAddress(event.currentTarget.value)} />}
        </Field>
        {error && <p class="notice bad" role="alert">{error}</p>}
        <p class="actions">
          <button type="submit" class="primary" disabled={service.trim() === ""}>Create</button>
          <button type="button" onClick={onClose}>Cancel</button>
        </p>
      </form>
    </Dialog>
  );
}

function Revoke({ token, onClose }: { token: Token; onClose(): void }) {
  const [error, setError] = useState<string>();
  const revoke = () => {
    call("RevokeToken", { id: token.id }).then(onClose, (cause) => setError(errorText(cause)));
  };
  return (
    <Dialog title={`Revoke ${token.id}`} onClose={onClose}>
      <p>No more process can become {token.service} by it. Those that joined by it stay.</p>
      {error && <p class="notice bad" role="alert">{error}</p>}
      <p class="actions">
        <button type="button" class="primary" onClick={revoke}>Revoke</button>
        <button type="button" onClick={onClose}>Cancel</button>
      </p>
    </Dialog>
  );
}
