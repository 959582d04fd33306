import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef } from "preact/hooks";

// Dialog asks before something is done. It is the browser's own: focus stays within, Escape
// closes it, and the focus goes back to where it was.
export function Dialog({ title, onClose, children }: { title: string; onClose(): void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const closed = useRef(onClose);
  closed.current = onClose;
  const id = useId();
  // In the same turn as the element comes and goes, not after the next paint: a key that is
  // pressed in between would go to the page behind, or to nobody.
  useLayoutEffect(() => {
    const element = dialog.current!;
    // A browser may close a dialog without asking: "cancel" cannot be prevented when nobody
    // touched the page since the last one. Who opened it must hear of that as well.
    const close = () => closed.current();
    element.addEventListener("close", close);
    element.showModal();
    return () => {
      element.removeEventListener("close", close);
      element.close(); // gives the focus back, which removing the element does not
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}
