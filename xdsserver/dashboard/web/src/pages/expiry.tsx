import { span } from "./time";

// Expiry is what is left of a certificate, as a bar and in words. Leaves are renewed when
// half is left: less than a third means that renewing does not work.
export function Expiry({ from, to }: { from?: string; to?: string }) {
  const end = Date.parse(to ?? "");
  if (Number.isNaN(end)) return <>-</>;
  const begin = Date.parse(from ?? "");
  const left = end - Date.now();
  const share = Number.isNaN(begin) || end <= begin ? 1 : Math.min(1, Math.max(0, left / (end - begin)));
  const tone = left <= 0 || share < 0.1 ? "bad" : share < 1 / 3 ? "fair" : "good";
  const words = left <= 0 ? "expired" : span(`${left / 1000}s`);
  return (
    <span class="expiry" title={new Date(end).toLocaleString()}>
      <meter class={`meter ${tone}`} min={0} max={1} value={share} aria-label={`${Math.round(share * 100)} % of its life is left`} />
      <span>{words}</span>
    </span>
  );
}
