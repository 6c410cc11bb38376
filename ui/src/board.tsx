import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "./api";
import { count, hitsText, plural, short } from "./format";
import { ActionMark, Arrows, Busy, Choice, Filter, HitsLine, Notice, Tag } from "./marks";
import { href, list, param, setParams, toggle } from "./route";
import type { Board, Card, Hits, RuleLine, TierColumn } from "./types";
import { generation } from "./state";

const total = (h: Hits) => h.allowed + h.denied + h.wouldAllow + h.wouldDeny;

function matches(c: Card, q: string, only: string): boolean {
  switch (only) {
    case "audit":
      if (!c.audit) return false;
      break;
    case "invalid":
      if (!c.invalid?.length && !c.warnings?.length) return false;
      break;
    case "unhit":
      if (total(c.hits) > 0) return false;
  }
  const rules = [...(c.ingress?.rules ?? []), ...(c.egress?.rules ?? [])];
  const text = [c.policy, c.selects, ...c.subjects, ...rules.flatMap((r) => [r.name ?? "", ...r.match])].join(" ").toLowerCase();
  return q.toLowerCase().split(/\s+/).every((w) => text.includes(w));
}

export function BoardView({ flows }: { flows: boolean }) {
  const board = useSignal<Board | null>(null);
  const error = useSignal("");
  useEffect(() => {
    const stop = new AbortController();
    ask<Board>("ui/v1/board", undefined, stop.signal).then((b) => (board.value = b), (e: Error) => !stop.signal.aborted && (error.value = e.message));
    return () => stop.abort();
  }, [generation.value]);
  if (error.value) return <Notice kind="error">{error.value}</Notice>;
  if (!board.value) return <Busy>Reading the policies…</Busy>;
  const q = param("q");
  const only = param("only");
  const tiers = board.value.tiers.map((t) => ({ tier: t, cards: t.policies.filter((c) => matches(c, q, only)) }));
  const shown = tiers.reduce((n, t) => n + t.cards.length, 0);
  const all = board.value.tiers.reduce((n, t) => n + t.policies.length, 0);
  return (
    <>
      <div class="bar">
        <h1>Board</h1>
        <Filter value={q} on={(v) => setParams({ q: v })} label="Filter policies, subjects, peers" />
        <Choice
          label="Which policies"
          value={only}
          on={(v) => setParams({ only: v })}
          of={[["", "All"], ["audit", "Audit"], ["invalid", "With problems"], ...(flows ? ([["unhit", "Without hits"]] as [string, string][]) : [])]}
        />
        <span class="dim" role="status">
          {shown === all ? plural(all, "policy", "policies") : `${shown} of ${plural(all, "policy", "policies")}`}
        </span>
      </div>
      <p class="lead">Tiers are evaluated from left to right, policies from top to bottom, until a rule allows or denies. Pass goes on to the next tier.</p>
      <Arrows of=".card > button" class="board" role="list" aria-label="Tiers, in order">
        {tiers.map((t) => (
          <Column key={t.tier.name} tier={t.tier} cards={t.cards} flows={flows} />
        ))}
      </Arrows>
    </>
  );
}

function Column({ tier, cards, flows }: { tier: TierColumn; cards: Card[]; flows: boolean }) {
  const open = list("open");
  let last: string | null = null;
  return (
    <section role="listitem" class={"column" + (tier.policies.length === 0 ? " bare" : "")} aria-label={"Tier " + tier.name}>
      <header>
        <h2>
          {tier.name} {tier.missing && <Tag kind="deny">does not exist</Tag>}
        </h2>
        <p class="dim">
          {tier.order === undefined ? "last" : "order " + tier.order.toLocaleString("en-US")} · {plural(tier.policies.length, "policy", "policies")}
        </p>
      </header>
      <div class="cards">
        {cards.map((c) => {
          const group = tier.name === "default" ? (c.order === 1000 ? "Kubernetes' own, order 1000" : (c.order ?? Infinity) < 1000 ? "before Kubernetes' own" : "after Kubernetes' own") : null;
          const head = group !== null && group !== last;
          last = group;
          return (
            <div key={c.policy}>
              {head && <h3 class="group">{group}</h3>}
              <PolicyCard card={c} flows={flows} open={open.includes(c.policy)} />
            </div>
          );
        })}
        {cards.length === 0 && <p class="dim none">{tier.policies.length === 0 ? "No policies" : "None matches the filter"}</p>}
      </div>
      <footer>
        <span>
          Then <ActionMark action={tier.defaultAction} quiet />
        </span>
        <HitsLine hits={tier.end} />
      </footer>
    </section>
  );
}

