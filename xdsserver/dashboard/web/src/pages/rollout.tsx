import { useEffect, useState } from "preact/hooks";
import type { ApplyResponse, GetStatusResponse } from "../types";
import { origin } from "./validation";
import { call, errorText } from "../api";

type Props = { source: string; ifRevision?: string; onStored(): void; onDone(): void };
type Progress = { revision: string; current: number; clients: number; waited: boolean };

const most = 30_000; // ms to wait for clients; who is not current then is told of

// Rollout applies a text, and follows it to the clients.
export function Rollout({ source, ifRevision, onStored, onDone }: Props) {
  const [progress, setProgress] = useState<Progress>();
  const [error, setError] = useState<string>();

  useEffect(() => {
    let gone = false;
    const run = async () => {
      const answer = await call<ApplyResponse>("Apply", { manifests: [{ origin, yaml: source }], ifRevision, wait: "2s" });
      if (!gone) onStored();
      const end = Date.now() + most;
      let now: Progress = { revision: answer.revision ?? "0", current: answer.clientsCurrent ?? 0, clients: answer.clients ?? 0, waited: false };
      if (!gone) setProgress(now);
      while (!gone && now.current < now.clients && Date.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        const { clients = [] } = await call<GetStatusResponse>("GetStatus", {});
        now = { ...now, current: clients.filter((c) => c.current).length, clients: clients.length };
        if (!gone) setProgress(now);
      }
      if (!gone) setProgress({ ...now, waited: true });
    };
    run().catch((cause) => {
      if (!gone) setError(errorText(cause));
    });
    return () => {
      gone = true;
    };
  }, []);

  const done = progress !== undefined && progress.waited;
  const all = progress !== undefined && progress.current >= progress.clients;
  return (
    <div class={`notice ${error ? "bad" : done && all ? "good" : ""}`} role="status">
      {error ? (
        <p>{error}</p>
      ) : progress === undefined ? (
        <p>Applying …</p>
      ) : (
        <>
          <p>
            Revision {progress.revision} is stored.{" "}
            {progress.clients === 0 ? "No client is connected yet." : `${progress.current} of ${progress.clients} clients have it.`}
            {done && !all && " The rest were slow or refuse it: Configuration says which."}
          </p>
          {progress.clients > 0 && <progress max={progress.clients} value={progress.current} aria-label="Clients that have it" />}
        </>
      )}
      {(error || done) && (
        <p class="actions">
          <button type="button" onClick={onDone}>Close</button> <a href="#/config">Configuration</a>
        </p>
      )}
    </div>
  );
}
