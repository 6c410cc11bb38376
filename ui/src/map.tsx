import { useSignal } from "@preact/signals";
import { useCallback, useEffect, useMemo } from "preact/hooks";
import { ask } from "./api";
import { count, plural } from "./format";
import { Graph } from "./graph";
import { Heat } from "./heat";
import { type Edge, edgesOf, type MapFilter } from "./mapmodel";
import { ActionMark, Busy, Choice, Filter, Notice } from "./marks";
import { href, list, param, setParams, toggle } from "./route";
import { generation } from "./state";
import type { MapData } from "./types";

/** few is up to how many ends all groups are open at first. */
const few = 80;
/** tooMany lines say nothing: groups are closed instead. */
const tooMany = 4000;

export function MapView({ flows }: { flows: boolean }) {
  const map = useSignal<MapData | null>(null);
  const error = useSignal("");
  useEffect(() => {
    const stop = new AbortController();
    ask<MapData>("ui/v1/map", undefined, stop.signal).then((m) => (map.value = m), (e: Error) => !stop.signal.aborted && (error.value = e.message));
    return () => stop.abort();
  }, [generation.value]);
  if (error.value) return <Notice kind="error">{error.value}</Notice>;
  if (!map.value) return <Busy>Evaluating who may reach whom…</Busy>;
  return <Drawn map={map.value} flows={flows} />;
}

function Drawn({ map, flows }: { map: MapData; flows: boolean }) {
  const zoom = useSignal(1);
  const of = (param("of") || (flows ? "seen" : "policy")) as MapFilter["of"];
  const as = param("as") || "graph";
  const q = param("q");
  const kind = param("kind");
  const fold = param("fold");
  const flipped = list("flip").join(",");
  const edges = useMemo(() => edgesOf(map, { of, q, kind }), [map, of, q, kind]);
  const openAtFirst = fold === "open" || (fold !== "closed" && map.ends.length <= few && edges.length <= tooMany);
  // What is outside is many address blocks of which the heat map would be full.
  const isOpen = useCallback((g: string) => (openAtFirst && !(as === "heat" && g === "outside")) !== flipped.split(",").includes(g), [openAtFirst, as, flipped]);
  const onToggle = (g: string) => toggle("flip", g);
  const end = param("end");
  const cell = param("cell");
  return (
    <>
      <div class="bar">
        <h1>Map</h1>
        <Choice label="What to show" value={of} on={(v) => setParams({ of: v, kind: "", end: "", cell: "" })} of={[["seen", "Seen"], ["policy", "May reach"]]} />
        <Choice label="How to show it" value={as} on={(v) => setParams({ as: v, end: "", cell: "" })} of={[["graph", "Graph"], ["heat", "Heat map"], ["table", "Table"]]} />
        <Filter value={q} on={(v) => setParams({ q: v })} label="Filter namespaces, workloads" />
        {of === "seen" && <Choice label="Outcome" value={kind} on={(v) => setParams({ kind: v })} of={[["", "All"], ["allowed", "Allowed"], ["denied", "Denied"], ["audited", "Would be denied"]]} />}
        {as !== "table" && (
          <span class="choice" role="group" aria-label="Groups">
            <button type="button" onClick={() => setParams({ fold: "open", flip: "" })}>
              Open all
            </button>
            <button type="button" onClick={() => setParams({ fold: "closed", flip: "" })}>
              Close all
            </button>
          </span>
        )}
        {as === "graph" && (
          <span class="choice" role="group" aria-label="Size">
            <button type="button" aria-label="Smaller" onClick={() => (zoom.value = Math.max(0.25, zoom.value / 1.25))}>
              −
            </button>
            <button type="button" aria-label="Larger" onClick={() => (zoom.value = Math.min(3, zoom.value * 1.25))}>
              +
            </button>
          </span>
        )}
      </div>
      {of === "seen" && !flows && <Notice kind="empty">No flows were recorded here. Choose “May reach” for what policies allow.</Notice>}
      {of === "policy" && as === "graph" && <p class="lead">Lines are what a rule of a policy allows. What no policy governs is open, too, and has no line; the heat map shows it.</p>}
      {!!map.seenOmitted && of === "seen" && <Notice>{count(map.seenOmitted)} more pairs with fewer connections are left out.</Notice>}
      <div class={"split" + (end || cell ? " with-panel" : "")}>
        {as === "heat" ? (
          <Heat map={map} edges={edges} of={of} q={q} isOpen={isOpen} onToggle={onToggle} chosen={cell} onCell={(a, b) => setParams({ cell: a + " → " + b, end: "" })} />
        ) : as === "table" ? (
          <EdgeTable map={map} edges={edges} of={of} />
        ) : edges.length === 0 ? (
          <Notice kind="empty">{q || kind ? "Nothing matches the filters." : "There is nothing to draw."}</Notice>
        ) : (
          <Graph map={map} edges={edges} isOpen={isOpen} all={!q && !kind && of === "policy" && map.ends.length <= few} zoom={zoom.value} chosen={end} onChoose={(id) => setParams({ end: id === end ? "" : id, cell: "" })} onToggle={onToggle} />
        )}
        {end && <EndPanel map={map} edges={edges} id={end} />}
        {cell && <CellPanel map={map} edges={edges} cell={cell} />}
      </div>
      {as === "graph" && (
        <p class="legend">
          <span class="mark allow">— allowed</span> <span class="mark audit">┄ allowed, audit would deny</span> <span class="mark deny">╌ denied</span> <span class="dim">· choose a workload to see its lines alone</span>
        </p>
      )}
    </>
  );
}

function kindMark(e: Edge) {
  if (e.kind === "audited") return <span class="mark audit"><span aria-hidden="true">◆</span> Audit would deny</span>;
  return <ActionMark action={e.kind === "denied" ? "Deny" : "Allow"} past />;
}

