import { useId } from "preact/hooks";
import { Command } from "../ui/bits";
import { Field } from "./field";
import { tapCommand, wrong, type TapForm as Form } from "./tapcommand";

type Props = {
  form: Form;
  services: string[];
  methods: string[];
  mayTap: boolean;
  mayPayload: boolean;
  running: boolean;
  onChange(form: Form): void;
  onStart(): void;
  onStop(): void;
};

// TapForm chooses calls, and shows the command that would choose the same.
export function TapForm(props: Props) {
  const { form, running } = props;
  const problems = wrong(form);
  const servicesId = useId();
  const methodsId = useId();
  const set = (change: Partial<Form>) => props.onChange({ ...form, ...change });
  const text = (name: "service" | "instance" | "to" | "from" | "method" | "maxRps", rest: { label: string; hint: string; list?: string; required?: boolean }) => (
    <Field label={rest.label} hint={rest.hint} problem={name === "service" ? undefined : problems[name]}>
      {(ids) => (
        <input
          {...ids}
          type="text"
          inputMode={name === "maxRps" ? "numeric" : undefined}
          list={rest.list}
          required={rest.required}
          autocomplete="off"
          spellcheck={false}
          value={form[name]}
          onInput={(event) => set({ [name]: event.currentTarget.value })}
        />
      )}
    </Field>
  );
  return (
    <form
      class="panel tap-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (running) props.onStop();
        else if (Object.keys(problems).length === 0 && props.mayTap) props.onStart();
      }}
    >
      <div class="fields">
        {text("service", { label: "Service", hint: "whose processes report", list: servicesId, required: true })}
        {text("to", { label: "To", hint: "calls it makes to this service", list: servicesId })}
        {text("from", { label: "From", hint: "calls it takes from this service", list: servicesId })}
        {text("method", { label: "Method", hint: "full, a name, or a pattern with *", list: methodsId })}
        {text("instance", { label: "Instance", hint: "one process of it" })}
        {text("maxRps", { label: "Calls a second", hint: "at most, 1 to 1000" })}
        <Field label="Metadata" hint="key=value, one on a line" problem={problems.metadata}>
          {(ids) => <textarea {...ids} rows={1} spellcheck={false} value={form.metadata} onInput={(event) => set({ metadata: event.currentTarget.value })} />}
        </Field>
      </div>
      <div class="choices">
        <label class="check">
          <input type="checkbox" checked={form.failures} onChange={(event) => set({ failures: event.currentTarget.checked })} /> Failures only
        </label>
        <label class={props.mayPayload ? "check" : "check off"}>
          <input type="checkbox" checked={form.payload && props.mayPayload} disabled={!props.mayPayload} onChange={(event) => set({ payload: event.currentTarget.checked })} /> Messages
          {props.mayPayload && <span class="quiet">as JSON; what is secret is taken out in the process</span>}
          {!props.mayPayload && <span class="quiet">(this login may not see them: xdsserver dashboard --may view,tap,payload; xdsserver itself needs serve --tap payload)</span>}
        </label>
      </div>
      <datalist id={servicesId}>{props.services.map((s) => <option key={s} value={s} />)}</datalist>
      <datalist id={methodsId}>{props.methods.map((m) => <option key={m} value={m} />)}</datalist>
      <div class="bar tap-start">
        <button type="submit" class="primary" disabled={!running && (!props.mayTap || Object.keys(problems).length > 0)}>{running ? "Stop" : "Start"}</button>
        <Command text={tapCommand(form)} />
      </div>
    </form>
  );
}
