import type { ChangeResult, Problem } from "../types";
import { DiffView } from "../diff/view";

const words = new Map([
  ["ACTION_CREATED", "created"],
  ["ACTION_CONFIGURED", "changed"],
  ["ACTION_UNCHANGED", "unchanged"],
  ["ACTION_DELETED", "deleted"],
  ["ACTION_REFUSED", "refused"],
]);

export function actionWord(action: string | undefined): string {
  return words.get(action ?? "") ?? "-";
}

// Changes shows what becomes of each object. Those that stay as they are only have a line.
export function Changes({ of }: { of: ChangeResult[] }) {
  return (
    <ul class="changes">
      {of.map((change) => {
        const name = refText(change.ref);
        const action = actionWord(change.action);
        const differs = (change.before ?? "") !== (change.after ?? "");
        return (
          <li key={name}>
            <p class="change">
              <span class={`tag tag-${action}`}>{action}</span> <b>{name}</b>
            </p>
            {differs && <DiffView before={change.before ?? ""} after={change.after ?? ""} label={name} />}
          </li>
        );
      })}
    </ul>
  );
}

// refText names an object as the command line does.
export function refText(ref: { kind?: string; namespace?: string; name?: string } | undefined): string {
  if (!ref) return "-";
  const namespace = ref.namespace && ref.namespace !== "default" ? `.${ref.namespace}` : "";
  return `${ref.kind} ${ref.name}${namespace}`;
}

export function Problems({ of }: { of: Problem[] }) {
  if (of.length === 0) return null;
  return (
    <ul class="problems">
      {of.map((problem, i) => (
        <li key={i} class={problem.warning ? "fair" : "bad"}>
          <span class="problem-kind">{problem.warning ? "Warning" : "Error"}</span>{" "}
          {problem.origin && <code>{problem.origin}</code>} {problem.field && <code>{problem.field}</code>} {problem.message}
        </li>
      ))}
    </ul>
  );
}
