import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { Golden } from "../types";
import { health, percent, success } from "./format";

// Success is a dot and the number, so that nobody has to tell colours apart.
export function Success({ of }: { of: Golden | undefined }) {
  const share = success(of);
  return (
    <span class={`success ${health(share)}`}>
      <span class="dot" aria-hidden="true" />
      {percent(share)}
    </span>
  );
}

export function Badge({ kind = "", title, children }: { kind?: string; title?: string; children: ComponentChildren }) {
  return <span class={`badge ${kind}`} title={title}>{children}</span>;
}

// Lock says whether calls are secured, by a sign and a word.
export function Lock({ security }: { security: string | undefined }) {
  return security === "mtls" ? (
    <span class="lock good" title="mutual TLS">√ mTLS</span>
  ) : (
    <span class="lock bad" title="not secured by the mesh">× {security || "unknown"}</span>
  );
}

// Command is what does the same in a terminal, to be copied.
export function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <p class="command">
      <code>{text}</code>
      <button type="button" class="plain" aria-label={`Copy: ${text}`} onClick={() => void navigator.clipboard?.writeText(text).then(() => setCopied(true), () => {})}>
        {copied ? "copied" : "copy"}
      </button>
    </p>
  );
}

export function Panel({ title, command, children, extra }: { title: string; command?: string; children: ComponentChildren; extra?: ComponentChildren }) {
  const id = `panel-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return (
    <section class="panel" aria-labelledby={id}>
      <div class="panel-head">
        <h2 id={id}>{title}</h2>
        {extra}
      </div>
      {children}
      {command && <Command text={command} />}
    </section>
  );
}

// Spark is a small curve of what a value was; its words are for who does not see it.
export function Spark({ values, label }: { values: number[]; label: string }) {
  if (values.length < 2) return <span class="quiet">-</span>;
  const [w, h] = [90, 20];
  const top = Math.max(...values, 1e-9);
  const points = values.map((v, i) => `${((i * w) / (values.length - 1)).toFixed(1)},${(h - 1 - (v / top) * (h - 3)).toFixed(1)}`);
  return (
    <svg class="spark" viewBox={`0 0 ${w} ${h}`} width={w} height={h} role="img" aria-label={label}>
      <polyline points={points.join(" ")} />
    </svg>
  );
}
