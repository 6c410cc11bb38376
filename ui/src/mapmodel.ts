// What the map shows, of what the server says: ends in groups, edges between those that
// are visible. Nothing here draws.

import { count, portName } from "./format";
import type { MapData, MapEnd } from "./types";

export type Kind = "allowed" | "denied" | "audited";

export interface Edge {
  from: number;
  to: number;
  kind: Kind;
  n: number; // connections; 0 for what policy would allow
  ports: string[];
}

export interface MapFilter {
  of: "seen" | "policy";
  q: string;
  kind: string; // a Kind, or empty
}

/** edgesOf are the edges between ends. */
export function edgesOf(m: MapData, f: MapFilter): Edge[] {
  const hit = (e: MapEnd | undefined) => !!e && (e.group + " " + e.name).toLowerCase().includes(f.q.toLowerCase());
  const out = new Map<string, Edge>();
  const add = (from: number, to: number, kind: Kind, n: number, port: string) => {
    if (f.kind && f.kind !== kind) return;
    if (f.q && !hit(m.ends[from]) && !hit(m.ends[to])) return;
    const key = from + " " + to + " " + kind;
    const e = out.get(key);
    if (!e) {
      out.set(key, { from, to, kind, n, ports: [port] });
      return;
    }
    e.n += n;
    if (!e.ports.includes(port)) e.ports.push(port);
  };
  if (f.of === "seen") {
    for (const s of m.seen) {
      const audited = s.wouldDeny ?? 0;
      if (s.allowed > audited) add(s.from, s.to, "allowed", s.allowed - audited, portName(s));
      if (audited > 0) add(s.from, s.to, "audited", audited, portName(s));
      if (s.denied > 0) add(s.from, s.to, "denied", s.denied, portName(s));
    }
    return [...out.values()];
  }
  m.cells.forEach((row, i) =>
    row.forEach((id, j) => {
      const w = m.ways[id];
      if (w?.byPolicy) add(i, j, "allowed", 0, w.open.map((o) => o.traffic).join(", "));
    }),
  );
  return [...out.values()];
}

/** Item is a group, or an end, that is drawn. */
export interface Item {
  id: string;
  label: string;
  group: string;
  end?: number; // of an end
  members: number;
}

export interface Box {
  group: string;
  title: string;
  open: boolean;
  items: Item[];
  x: number;
  y: number;
  w: number;
  h: number;
}

export interface Line extends Edge {
  a: string; // ids of items
  b: string;
}

export const headHeight = 30;
export const rowHeight = 24;

/** boxesOf groups the ends. Outside addresses that send are a box of their own, so that
 * traffic runs from left to right. */
export function boxesOf(m: MapData, edges: Edge[], isOpen: (group: string) => boolean, all: boolean): { boxes: Box[]; lines: Line[] } {
  const senders = new Set(edges.map((e) => e.from));
  const receivers = new Set(edges.map((e) => e.to));
  const boxes = new Map<string, Box>();
  const box = (group: string, title: string): Box => {
    let b = boxes.get(group);
    if (!b) {
      b = { group, title, open: isOpen(group), items: [], x: 0, y: 0, w: 0, h: 0 };
      boxes.set(group, b);
    }
    return b;
  };
  m.ends.forEach((e, i) => {
    const item = (group: string): Item => ({ id: group + "|" + e.name, label: e.label, group, end: i, members: e.members ?? 0 });
    if (e.group === "outside" && !e.namespaced) {
      if (senders.has(i)) box("outside-in", "Outside").items.push(item("outside-in"));
      if (receivers.has(i)) box("outside-out", "Outside").items.push(item("outside-out"));
      return;
    }
    if (!senders.has(i) && !receivers.has(i) && !(all && e.namespaced)) return;
    const group = e.namespaced ? "ns:" + e.group : e.group;
    box(group, e.namespaced ? e.group : "Nodes").items.push(item(group));
  });
  const groupOf = (i: number, sends: boolean): string => {
    const e = m.ends[i];
    if (!e) return "";
    if (e.namespaced) return "ns:" + e.group;
    return e.group === "outside" ? (sends ? "outside-in" : "outside-out") : e.group;
  };
  const idOf = (i: number, sends: boolean): string => {
    const g = groupOf(i, sends);
    return boxes.get(g)?.open ? g + "|" + m.ends[i]?.name : g;
  };
  const lines = new Map<string, Line>();
  for (const e of edges) {
    const a = idOf(e.from, true);
    const b = idOf(e.to, false);
    const key = a + "\n" + b + "\n" + e.kind;
    const l = lines.get(key);
    if (!l) {
      lines.set(key, { ...e, ports: [...e.ports], a, b });
      continue;
    }
    l.n += e.n;
    for (const p of e.ports) if (!l.ports.includes(p)) l.ports.push(p);
  }
  for (const b of boxes.values()) {
    const longest = Math.max(b.title.length + 6, ...(b.open ? b.items.map((x) => x.label.length) : []));
    b.w = Math.min(260, Math.max(130, longest * 7.2 + 34));
    b.h = headHeight + (b.open ? b.items.length * rowHeight + 6 : 0);
  }
  return { boxes: [...boxes.values()], lines: [...lines.values()] };
}

export function edgeText(e: Edge, name: (i: number) => string): string {
  const n = e.n > 0 ? `, ${count(e.n)} connections` : "";
  return `${name(e.from)} to ${name(e.to)}: ${e.kind === "audited" ? "allowed, audit would deny" : e.kind}, ${e.ports.slice(0, 4).join(", ")}${n}`;
}
