import { useComputed, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask, follow } from "./api";
import { Chart, type Point } from "./chart";
import { bytes, connections, count, day, decider, deciderText, endName, plural, portName, short, time, wouldDeny } from "./format";
import { ActionMark, Arrows, Busy, Choice, Filter, Notice } from "./marks";
import { go, href, param, setParams } from "./route";
import { generation, opened } from "./state";
import type { End, FlowRecord } from "./types";

const page = 200;
const kept = 20_000;

/** Line is a record, or the sum of the records that differ in their time only. */
interface Line {
  record: FlowRecord; // the latest
  from: string;
  to: string;
  port: string;
  by: string;
  n: number;
  bytes: number | null;
  // The address of an end outside; "several" where the records differ.
  fromAddr: string;
  toAddr: string;
}

const several = "addresses";

function addressOf(e: End): string {
  return (e.addresses?.length ?? 0) > 1 ? several : (e.addresses?.[0] ?? "");
}

function sums(records: FlowRecord[], apart: boolean): Line[] {
  const lines = new Map<string, Line>();
  for (let i = records.length - 1; i >= 0; i--) {
    const r = records[i];
    if (!r) continue;
    const from = endName(r.source);
    const to = endName(r.destination);
    const port = portName(r);
    const by = deciderText(decider(r));
    const volume = r.sent || r.received ? (r.sent?.bytes ?? 0) + (r.received?.bytes ?? 0) : null;
    const key = apart ? String(i) : [from, to, port, r.decided.action, by, wouldDeny(r)?.policy].join("\n");
    const l = lines.get(key);
    if (!l) {
      lines.set(key, { record: r, from, to, port, by, n: connections(r), bytes: volume, fromAddr: addressOf(r.source), toAddr: addressOf(r.destination) });
      continue;
    }
    if (l.fromAddr !== addressOf(r.source)) l.fromAddr = several;
    if (l.toAddr !== addressOf(r.destination)) l.toAddr = several;
    l.n += connections(r);
    if (volume !== null) l.bytes = (l.bytes ?? 0) + volume;
  }
  const out = [...lines.values()];
  return apart ? out : out.sort((a, b) => b.record.end.localeCompare(a.record.end) || b.n - a.n);
}

interface RecordList {
  items: FlowRecord[];
  next?: string;
  omitted?: number;
  notes?: string[];
}

/** readAll reads page by page; of more records than are kept the last ones. */
async function readAll(signal: AbortSignal): Promise<{ items: FlowRecord[]; notes: string[] }> {
  let items: FlowRecord[] = [];
  let notes: string[] = [];
  let omitted = 0; // records
  let past = 0; // connections
  let cursor = "";
  do {
    const l: RecordList = await ask("flows/v1/records?limit=10000" + (cursor && "&cursor=" + encodeURIComponent(cursor)), undefined, signal);
    items = [...items, ...l.items];
    if (items.length > kept) {
      omitted += items.length - kept;
      items = items.slice(-kept);
    }
    notes = l.notes ?? [];
    past += l.omitted ?? 0;
    cursor = l.next ?? "";
  } while (cursor);
  if (past > 0) notes = [...notes, `${count(past)} connections are in no record with ends: agents had reached their limit of distinct flows`];
  if (omitted > 0) notes = [...notes, `${count(omitted)} earlier records are left out`];
  return { items, notes };
}

const filters = ["namespace", "from", "to", "port", "action", "policy", "since", "until"] as const;

