// What xdsserver says of a text while it is typed: one dry run at a time, a moment after
// the last keystroke, and never an old answer over a newer one.

import type { ApplyResponse, Problem } from "../types";
import { locate } from "../yaml/locate";
import { call, errorText } from "../api";

// The name of the input in what xdsserver says of it.
export const origin = "editor";

export type Verdict =
  | { state: "empty" }
  | { state: "asking" }
  | { state: "failed"; error: string }
  | { state: "judged"; answer: ApplyResponse; problems: Placed[]; source: string };

export type Placed = Problem & { line?: number; column?: number };

const quiet = 400; // ms after the last keystroke

export class Validator {
  private timer: number | undefined;
  private round = 0;

  constructor(private show: (verdict: Verdict) => void) {}

  ask(source: string, wait = quiet): void {
    window.clearTimeout(this.timer);
    const round = ++this.round;
    if (source.trim() === "") return this.show({ state: "empty" });
    this.show({ state: "asking" });
    this.timer = window.setTimeout(async () => {
      let verdict: Verdict;
      try {
        const answer = await call<ApplyResponse>("Apply", { manifests: [{ origin, yaml: source }], dryRun: true });
        verdict = { state: "judged", answer, problems: placed(source, answer), source };
      } catch (error) {
        verdict = { state: "failed", error: errorText(error) };
      }
      if (round === this.round) this.show(verdict);
    }, wait);
  }

  close(): void {
    window.clearTimeout(this.timer);
    this.round++;
  }
}

export function placed(source: string, answer: ApplyResponse): Placed[] {
  const all = [...(answer.problems ?? []), ...(answer.results ?? []).flatMap((result) => result.problems ?? [])];
  return all
    .map((problem) => ({ ...problem, ...((problem.origin ?? "").startsWith(`${origin}:`) ? locate(source, problem.origin ?? "", problem.field ?? "") : undefined) }))
    .sort((a, b) => Number(a.warning ?? false) - Number(b.warning ?? false) || (a.line ?? 0) - (b.line ?? 0));
}
