import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

type Ids = { id: string; "aria-describedby": string; "aria-invalid": boolean };

// Field is an input with its label above and a hint, or what is wrong with it, below.
export function Field({ label, hint, problem, children }: { label: string; hint: string; problem?: string; children: (ids: Ids) => ComponentChildren }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, "aria-describedby": `${id}-hint`, "aria-invalid": problem !== undefined })}
      <span id={`${id}-hint`} class={problem ? "hint bad" : "hint"}>{problem ?? hint}</span>
    </div>
  );
}
