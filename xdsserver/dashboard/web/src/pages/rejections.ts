// Which object a refused resource is made of: a client names the resource, the operator
// knows the object. Canonical YAML has one form, so that its lines tell whom it names.

import type { ConfigObject, Rejection } from "../types";

export type Refusal = Rejection & { kind: string; service: string };

// refusal reads a resource's name: "voting", "voting/v2", "tulle/server/voting/...".
export function refusal(r: Rejection): Refusal {
  const kind = (r.type ?? "").split(/[./]/).pop() ?? "";
  const resource = r.resource ?? "";
  const server = /^tulle\/server\/([^/]+)/.exec(resource);
  return { ...r, kind, service: server ? server[1]! : resource.split("/")[0]! };
}

// madeOf returns the objects that the resource is made of, the likeliest kind only.
export function madeOf(r: Rejection, objects: ConfigObject[]): ConfigObject[] {
  const { kind, service } = refusal(r);
  if (service === "") return [];
  const [name, namespace = "default"] = service.split(".") as [string, string?];
  const of = (k: string) => objects.filter((o) => o.ref?.kind === k);
  const itself = of("Service").filter((o) => o.ref?.name === name && (o.ref?.namespace || "default") === namespace);
  if (kind === "Cluster" || kind === "ClusterLoadAssignment") return itself;
  const makers = (r.resource ?? "").startsWith("tulle/server/")
    ? of("AccessPolicy").filter((o) => protects(o, name, namespace))
    : of("GRPCRoute").filter((o) => (o.ref?.namespace || "default") === namespace && section(o.yaml ?? "", "parentRefs").some((line) => value(line, "name") === name));
  return makers.length > 0 ? makers : itself;
}

function protects(o: ConfigObject, name: string, namespace: string): boolean {
  const services = section(o.yaml ?? "", "services").map((line) => line.replace(/^\s*-\s*/, "").replace(/^"(.*)"$/, "$1"));
  const own = o.ref?.namespace || "default";
  if (services.length === 0) return o.ref?.name === name && own === namespace;
  return services.some((s) => s === "*" || s === `*.${namespace}` || s === `${name}.${namespace}` || (s === name && own === namespace));
}

// section returns the lines below spec.NAME.
function section(yaml: string, name: string): string[] {
  const lines = yaml.split("\n");
  const start = lines.findIndex((line) => line === `  ${name}:`);
  if (start < 0) return [];
  const end = lines.findIndex((line, i) => i > start && !/^ {3,}/.test(line));
  return lines.slice(start + 1, end < 0 ? undefined : end);
}

function value(line: string, key: string): string | undefined {
  const match = new RegExp(`^\\s*(?:- )?${key}: "?([^"]*)"?$`).exec(line);
  return match?.[1];
}
