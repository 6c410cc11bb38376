// Places boxes and draws lines between their rows.

import * as dagre from "@dagrejs/dagre";
import { type Box, headHeight, type Line, rowHeight } from "./mapmodel";

export interface Place {
  x: number;
  y: number;
  w: number;
}

export interface Layout {
  width: number;
  height: number;
  places: Map<string, Place>; // of items and groups: the middle of the left side
  /** bends are the points between two groups that are more than a column apart, by which
   * their lines go around what is between. */
  bends: Map<string, { x: number; y: number }[]>;
}

/** layOut places the boxes by their traffic, from left to right. */
export function layOut(boxes: Box[], lines: Line[]): Layout {
  const g = new dagre.graphlib.Graph();
  g.setGraph({ rankdir: "LR", nodesep: 22, ranksep: 90, marginx: 16, marginy: 16, ranker: "longest-path" });
  g.setDefaultEdgeLabel(() => ({}));
  for (const b of boxes) g.setNode(b.group, { width: b.w, height: b.h });
  const weight = new Map<string, number>();
  for (const l of lines) {
    const a = groupOf(l.a);
    const b = groupOf(l.b);
    if (a !== b) weight.set(a + "\n" + b, (weight.get(a + "\n" + b) ?? 0) + 1);
  }
  // Of two directions the heavier one counts: the layout has no use for circles. Of many
  // pairs the heaviest do: a place cannot suit all, and the time grows with their square.
  const pairs = [...weight].filter(([k, n]) => {
    const [a = "", b = ""] = k.split("\n");
    const back = weight.get(b + "\n" + a) ?? 0;
    return n > back || (n === back && a < b);
  });
  pairs.sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  for (const [k, n] of pairs.slice(0, Math.max(40, 2 * boxes.length))) {
    const [a = "", b = ""] = k.split("\n");
    g.setEdge(a, b, { weight: Math.min(n, 10) });
  }
  dagre.layout(g);
  const places = new Map<string, Place>();
  let width = 0;
  let height = 0;
  for (const b of boxes) {
    const n = g.node(b.group) as { x: number; y: number };
    b.x = Math.round(n.x - b.w / 2);
    b.y = Math.round(n.y - b.h / 2);
    width = Math.max(width, b.x + b.w + 16);
    height = Math.max(height, b.y + b.h + 16);
    places.set(b.group, { x: b.x, y: b.y + headHeight / 2, w: b.w });
    if (b.open) b.items.forEach((it, i) => places.set(it.id, { x: b.x, y: rowY(b, i) + rowHeight / 2, w: b.w }));
  }
  const bends: Layout["bends"] = new Map();
  for (const e of g.edges()) {
    const inner = (g.edge(e) as { points?: { x: number; y: number }[] }).points?.slice(1, -1) ?? [];
    if (inner.length > 1) bends.set(e.v + "\n" + e.w, inner);
  }
  return { width, height, places, bends };
}

export function rowY(b: Box, i: number): number {
  return b.y + headHeight + i * rowHeight;
}

function groupOf(id: string): string {
  return id.split("|")[0] ?? id;
}

/** beside keeps lines of different kinds apart that go the same way. */
const beside = { audited: -5, allowed: 0, denied: 5 };

/** curve is the path of a line and of its arrow's head. */
export function curve(l: Line, { places, bends }: Layout): { path: string; head: string } {
  const a = places.get(l.a);
  const b = places.get(l.b);
  if (!a || !b) return { path: "", head: "" };
  const by = bends.get(groupOf(l.a) + "\n" + groupOf(l.b));
  if (by) return through(a.x + a.w, a.y, by.map((p) => ({ x: p.x, y: p.y + beside[l.kind] })), b.x, b.y);
  const sameColumn = a.x < b.x + b.w && b.x < a.x + a.w;
  let sx = a.x + a.w;
  let tx = b.x;
  let into = 1; // the arrow points right
  let bend = Math.max(40, Math.abs(tx - sx) / 2);
  let c1 = sx + bend;
  let c2 = tx - bend;
  if (sameColumn) {
    tx = b.x + b.w;
    into = -1;
    bend = 26 + Math.min(60, Math.abs(a.y - b.y) * 0.18);
    c1 = sx + bend;
    c2 = tx + bend;
  } else if (b.x < a.x) {
    sx = a.x;
    tx = b.x + b.w;
    into = -1;
    bend = Math.max(40, (sx - tx) / 2);
    c1 = sx - bend;
    c2 = tx + bend;
  }
  const end = tx - into * 6;
  return {
    path: `M${sx} ${a.y}C${c1} ${a.y} ${c2} ${b.y} ${end} ${b.y}`,
    head: `M${tx} ${b.y}l${-into * 7} -3.5v7z`,
  };
}

/** through is a curve from left to right by some points. */
function through(x: number, y: number, by: { x: number; y: number }[], tx: number, ty: number): { path: string; head: string } {
  let path = `M${x} ${y}`;
  for (const p of [...by, { x: tx - 6, y: ty }]) {
    const bend = (p.x - x) / 2;
    path += `C${Math.round(x + bend)} ${Math.round(y)} ${Math.round(p.x - bend)} ${Math.round(p.y)} ${Math.round(p.x)} ${Math.round(p.y)}`;
    ({ x, y } = p);
  }
  return { path, head: `M${tx} ${ty}l-7 -3.5v7z` };
}
