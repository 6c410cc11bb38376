import type { End, FlowRecord, Hits, Verdict } from "./types";

export function count(n: number): string {
  if (n < 10_000) return n.toLocaleString("en-US");
  const units: [number, string][] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, unit] of units) if (n >= size) return (n / size).toFixed(n / size < 100 ? 1 : 0) + unit;
  return String(n);
}

export function bytes(n: number): string {
  let u = 0;
  while (n >= 1024 && u < 4) {
    n /= 1024;
    u++;
  }
  return (u === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][u];
}

export function plural(n: number, word: string, many = word + "s"): string {
  return count(n) + " " + (n === 1 ? word : many);
}

export function time(t: string): string {
  return t.slice(11, 19);
}

export function day(t: string): string {
  return t.slice(0, 10) + " " + time(t) + " UTC";
}

export function endName(e: End): string {
  const name = e.workload?.split("/").slice(1).join("/") || e.workload;
  switch (e.kind) {
    case "Pod":
      return name ? e.namespace + "/" + name : "a pod of " + (e.namespace ?? "another namespace");
    case "Host":
      return e.workload ?? "a node";
  }
  return e.set || e.domain || (e.kind ? "outside" : "others");
}

export function portName(r: { protocol: string; port?: number }): string {
  return r.port ? r.port + "/" + r.protocol : r.protocol;
}

/** short leaves out of a reference what is the usual case. */
export function short(ref: string): string {
  return ref.replace(/^GlobalNetworkPolicy\//, "").replace(/^NetworkPolicy(\.tierwall\.io)?\//, "").replace(/^ClusterNetworkPolicy\//, "");
}

/** decider is the verdict that settled a record: the denial, else the ingress one. */
export function decider(r: FlowRecord): Verdict | undefined {
  const { egress, ingress } = r.decided;
  if (egress?.action === "Deny") return egress;
  if (ingress?.action === "Deny") return ingress;
  const byRule = [ingress, egress].find((v) => v?.reason === "Rule");
  return byRule ?? ingress ?? egress;
}

export function deciderText(v: Verdict | undefined): string {
  if (!v) return "no policy applies";
  switch (v.reason) {
    case "Rule":
      return short(v.policy ?? "") + " rule " + v.rule;
    case "EndOfTier":
      return "end of tier " + v.tier;
    case "Default":
      return "no policy decides";
  }
  return v.policy ? short(v.policy) : v.reason.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

export function wouldDeny(r: FlowRecord): Verdict | undefined {
  if (r.decided.action !== "Allow") return undefined;
  return [r.decided.egress?.audit, r.decided.ingress?.audit].find((v) => v?.action === "Deny");
}

export function connections(r: FlowRecord): number {
  return Math.max(r.connections.new + (r.denied ?? 0), r.connections.live);
}

export function hitsText(h: Hits): string {
  const parts: string[] = [];
  if (h.allowed) parts.push(count(h.allowed) + " allowed");
  if (h.denied) parts.push(count(h.denied) + " denied");
  if (h.wouldAllow) parts.push(count(h.wouldAllow) + " would be allowed");
  if (h.wouldDeny) parts.push(count(h.wouldDeny) + " would be denied");
  return parts.join(", ") || "no hits";
}
