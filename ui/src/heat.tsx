import { count } from "./format";
import { Arrows } from "./marks";
import type { Edge } from "./mapmodel";
import type { MapData } from "./types";

interface Axis {
  id: string;
  label: string;
  group: string;
  ends: number[];
  open?: boolean; // of a group's line
}

interface Props {
  map: MapData;
  edges: Edge[];
  of: "seen" | "policy";
  q: string;
  isOpen: (group: string) => boolean;
  onToggle: (group: string) => void;
  onCell: (from: string, to: string) => void;
  chosen: string;
}

/** most is how many lines a table has: past it groups stay closed. */
const most = 90;

export function Heat({ map, edges, of, q, isOpen, onToggle, onCell, chosen }: Props) {
  const seen = new Map<string, { n: number; denied: number; audited: number }>();
  for (const e of edges) {
    const k = e.from + " " + e.to;
    const s = seen.get(k) ?? { n: 0, denied: 0, audited: 0 };
    seen.set(k, s);
    s.n += e.n;
    if (e.kind === "denied") s.denied += e.n;
    if (e.kind === "audited") s.audited += e.n;
  }
  const used = new Set(edges.flatMap((e) => [e.from, e.to]));
  const wanted = map.ends.map((e, i) => (of === "seen" ? used.has(i) : i < map.matrixSize) && (!q || used.has(i) || (e.group + " " + e.name).toLowerCase().includes(q.toLowerCase())));
  const groups = new Map<string, number[]>();
  map.ends.forEach((e, i) => {
    if (!wanted[i]) return;
    const g = e.namespaced ? "ns:" + e.group : e.group === "outside" ? "outside" : e.group;
    groups.set(g, [...(groups.get(g) ?? []), i]);
  });
  const axis: Axis[] = [];
  let room = most - groups.size;
  const rank = (g: string) => (g.startsWith("ns:") ? 0 : g === "nodes" ? 1 : 2);
  const sorted = [...groups].sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
  for (const [g, ends] of sorted) {
    const title = g.startsWith("ns:") ? g.slice(3) : g === "nodes" ? "Nodes" : "Outside";
    const fits = ends.length <= room;
    const open = isOpen(g) && fits;
    axis.push({ id: g, label: title, group: g, ends, open });
    if (!open) continue;
    room -= ends.length;
    for (const i of ends) axis.push({ id: map.ends[i]?.name ?? "", label: map.ends[i]?.label ?? "", group: g, ends: [i] });
  }
  const peak = Math.max(1, ...[...seen.values()].map((s) => s.n));
  const cell = (from: Axis, to: Axis) => (of === "seen" ? seenCell(from, to, seen, peak) : openCell(from, to, map));
  return (
    <Arrows of="td button, th button" class="wide heat">
      <table class={"matrix " + of}>
        <caption>{of === "seen" ? "Connections seen, from the row to the column" : "What policy allows, from the row to the column"}</caption>
        <thead>
          <tr>
            <td />
            {axis.map((a) => (
              <th key={a.id} scope="col" class={a.open === undefined ? "" : "group"}>
                {a.open === undefined ? <span>{a.label}</span> : <button type="button" aria-expanded={a.open} onClick={() => onToggle(a.group)}>{a.open ? "▾ " : "▸ "}{a.label}</button>}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {axis.map((row) => (
            <tr key={row.id} class={row.open === undefined ? "" : "group"}>
              <th scope="row">
                {row.open === undefined ? <span>{row.label}</span> : <button type="button" aria-expanded={row.open} onClick={() => onToggle(row.group)}>{row.open ? "▾ " : "▸ "}{row.label}</button>}
              </th>
              {axis.map((col) => {
                const c = cell(row, col);
                const id = row.id + " → " + col.id;
                return (
                  <td key={col.id} class={c.kind + " heat" + c.level + (col.open === undefined ? "" : " group") + (id === chosen ? " chosen" : "")}>
                    {c.mark && (
                      <button type="button" tabIndex={-1} title={`${row.label} → ${col.label}: ${c.text}`} aria-label={`${row.label} to ${col.label}: ${c.text}`} onClick={() => onCell(row.id, col.id)}>
                        {c.mark}
                      </button>
                    )}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <p class="legend">
        {of === "seen" ? (
          <>
            <span class="mark allow">● allowed</span> <span class="mark audit">◆ audit would deny</span> <span class="mark deny">✕ denied</span> · the darker, the more connections
          </>
        ) : (
          <>
            <span class="mark allow">● all ports that it names</span> <span class="mark allow">◐ some</span> <span class="dim">empty: nothing</span>
          </>
        )}
      </p>
    </Arrows>
  );
}

interface Cell {
  mark: string;
  text: string;
  kind: string;
  level: number;
}

const empty: Cell = { mark: "", text: "nothing", kind: "none", level: 0 };

function openCell(from: Axis, to: Axis, map: MapData): Cell {
  let all = 0;
  let some = 0;
  let asked = 0;
  let traffic = "";
  for (const i of from.ends)
    for (const j of to.ends) {
      const id = map.cells[i]?.[j] ?? -2;
      if (id === -2) continue;
      asked++;
      const w = map.ways[id];
      if (!w) continue;
      if (w.all) all++;
      else some++;
      traffic = w.open.map((o) => o.traffic).join("; ");
    }
  if (asked === 0) return { ...empty, kind: "unasked" };
  if (all + some === 0) return empty;
  const one = from.ends.length * to.ends.length === 1;
  const text = one ? traffic : `${all + some} of ${asked} pairs`;
  return { mark: all === asked ? "●" : "◐", text, kind: "allow", level: all === asked ? 3 : all + some > asked / 2 ? 2 : 1 };
}

function seenCell(from: Axis, to: Axis, seen: Map<string, { n: number; denied: number; audited: number }>, peak: number): Cell {
  let n = 0;
  let denied = 0;
  let audited = 0;
  for (const i of from.ends)
    for (const j of to.ends) {
      const s = seen.get(i + " " + j);
      if (!s) continue;
      n += s.n;
      denied += s.denied;
      audited += s.audited;
    }
  if (n === 0) return empty;
  const level = Math.min(3, Math.max(1, Math.ceil((Math.log(n + 1) / Math.log(peak + 1)) * 3)));
  const mark = denied === n ? "✕" : denied > 0 ? "●✕" : audited > 0 ? "◆" : "●";
  const text = `${count(n)} connections` + (denied ? `, ${count(denied)} denied` : "") + (audited ? `, ${count(audited)} audit would deny` : "");
  return { mark, text, kind: denied === n ? "deny" : denied > 0 ? "mixed" : audited > 0 ? "audit" : "allow", level };
}
