import { createContext, type ComponentChildren } from "preact";
import { useContext, useEffect, useState } from "preact/hooks";
import { Events, signedOut } from "./api";
import type { GetGraphResponse, GetServiceStatsResponse, GetStatusResponse, Session } from "./types";

// Live is what the whole page knows, and keeps hearing of.
export type Live = {
  session?: Session;
  graph?: GetGraphResponse;
  status?: GetStatusResponse;
  // The revision of the applied objects: pages that show them ask again when it changes.
  revision?: string;
  connected: boolean;
  window: string;
  setWindow(window: string): void;
};

const Context = createContext<Live>({ connected: false, window: "60s", setWindow: () => {} });

export function useLive(): Live {
  return useContext(Context);
}

// useSession returns who is logged in and what he may, undefined until that is known.
export function useSession(): Session | undefined {
  return useLive().session;
}

// useServices returns the names of all services, for completion.
export function useServices(): string[] {
  return (useLive().graph?.services ?? []).map((s) => s.service ?? "");
}

export const windows = [
  { value: "60s", name: "1 min" },
  { value: "300s", name: "5 min" },
  { value: "900s", name: "15 min" },
  { value: "3600s", name: "1 h" },
];

export function LiveProvider({ children }: { children: ComponentChildren }) {
  const [session, setSession] = useState<Session>();
  const [graph, setGraph] = useState<GetGraphResponse>();
  const [status, setStatus] = useState<GetStatusResponse>();
  const [revision, setRevision] = useState<string>();
  const [connected, setConnected] = useState(true);
  const [window, setWindow] = useState("60s");

  useEffect(() => {
    fetch("/api/session").then(
      async (answer) => (answer.status === 401 ? signedOut() : setSession((await answer.json()) as Session)),
      () => setConnected(false),
    );
  }, []);
  useEffect(() => {
    const events = new Events(
      `/api/events?window=${window}`,
      ["graph", "status", "objects"],
      (event, data) => {
        if (event === "graph") setGraph(data as GetGraphResponse);
        if (event === "status") setStatus(data as GetStatusResponse);
        if (event === "objects") setRevision((data as { revision?: string }).revision);
      },
      setConnected,
    );
    return () => events.close();
  }, [window]);

  return <Context.Provider value={{ session, graph, status, revision, connected, window, setWindow }}>{children}</Context.Provider>;
}

// useServiceStats follows one service.
export function useServiceStats(name: string): GetServiceStatsResponse | undefined {
  const { window } = useLive();
  const [stats, setStats] = useState<GetServiceStatsResponse>();
  useEffect(() => {
    setStats(undefined);
    const events = new Events(`/api/events?window=${window}&service=${encodeURIComponent(name)}`, ["service"], (_, data) =>
      setStats(data as GetServiceStatsResponse),
    );
    return () => events.close();
  }, [name, window]);
  return stats;
}
