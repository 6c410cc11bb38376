import { useMemo } from "preact/hooks";
import { count } from "./format";
import { Arrows } from "./marks";
import { boxesOf, type Edge, edgeText, headHeight, type Kind, type Line, rowHeight } from "./mapmodel";
import { curve, type Layout, layOut, rowY } from "./maplayout";
import type { MapData } from "./types";

/** apart is up to how many lines each is an element of its own, with a title. */
const apart = 400;

const kinds: Kind[] = ["allowed", "audited", "denied"];

interface Props {
  map: MapData;
  edges: Edge[];
  isOpen: (group: string) => boolean;
  all: boolean;
  zoom: number;
  chosen: string; // an item's id
  onChoose: (id: string) => void;
  onToggle: (group: string) => void;
}

export function Graph({ map, edges, isOpen, all, zoom, chosen, onChoose, onToggle }: Props) {
  const drawn = useMemo(() => {
    const { boxes, lines } = boxesOf(map, edges, isOpen, all);
    return { boxes, lines, layout: layOut(boxes, lines) };
  }, [map, edges, isOpen, all]);
  const { boxes, lines, layout } = drawn;
  const near = useMemo(() => {
    const out = new Set<string>();
    for (const l of lines) if (l.a === chosen || l.b === chosen) out.add(l.a).add(l.b);
    return out;
  }, [lines, chosen]);
  const dim = chosen !== "" && near.size > 0;
  const name = (i: number) => map.ends[i]?.name ?? "";
  const mine = dim ? lines.filter((l) => l.a === chosen || l.b === chosen) : [];
  return (
    <Arrows of="[tabindex]" class="graph" role="group" aria-label={`Map: ${boxes.length} groups, ${lines.length} lines. The table has the same.`}>
      <svg width={layout.width * zoom} height={layout.height * zoom} viewBox={`0 0 ${layout.width} ${layout.height}`} data-lines={lines.length}>
        <g class={"lines" + (dim ? " dim" : "")} aria-hidden="true">
          {lines.length > apart ? kinds.map((k) => <Bundle key={k} kind={k} lines={lines.filter((l) => l.kind === k)} layout={layout} />) : lines.map((l) => <Curve key={l.a + l.b + l.kind} line={l} layout={layout} name={name} />)}
        </g>
        <g class="lines strong" aria-hidden="true">
          {mine.map((l) => (
            <Curve key={l.a + l.b + l.kind} line={l} layout={layout} name={name} />
          ))}
        </g>
        {boxes.map((b) => (
          <g key={b.group} class={"box" + (b.group.startsWith("ns:") ? "" : " special")}>
            <rect class="frame" x={b.x} y={b.y} width={b.w} height={b.h} rx={6} />
            <g class={"item head" + (b.group === chosen ? " chosen" : "")} tabindex={0} role="button" aria-expanded={b.open} aria-label={`${b.title}, ${b.items.length} ${b.items.length === 1 ? "workload" : "workloads"}`} onClick={() => onToggle(b.group)} onKeyDown={(e) => press(e, () => onToggle(b.group))}>
              <rect x={b.x + 1} y={b.y + 1} width={b.w - 2} height={headHeight - 2} rx={5} />
              <text x={b.x + 10} y={b.y + headHeight / 2 + 4.5}>
                <tspan class="twist">{b.open ? "▾" : "▸"}</tspan> {b.title}
              </text>
              <text class="n" x={b.x + b.w - 10} y={b.y + headHeight / 2 + 4} text-anchor="end">
                {count(b.items.length)}
              </text>
            </g>
            {b.open &&
              b.items.map((it, i) => (
                <g key={it.id} class={"item" + (it.id === chosen ? " chosen" : "") + (dim && !near.has(it.id) ? " far" : "")} tabindex={0} role="button" aria-pressed={it.id === chosen} aria-label={`${it.label} in ${b.title}`} onClick={() => onChoose(it.id)} onKeyDown={(e) => press(e, () => onChoose(it.id))}>
                  <rect x={b.x + 4} y={rowY(b, i) + 1} width={b.w - 8} height={rowHeight - 2} rx={4} />
                  <text x={b.x + 12} y={rowY(b, i) + rowHeight / 2 + 4}>
                    {it.label.length > 32 ? it.label.slice(0, 31) + "…" : it.label}
                  </text>
                  {it.members > 1 && (
                    <text class="n" x={b.x + b.w - 12} y={rowY(b, i) + rowHeight / 2 + 4} text-anchor="end">
                      ×{it.members}
                    </text>
                  )}
                </g>
              ))}
          </g>
        ))}
      </svg>
    </Arrows>
  );
}

function press(e: KeyboardEvent, f: () => void): void {
  if (e.key !== "Enter" && e.key !== " ") return;
  e.preventDefault();
  f();
}

function Curve({ line, layout, name }: { line: Line; layout: Layout; name: (i: number) => string }) {
  const { path, head } = curve(line, layout);
  return (
    <g class={line.kind}>
      <title>{edgeText(line, name)}</title>
      <path class="wide-hit" d={path} />
      <path class="line" d={path} />
      <path class="tip" d={head} />
    </g>
  );
}

/** Bundle draws many lines as one element. */
function Bundle({ kind, lines, layout }: { kind: Kind; lines: Line[]; layout: Layout }) {
  const all = lines.map((l) => curve(l, layout));
  return (
    <g class={kind + " many"}>
      <path class="line" d={all.map((c) => c.path).join("")} />
      <path class="tip" d={all.map((c) => c.head).join("")} />
    </g>
  );
}
