// A tap that is open: its events as they come, bounded, in steps that a screen can follow.

import type { TapEvent, TapResponse } from "../types";

// So many calls are kept; the oldest leave.
export const maxRows = 500;

export type Row = TapEvent & { id: number };

export type TapState = {
  phase: "idle" | "opening" | "open" | "over";
  rows: Row[]; // the newest first
  seen: number;
  processes: number;
  of: number;
  dropped: number;
  until?: string;
  error?: string;
};

export const idle: TapState = { phase: "idle", rows: [], seen: 0, processes: 0, of: 0, dropped: 0 };

// TapStream hands on its state at most so often: hundreds of calls a second are hundreds
// of rows, but not hundreds of pictures.
const beat = 200; // ms

export class TapStream {
  state: TapState = { ...idle, phase: "opening" };
  private source: EventSource;
  private waiting: Row[] = [];
  private timer: number | undefined;
  private next = 1;
  private cleared = 0;

  constructor(query: string, private show: (state: TapState) => void) {
    this.source = new EventSource(`/api/tap?${query}`);
    this.source.addEventListener("tap", (event) => this.take((event as MessageEvent<string>).data));
    // The server's own "error" event has data, the browser's has none.
    this.source.addEventListener("error", (event) => {
      if (event instanceof MessageEvent) this.end(said(event.data as string));
      else if (this.state.phase === "opening") this.end("The server does not take this tap: it may be gone, or your session over.");
      else this.end("The connection to xdsserver broke.");
    });
    show(this.state);
  }

  close(): void {
    this.source.close();
    window.clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = [];
  }

  clear(): void {
    this.waiting = [];
    this.cleared = this.next - 1;
    this.set({ rows: [], seen: 0 });
  }

  private take(data: string): void {
    let answer: TapResponse;
    try {
      answer = JSON.parse(data) as TapResponse;
    } catch {
      return this.end("The server sent what is no event.");
    }
    if (answer.event) {
      this.waiting.push({ ...answer.event, id: this.next++ });
      if (this.waiting.length > maxRows) this.waiting.splice(0, this.waiting.length - maxRows);
    }
    // Events may say how the tap stands, and answers without one always do.
    if (!answer.event || answer.until !== undefined) {
      this.state = {
        ...this.state,
        processes: answer.processes ?? 0,
        of: answer.of ?? 0,
        dropped: Number(answer.dropped ?? 0),
        until: answer.until,
      };
    }
    this.state = { ...this.state, phase: "open" };
    this.timer ??= window.setTimeout(() => this.flush(), beat);
  }

  private flush(): void {
    this.timer = undefined;
    // Each process reports its calls in bunches: put together they are in no order.
    const rows = [...this.waiting.reverse(), ...this.state.rows].sort((a, b) => began(b) - began(a));
    this.waiting = [];
    this.set({ rows: rows.slice(0, maxRows), seen: this.next - 1 - this.cleared });
  }

  private end(error: string | undefined): void {
    this.source.close();
    this.flush();
    this.set({ phase: "over", error });
  }

  private set(change: Partial<TapState>): void {
    this.state = { ...this.state, ...change };
    this.show(this.state);
  }
}

function began(row: Row): number {
  return Date.parse(row.start ?? "") || 0;
}

function said(data: string): string | undefined {
  try {
    const { code, message } = JSON.parse(data) as { code?: string; message?: string };
    // Its time is over: nothing went wrong.
    if (code === "deadline_exceeded" || code === "ok") return undefined;
    return message || code || "The tap ended.";
  } catch {
    return "The tap ended.";
  }
}