function matches(r: FlowRecord): boolean {
  const is = (name: string, ok: (v: string) => boolean) => {
    const v = param(name);
    return !v || ok(v);
  };
  const deciders = [r.decided.egress, r.decided.ingress, r.decided.egress?.audit, r.decided.ingress?.audit];
  const q = param("q").toLowerCase();
  const from = endName(r.source);
  const to = endName(r.destination);
  return (
    is("namespace", (v) => r.source.namespace === v || r.destination.namespace === v) &&
    is("from", (v) => from === v) &&
    is("to", (v) => to === v) &&
    is("port", (v) => portName(r) === v) &&
    is("action", (v) => (v === "Audit" ? !!wouldDeny(r) : r.decided.action === v)) &&
    is("policy", (v) => deciders.some((d) => d?.policy === v || (v.startsWith("tier:") && d?.reason === "EndOfTier" && "tier:" + d.tier === v))) &&
    is("since", (v) => r.end > v) &&
    is("until", (v) => r.start < v) &&
    (!q || [from, to, portName(r), deciderText(decider(r)), ...(r.source.addresses ?? []), ...(r.destination.addresses ?? [])].join(" ").toLowerCase().includes(q))
  );
}

export function FlowsView({ flows }: { flows: boolean }) {
  const records = useSignal<FlowRecord[] | null>(null);
  const error = useSignal("");
  const notes = useSignal<string[]>([]);
  const live = useSignal(true);
  const shown = useSignal(page);
  useEffect(() => {
    if (!flows) return;
    const stop = new AbortController();
    readAll(stop.signal)
      .then((l) => {
        records.value = l.items;
        notes.value = l.notes;
      })
      .catch((e: Error) => !stop.signal.aborted && (error.value = e.message));
    return () => stop.abort();
  }, [flows, generation.value]);
  useEffect(() => {
    if (!flows || !live.value) return;
    const stop = new AbortController();
    follow((fresh) => (records.value = [...(records.value ?? []), ...fresh].slice(-kept)), stop.signal).catch((e: Error) => !stop.signal.aborted && (error.value = e.message));
    return () => stop.abort();
  }, [flows, live.value]);
  const apart = param("each") === "true";
  const found = useComputed(() => (records.value ?? []).filter(matches));
  const lines = useComputed(() => sums(found.value, param("each") === "true"));
  const points = useComputed(() => chartPoints(found.value));
  if (!flows) return <NoFlows />;
  if (error.value && !records.value) return <Notice kind="error">{error.value}</Notice>;
  if (!records.value) return <Busy>Reading the flows…</Busy>;
  const set = filters.filter((f) => param(f));
  return (
    <>
      <div class="bar">
        <h1>Flows</h1>
        <Filter value={param("q")} on={(v) => setParams({ q: v })} label="Filter by name, port, address" />
        <Choice label="Outcome" value={param("action")} on={(v) => setParams({ action: v })} of={[["", "All"], ["Allow", "Allowed"], ["Deny", "Denied"], ["Audit", "Would be denied"]]} />
        <Choice label="Lines" value={apart ? "true" : ""} on={(v) => setParams({ each: v })} of={[["", "Summed"], ["true", "Each window"]]} />
        <button type="button" aria-pressed={live.value} onClick={() => (live.value = !live.value)}>
          {live.value ? "● Live" : "○ Paused"}
        </button>
      </div>
      {set.length > 0 && (
        <p class="chips" aria-label="Filters">
          {set.map((f) => (
            <button key={f} type="button" class="chip" onClick={() => setParams({ [f]: "" })} aria-label={`Remove filter ${f} ${param(f)}`}>
              {f} <b>{f === "policy" ? short(param(f)) : f === "since" || f === "until" ? time(param(f)) : param(f)}</b> ✕
            </button>
          ))}
          <button type="button" class="link" onClick={() => setParams(Object.fromEntries(filters.map((f) => [f, ""])))}>
            Clear all
          </button>
        </p>
      )}
      {notes.value.map((n) => <Notice key={n}>{n}</Notice>)}
      {found.value.length > 0 && (
        <Chart points={points.value} on={(a, b) => setParams({ since: iso(a), until: iso(b) })} />
      )}
      <p class="dim count" role="status">
        {plural(lines.value.length, apart ? "record" : "flow")}{found.value.length !== records.value.length && ` of ${plural(records.value.length, "record")}`}. A cell filters by what it holds; Why explains.
      </p>
      <Arrows of="td button, td a" class="wide">
        <table class="flows">
          <thead>
            <tr>
              <th>{apart ? "Window" : "Last seen"}</th>
              <th>From</th>
              <th>To</th>
              <th>Port</th>
              <th>Outcome</th>
              <th>Decided by</th>
              <th class="num">Connections</th>
              <th class="num">Bytes</th>
              <th>
                <span class="sr">Explanation</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {lines.value.slice(0, shown.value).map((l, i) => (
              <Row key={i} line={l} first={i === 0} apart={apart} />
            ))}
          </tbody>
        </table>
      </Arrows>
      {lines.value.length === 0 && <Notice kind="empty">No flow matches. {set.length > 0 && "Remove a filter to see more."}</Notice>}
      {lines.value.length > shown.value && (
        <button type="button" onClick={() => (shown.value += page)}>
          Show {Math.min(page, lines.value.length - shown.value)} more of {count(lines.value.length - shown.value)}
        </button>
      )}
    </>
  );
}