function PolicyCard({ card: c, open, flows }: { card: Card; open: boolean; flows: boolean }) {
  const id = "card-" + c.policy.replace(/[^\w-]/g, "_");
  const subjects = c.subjects.slice(0, 3).join(", ") + (c.subjectCount > 3 ? ` and ${c.subjectCount - 3} more` : "");
  return (
    <article class={"card" + (c.audit ? " audit" : "") + (c.invalid?.length ? " invalid" : "")}>
      <button type="button" aria-expanded={open} aria-controls={id} onClick={() => toggle("open", c.policy)}>
        <span class="title">
          <span class="order" title="order within the tier">
            {c.order === undefined ? "last" : c.order}
          </span>
          <span class="name">
            {c.namespace && <span class="dim">{c.namespace}/</span>}
            {c.name}
          </span>
        </span>
        <span class="tags">
          {c.audit && <Tag kind="audit">◆ Audit</Tag>}
          {!!c.invalid?.length && <Tag kind="deny">✕ Invalid</Tag>}
          {!!c.warnings?.length && <Tag kind="warn">! {plural(c.warnings.length, "warning")}</Tag>}
          {c.variants?.map((v) => <Tag key={v}>{v}</Tag>)}
          {c.nodes && (
            <Tag kind={c.nodes.enforced < c.nodes.of ? "warn" : ""}>
              {c.nodes.enforced} of {plural(c.nodes.of, "node")}
            </Tag>
          )}
        </span>
        <span class="subjects">{c.subjectCount === 0 ? <span class="dim">selects nothing now</span> : subjects}</span>
        <span class="foot">
          <span class="dim">
            {[c.ingress && plural(c.ingress.rules.length, "ingress rule"), c.egress && plural(c.egress.rules.length, "egress rule")].filter(Boolean).join(", ")}
          </span>
          {flows && (total(c.hits) > 0 ? <HitsLine hits={c.hits} /> : <span class="dim">no hits</span>)}
        </span>
      </button>
      {open && (
        <div class="rules" id={id}>
          {c.invalid?.map((p) => (
            <p class="problem deny" key={p}>
              ✕ {p}
            </p>
          ))}
          {c.warnings?.map((p) => (
            <p class="problem warn" key={p}>
              ! {p}
            </p>
          ))}
          <p class="dim">
            {c.kind} for {c.selects} · {plural(c.endpoints, "endpoint")}
          </p>
          {c.ingress && <Rules title="Ingress" rules={c.ingress.rules} flows={flows} />}
          {c.egress && <Rules title="Egress" rules={c.egress.rules} flows={flows} />}
          {c.subjectCount > 3 && <p class="dim">Subjects: {c.subjects.join(", ")}{c.subjectCount > c.subjects.length ? ` and ${count(c.subjectCount - c.subjects.length)} more` : ""}</p>}
          {flows && <a href={href("flows", { policy: c.policy })}>Flows that {short(c.policy)} decided</a>}
        </div>
      )}
    </article>
  );
}

function Rules({ title, rules, flows }: { title: string; rules: RuleLine[]; flows: boolean }) {
  return (
    <>
      <h3>{title}</h3>
      {rules.length === 0 ? (
        <p class="dim">No rules: it allows nothing in this direction.</p>
      ) : (
        <ol class="rulelist">
          {rules.map((r) => (
            <li key={r.index} title={hitsText(r.hits)}>
              <span class="index">{r.index}</span>
              <ActionMark action={r.action} />
              <span class="match">
                {r.match.join(" or ")}
                {r.name && <span class="dim"> ({r.name})</span>}
              </span>
              {flows && <HitsLine hits={r.hits} />}
            </li>
          ))}
        </ol>
      )}
    </>
  );
}
