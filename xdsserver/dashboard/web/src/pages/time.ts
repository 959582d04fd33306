// Times in words, from protobuf's JSON.
import { span as spanOf } from "../ui/format";

const year = 365 * 86_400;

// span shows a duration, "86400s".
export function span(duration: string | undefined): string {
  const seconds = Number.parseFloat(duration ?? "");
  if (!Number.isFinite(seconds)) return "-";
  return seconds > 2 * year ? `${(seconds / year).toFixed(1)}y` : spanOf(1000 * seconds).replace(/(\D)0[hms]$/, "$1");
}

// ago says how long ago something was.
export function ago(timestamp: string | undefined, now = Date.now()): string {
  const at = Date.parse(timestamp ?? "");
  if (Number.isNaN(at)) return "-";
  return now - at < 1000 ? "just now" : `${spanOf(now - at)} ago`;
}

// when is a moment in the reader's own time.
export function when(timestamp: string | undefined): string {
  const at = new Date(timestamp ?? "");
  if (Number.isNaN(at.getTime())) return "-";
  return at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