function iso(seconds: number): string {
  return new Date(Math.round(seconds) * 1000).toISOString().replace(".000", "");
}

function chartPoints(records: FlowRecord[]): Point[] {
  const at = new Map<number, Point>();
  for (const r of records) {
    const t = Date.parse(r.start) / 1000;
    const p = at.get(t) ?? { at: t, allowed: 0, denied: 0 };
    at.set(t, p);
    if (r.decided.action === "Deny") p.denied += connections(r);
    else p.allowed += connections(r);
  }
  return [...at.values()].sort((a, b) => a.at - b.at);
}

export function NoFlows() {
  return (
    <Notice kind="empty">
      <p>There are no records of flows here.</p>
      <p>
        Agents write them as JSON lines: <code>tierwall ui -f config/samples --records config/samples/flows.jsonl</code>
      </p>
    </Notice>
  );
}

/** Row is a flow. Only the first row's cells are in the order of Tab; arrows reach the others. */
function Row({ line: l, first, apart }: { line: Line; first: boolean; apart: boolean }) {
  const r = l.record;
  const tab = first ? 0 : -1;
  const d = decider(r);
  const audit = wouldDeny(r);
  const cell = (name: string, value: string, text = value) => (
    <button type="button" tabIndex={tab} onClick={() => setParams({ [name]: value })} aria-label={`Only ${name} ${value}`}>
      {text}
    </button>
  );
  const policy = d?.reason === "EndOfTier" ? "tier:" + d.tier : d?.reason === "Rule" ? d.policy : undefined;
  return (
    <tr class={r.decided.action.toLowerCase()}>
      <td class="time" title={day(r.start) + " to " + time(r.end)}>{time(apart ? r.start : r.end)}</td>
      <td title={r.source.addresses?.join(", ")}>{cell("from", l.from, l.from === "outside" ? "outside " + l.fromAddr : l.from)}</td>
      <td title={r.destination.addresses?.join(", ")}>{cell("to", l.to, l.to === "outside" ? "outside " + l.toAddr : l.to)}</td>
      <td>{cell("port", l.port)}</td>
      <td>
        <button type="button" tabIndex={tab} onClick={() => setParams({ action: r.decided.action })} aria-label={"Only " + (r.decided.action === "Allow" ? "allowed" : "denied")}>
          <ActionMark action={r.decided.action} past />
        </button>
      </td>
      <td>
        {policy ? cell("policy", policy, l.by) : l.by}
        {audit && (
          <span class="mark audit" title={deciderText(audit)}>
            {" "}
            ◆ {deciderText(audit)} would deny
          </span>
        )}
      </td>
      <td class="num">{count(l.n)}</td>
      <td class="num">{l.bytes === null ? <span class="dim">–</span> : bytes(l.bytes)}</td>
      <td>
        <a
          href={href("why")}
          tabIndex={tab}
          aria-label={`Why: ${l.from} to ${l.to}, ${l.port}`}
          onClick={(e) => {
            e.preventDefault();
            opened.value = r;
            go("why");
          }}
        >
          Why
        </a>
      </td>
    </tr>
  );
}
