import type { Golden } from "../types";

// Numbers as the command line writes them: a dash is what is not known.
export const none = "-";

export function calls(golden: Golden | undefined): number {
  return Number(golden?.calls ?? 0);
}

// success is the share of calls that did not fail, undefined without calls.
export function success(golden: Golden | undefined): number | undefined {
  const n = calls(golden);
  return n > 0 ? 1 - Number(golden?.failures ?? 0) / n : undefined;
}

export function percent(share: number | undefined): string {
  return share === undefined ? none : `${(100 * share).toFixed(2)}%`;
}

export function rps(golden: Golden | undefined): string {
  return calls(golden) > 0 ? `${(golden?.rps ?? 0).toFixed((golden?.rps ?? 0) >= 100 ? 0 : 1)}` : none;
}

export function ms(value: number | undefined): string {
  if (!value) return none;
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 10) return `${value.toFixed(1)} ms`;
  if (value < 10_000) return `${value.toFixed(0)} ms`;
  return `${(value / 1000).toFixed(1)} s`;
}

export function latency(golden: Golden | undefined, of: "p50Ms" | "p95Ms" | "p99Ms"): string {
  return golden?.timed ? ms(golden[of]) : none;
}

// Health is how a share of successes is judged; Linkerd's bounds.
export type Health = "good" | "fair" | "bad" | "none";

export function health(share: number | undefined): Health {
  if (share === undefined) return "none";
  return share >= 0.95 ? "good" : share >= 0.9 ? "fair" : "bad";
}

// ago is how long ago a moment was, in one unit.
export function ago(at: string | undefined, now = Date.now()): string {
  if (!at) return none;
  return span(now - Date.parse(at));
}

export function until(at: string | undefined, now = Date.now()): string {
  if (!at) return none;
  const left = Date.parse(at) - now;
  return left <= 0 ? "expired" : span(left);
}

export function span(milliseconds: number): string {
  const s = Math.max(0, Math.round(milliseconds / 1000));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${s % 60}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86_400)}d${Math.floor((s % 86_400) / 3600)}h`;
}

// brief keeps a name from elsewhere within a line.
export function brief(text: string, most = 60): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
