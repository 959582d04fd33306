// A tap as the form holds it, as the address of its stream, and as the command that does
// the same in a terminal.

export type TapForm = {
  service: string;
  instance: string;
  to: string;
  from: string;
  method: string;
  metadata: string; // lines of key=value
  failures: boolean;
  maxRps: string;
  payload: boolean;
};

export const emptyTap: TapForm = {
  service: "",
  instance: "",
  to: "",
  from: "",
  method: "",
  metadata: "",
  failures: false,
  maxRps: "100",
  payload: false,
};

export function metadataOf(form: TapForm): string[] {
  return form.metadata
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

// wrong says what is wrong with a form, by the field's name.
export function wrong(form: TapForm): Partial<Record<keyof TapForm, string>> {
  const problems: Partial<Record<keyof TapForm, string>> = {};
  if (form.service.trim() === "") problems.service = "Say whose processes report.";
  const rps = Number(form.maxRps);
  if (form.maxRps.trim() === "" || !(rps >= 1 && rps <= 1000)) problems.maxRps = "A number from 1 to 1000.";
  const bad = metadataOf(form).find((line) => !/^[a-z0-9._-]+=/.test(line));
  if (bad !== undefined) problems.metadata = "Write key=value, one on a line, keys in lower case.";
  return problems;
}

export function tapQuery(form: TapForm): string {
  const query = new URLSearchParams();
  for (const name of ["service", "instance", "to", "from", "method"] as const) {
    const value = form[name].trim();
    if (value !== "") query.set(name, value);
  }
  for (const line of metadataOf(form)) query.append("metadata", line);
  if (form.failures) query.set("failures", "1");
  query.set("maxRps", form.maxRps.trim());
  if (form.payload) query.set("payload", "1");
  return query.toString();
}

export function tapCommand(form: TapForm): string {
  const words = ["xdsserver", "tap", shellQuote(form.service.trim() || "SERVICE")];
  const flag = (name: string, value: string) => {
    if (value !== "") words.push(`--${name}`, shellQuote(value));
  };
  flag("instance", form.instance.trim());
  flag("to", form.to.trim());
  flag("from", form.from.trim());
  flag("method", form.method.trim());
  for (const line of metadataOf(form)) flag("header", line);
  if (form.failures) words.push("--failures");
  if (form.maxRps.trim() !== "100") flag("max-rps", form.maxRps.trim());
  if (form.payload) words.push("--payload");
  return words.join(" ");
}

// shellQuote makes one word of a POSIX shell of any text.
export function shellQuote(text: string): string {
  if (/^[A-Za-z0-9_./:=@%+,-]+$/.test(text)) return text;
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
