import type { Ref } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { highlight } from "./highlight";
import { Tokens } from "./view";

export type Mark = { line: number; warning: boolean };
export type Editor = { jump(line: number, column: number): void };

type Props = {
  value: string;
  label: string;
  marks: Mark[];
  describedBy?: string;
  handle?: Ref<Editor>;
  onInput(value: string): void;
  onSubmit?(): void;
};

// YamlEditor is a plain textarea over its own coloured copy. The textarea is as large as
// its text and the box around both scrolls, so that nothing must be kept in step by hand.
// Tab leaves it, as everywhere else; Ctrl+] and Ctrl+[ indent.
export function YamlEditor({ value, label, marks, describedBy, handle, onInput, onSubmit }: Props) {
  const area = useRef<HTMLTextAreaElement>(null);
  const lines = useMemo(() => highlight(value), [value]);
  const marked = useMemo(() => {
    const worst = new Map<number, string>();
    for (const mark of marks) {
      if (!mark.warning || !worst.has(mark.line)) worst.set(mark.line, mark.warning ? "warned" : "wrong");
    }
    return worst;
  }, [marks]);

  useEffect(() => {
    const editor: Editor = {
      jump(line, column) {
        const text = area.current;
        if (!text) return;
        let at = 0;
        for (let i = 1; i < line; i++) {
          const end = text.value.indexOf("\n", at);
          if (end < 0) break;
          at = end + 1;
        }
        const end = text.value.indexOf("\n", at);
        at = Math.min(at + Math.max(0, column - 1), end < 0 ? text.value.length : end);
        text.focus();
        text.setSelectionRange(at, at);
        text.closest(".editor")?.querySelector(`[data-line="${Number(line)}"]`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
      },
    };
    if (typeof handle === "function") handle(editor);
    else if (handle) handle.current = editor;
  }, [handle]);

  const onKeyDown = (event: KeyboardEvent) => {
    const text = event.currentTarget as HTMLTextAreaElement;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key === "Enter") {
      event.preventDefault();
      onSubmit?.();
    } else if (command && (event.key === "]" || event.key === "[")) {
      event.preventDefault();
      shift(text, event.key === "]");
    } else if (event.key === "Enter" && !event.shiftKey && !event.altKey && !event.isComposing) {
      event.preventDefault();
      insert(text, `\n${indentation(text)}`);
    }
  };

  return (
    <div class="editor">
      <div class="editor-sheet">
        <div class="editor-lines" aria-hidden="true">
          {lines.map((tokens, i) => (
            <div key={i} class={`editor-line ${marked.get(i + 1) ?? ""}`} data-line={i + 1}>
              <span class="yaml-number">{i + 1}</span>
              <span class="yaml-text">
                <Tokens tokens={tokens} />
                {"\n"}
              </span>
            </div>
          ))}
        </div>
        <textarea
          ref={area}
          class="editor-input"
          aria-label={label}
          aria-describedby={describedBy}
          aria-invalid={marks.some((mark) => !mark.warning)}
          value={value}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          wrap="off"
          onInput={(event) => onInput(event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
      </div>
    </div>
  );
}

// insert types text, so that the browser's own undo knows of it. execCommand is marked as
// obsolete and has no successor for this.
function insert(area: HTMLTextAreaElement, text: string) {
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
}

// indentation of the next line: that of this one, deeper after a colon.
function indentation(area: HTMLTextAreaElement): string {
  const before = area.value.slice(0, area.selectionStart);
  const line = before.slice(before.lastIndexOf("\n") + 1);
  const indent = /^ */.exec(line)![0];
  const code = line.replace(/\s+#.*$/, "").trimEnd();
  const dash = /^ *(- +)/.exec(line)?.[1] ?? "";
  if (code.endsWith(":")) return `${indent}${" ".repeat(dash.length)}  `;
  return indent + " ".repeat(dash.length);
}

// shift moves the lines of the selection by one step.
function shift(area: HTMLTextAreaElement, deeper: boolean) {
  const { value, selectionStart, selectionEnd } = area;
  const from = value.lastIndexOf("\n", selectionStart - 1) + 1;
  const next = value.indexOf("\n", selectionEnd);
  const to = next < 0 ? value.length : next;
  const lines = value.slice(from, to).split("\n");
  const moved = lines.map((line) => (deeper ? (line === "" ? line : `  ${line}`) : line.replace(/^ {1,2}/, ""))).join("\n");
  area.setSelectionRange(from, to);
  insert(area, moved);
  area.setSelectionRange(lines.length === 1 ? from + moved.length : from, from + moved.length);
}