function whyLink(map: MapData, e: Edge) {
  const from = map.ends[e.from];
  const to = map.ends[e.to];
  const port = e.ports[0] ?? "";
  const name = (x?: { name: string; group: string; namespaced?: boolean }) => (!x || x.group === "outside" ? "" : x.name);
  if (!name(from) || !name(to) || !/^\d+\/|^ICMP/.test(port)) return null;
  return <a href={href("why", { from: name(from), to: name(to), port })}>Why</a>;
}

function EdgeTable({ map, edges, of }: { map: MapData; edges: Edge[]; of: string }) {
  const shown = useSignal(500);
  const sorted = useMemo(() => [...edges].sort((a, b) => b.n - a.n), [edges]);
  return (
    <div class="wide">
      <p class="dim count" role="status">
        {plural(edges.length, "line")}
      </p>
      <table>
        <thead>
          <tr>
            <th>From</th>
            <th>To</th>
            <th>{of === "seen" ? "Ports" : "Traffic"}</th>
            <th>Outcome</th>
            {of === "seen" && <th class="num">Connections</th>}
            <th />
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, shown.value).map((e) => (
            <tr key={e.from + " " + e.to + e.kind}>
              <td>{map.ends[e.from]?.name}</td>
              <td>{map.ends[e.to]?.name}</td>
              <td>{e.ports.join(", ")}</td>
              <td>{kindMark(e)}</td>
              {of === "seen" && <td class="num">{count(e.n)}</td>}
              <td>{whyLink(map, e)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {edges.length > shown.value && (
        <button type="button" onClick={() => (shown.value += 500)}>
          Show more
        </button>
      )}
    </div>
  );
}

function EndPanel({ map, edges, id }: { map: MapData; edges: Edge[]; id: string }) {
  const name = id.split("|")[1] ?? "";
  const i = map.ends.findIndex((e) => e.name === name);
  const end = map.ends[i];
  if (!end) return null;
  const out = edges.filter((e) => e.from === i);
  const inn = edges.filter((e) => e.to === i);
  return (
    <aside class="panel" aria-label={end.name}>
      <header>
        <h2>{end.name}</h2>
        <button type="button" aria-label="Close" onClick={() => setParams({ end: "" })}>
          ✕
        </button>
      </header>
      {end.ports && <p class="dim">Ports {end.ports.join(", ")}</p>}
      <EdgeList title="Receives from" map={map} edges={inn} other={(e) => e.from} />
      <EdgeList title="Sends to" map={map} edges={out} other={(e) => e.to} />
      <p>
        <a href={href("flows", end.group === "outside" ? {} : { q: end.name })}>Its flows</a>
      </p>
    </aside>
  );
}

function EdgeList({ title, map, edges, other }: { title: string; map: MapData; edges: Edge[]; other: (e: Edge) => number }) {
  return (
    <>
      <h3>
        {title} <span class="dim">{edges.length}</span>
      </h3>
      {edges.length === 0 ? (
        <p class="dim">nobody</p>
      ) : (
        <ul class="edges">
          {edges.slice(0, 200).map((e) => (
            <li key={e.from + " " + e.to + e.kind}>
              <span class="who">{map.ends[other(e)]?.name}</span> {whyLink(map, e)}
              <span class="what">
                {kindMark(e)} <span class="dim">{e.ports.slice(0, 6).join(", ")}{e.n > 0 && ` · ${count(e.n)}`}</span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

function CellPanel({ map, edges, cell }: { map: MapData; edges: Edge[]; cell: string }) {
  const [a = "", b = ""] = cell.split(" → ");
  const inGroup = (i: number, id: string) => {
    const e = map.ends[i];
    return !!e && (e.name === id || (e.namespaced ? "ns:" + e.group : e.group) === id);
  };
  const title = (id: string) => (id.startsWith("ns:") ? id.slice(3) : id);
  const mine = edges.filter((e) => inGroup(e.from, a) && inGroup(e.to, b));
  const i = map.ends.findIndex((e) => e.name === a);
  const j = map.ends.findIndex((e) => e.name === b);
  const ways = map.ways[map.cells[i]?.[j] ?? -1];
  return (
    <aside class="panel" aria-label={title(a) + " to " + title(b)}>
      <header>
        <h2>
          {title(a)} → {title(b)}
        </h2>
        <button type="button" aria-label="Close" onClick={() => setParams({ cell: "" })}>
          ✕
        </button>
      </header>
      {ways && (
        <>
          <h3>Policy allows</h3>
          <dl>
            {ways.open.map((w, k) => (
              <div key={k}>
                <dt>{w.traffic}</dt>
                <dd class="dim">
                  {w.egress && <>egress: {w.egress}</>}
                  {w.egress && w.ingress && <br />}
                  {w.ingress && <>ingress: {w.ingress}</>}
                  {!w.egress && !w.ingress && "no policy applies"}
                </dd>
              </div>
            ))}
          </dl>
        </>
      )}
      {i >= 0 && j >= 0 && !ways && <p>Policy allows nothing.</p>}
      {mine.length > 0 && (
        <ul class="edges">
          {mine.slice(0, 200).map((e) => (
            <li key={e.from + " " + e.to + e.kind}>
              <span class="who">
                {map.ends[e.from]?.label} → {map.ends[e.to]?.label}
              </span>{" "}
              {whyLink(map, e)}
              <span class="what">
                {kindMark(e)} <span class="dim">{e.ports.slice(0, 6).join(", ")}{e.n > 0 && ` · ${count(e.n)}`}</span>
              </span>
            </li>
          ))}
        </ul>
      )}
    </aside>
  );
}
