import { useEffect, useState } from "preact/hooks";
import type { RollBackResponse } from "../types";
import { Changes, Problems } from "./change";
import { call, errorText } from "../api";
import { Dialog } from "./dialog";

// RollBack shows what going back to a revision would change, and does it when told to.
export function RollBack({ to, onClose }: { to: string; onClose(): void }) {
  const [plan, setPlan] = useState<RollBackResponse>();
  const [done, setDone] = useState<RollBackResponse>();
  const [error, setError] = useState<string>();
  const [busy, setBusy] = useState(false);

  useEffect(() => {
    call<RollBackResponse>("RollBack", { revision: to, dryRun: true }).then(setPlan, (cause) => setError(errorText(cause)));
  }, [to]);

  const confirm = async () => {
    setBusy(true);
    try {
      // Only what was shown: refused when somebody else was faster.
      setDone(await call<RollBackResponse>("RollBack", { revision: to, ifRevision: plan?.revision }));
    } catch (cause) {
      setError(errorText(cause));
    }
    setBusy(false);
  };

  const changes = plan?.changes ?? [];
  const refused = (plan?.problems ?? []).some((p) => !p.warning);
  return (
    <Dialog title={`Roll back to revision ${to}`} onClose={onClose}>
      {error && <p class="notice bad" role="alert">{error}</p>}
      {done ? (
        <p class="notice good" role="status">Done: this is revision {done.revision}.</p>
      ) : plan === undefined ? (
        !error && <p class="quiet">Working out what would change …</p>
      ) : (
        <>
          <p>{changes.length === 0 ? "Nothing would change: all objects are as they were then." : "Objects become what they were then. That is a new revision; nothing is lost."}</p>
          <Problems of={plan.problems ?? []} />
          <Changes of={changes} />
        </>
      )}
      <p class="actions">
        {!done && changes.length > 0 && (
          <button type="button" class="primary" disabled={busy || refused || error !== undefined} onClick={confirm}>Roll back</button>
        )}
        <button type="button" onClick={onClose}>{done ? "Close" : "Cancel"}</button>
      </p>
    </Dialog>
  );
}
