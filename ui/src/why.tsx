import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "./api";
import { plural, time } from "./format";
import { ActionMark, Busy, Choice, Notice } from "./marks";
import { param, setParams } from "./route";
import { generation, info, opened } from "./state";
import type { Answer, Stage, Step } from "./types";

export function WhyView() {
  const answer = useSignal<Answer | null>(null);
  const error = useSignal("");
  const busy = useSignal(false);
  const from = param("from");
  const to = param("to");
  const port = param("port");
  const record = opened.value;
  useEffect(() => {
    error.value = "";
    if (!record && (!from || !to || !port)) {
      answer.value = null;
      return;
    }
    const stop = new AbortController();
    busy.value = true;
    ask<Answer>("ui/v1/explain", record ? { record } : { from, to, port }, stop.signal)
      .then((a) => {
        answer.value = a;
        if (record) setParams({ ...a.ask });
      })
      .catch((e: Error) => {
        if (stop.signal.aborted) return;
        answer.value = null;
        error.value = e.message;
      })
      .finally(() => !stop.signal.aborted && (busy.value = false));
    return () => stop.abort();
  }, [record ?? from + "|" + to + "|" + port, generation.value]);
  const a = answer.value;
  return (
    <>
      <div class="bar">
        <h1>Why</h1>
        <form
          class="question"
          onSubmit={(e) => {
            e.preventDefault();
            const f = new FormData(e.currentTarget);
            opened.value = null;
            setParams({ from: String(f.get("from")).trim(), to: String(f.get("to")).trim(), port: String(f.get("port")).trim() });
          }}
        >
          <label>
            From <input name="from" list="peers" value={from} placeholder="shop/frontend" required spellcheck={false} autocomplete="off" />
          </label>
          <label>
            To <input name="to" list="peers" value={to} placeholder="payments/payments-api" required spellcheck={false} autocomplete="off" />
          </label>
          <label class="narrow">
            Port <input name="port" value={port} placeholder="8443/TCP" required spellcheck={false} autocomplete="off" />
          </label>
          <button class="primary" type="submit">
            Explain
          </button>
          <datalist id="peers">
            {info.value?.peers.map((p) => <option key={p} value={p} />)}
          </datalist>
        </form>
      </div>
      {error.value && <Notice kind="error">{error.value}</Notice>}
      {busy.value && !a && <Busy>Following the connection…</Busy>}
      {!a && !error.value && !busy.value && (
        <Notice kind="empty">
          Name a sender, a receiver and a port: a pod or workload as <code>namespace/name</code>, an address, <code>node:name</code>, <code>svc:namespace/name</code> or a DNS name. Or open a flow.
        </Notice>
      )}
      {a && <Result answer={a} />}
    </>
  );
}

function Result({ answer: a }: { answer: Answer }) {
  const copied = useSignal("");
  const brief = param("brief") === "true";
  return (
    <>
      {a.record && (
        <Notice kind="note">
          {opened.value && <>Seen from {time(opened.value.start)} to {time(opened.value.end)} UTC: </>}
          <ActionMark action={a.record.action} past /> {a.record.because || "no policy applies"}.{" "}
          {a.record.same ? "The same rules decide now." : "Policies have changed since: below is what decides now."}
        </Notice>
      )}
      <div class="bar">
        <Choice label="Which rules" value={brief ? "true" : ""} on={(v) => setParams({ brief: v })} of={[["", "All rules"], ["true", "Matching rules"]]} />
        <button
          type="button"
          onClick={() => {
            navigator.clipboard.writeText(a.test).then(
              () => (copied.value = "Copied: save it beside your manifests and run tierwall test."),
              () => (copied.value = "The browser does not allow copying: the test is below."),
            );
          }}
        >
          Copy as PolicyTest
        </button>
        <span class="dim" role="status">
          {copied.value}
        </span>
      </div>
      {(a.service || a.domain) && (
        <p class="lead">
          {a.service ?? a.domain} leads to {plural(a.paths.length, a.service ? "endpoint" : "address", a.service ? "endpoints" : "addresses")}.
        </p>
      )}
      {a.paths.map((p, i) => (
        <section class="path" key={i}>
          <h2 class={"answer " + p.action.toLowerCase()}>
            <ActionMark action={p.action} past />
            <span class="ends">
              {p.source} <span class="arrow" aria-label="to">→</span> {p.destination} <span class="dim">{p.traffic}</span>
            </span>
          </h2>
          <p class="because">{p.because || "no policy applies"}</p>
          {p.stages.map((s, j) => (
            <StageBlock key={j} stage={s} brief={brief} />
          ))}
        </section>
      ))}
      <details class="test">
        <summary>As a PolicyTest</summary>
        <pre tabIndex={0}>{a.test}</pre>
      </details>
    </>
  );
}

const outcomes: Record<Step["outcome"], string> = {
  "passed over": "passed over",
  logged: "logged, goes on",
  "passed on": "passed on to the next tier",
  decided: "matched: decides",
  "no rules": "no rules",
  audited: "matched; only audited",
};

function StageBlock({ stage, brief }: { stage: Stage; brief: boolean }) {
  const tiers: { name: string; steps: Step[] }[] = [];
  for (const s of stage.steps) {
    if (brief && s.outcome === "passed over") continue;
    const last = tiers[tiers.length - 1];
    if (last?.name === s.tier) last.steps.push(s);
    else tiers.push({ name: s.tier, steps: [s] });
  }
  return (
    <section class="stage">
      <h3>
        {stage.title} <ActionMark action={stage.action} />
      </h3>
      {tiers.map((t) => (
        <table key={t.name} class="steps">
          <caption>Tier {t.name}</caption>
          <colgroup>
            <col class="c1" />
            <col class="c2" />
            <col class="c3" />
            <col class="c4" />
          </colgroup>
          <thead class="sr">
            <tr>
              <th>Policy and rule</th>
              <th>Action</th>
              <th>Matches</th>
              <th>Outcome</th>
            </tr>
          </thead>
          <tbody>
            {t.steps.map((s, i) => {
              const first = i === 0 || t.steps[i - 1]?.policy !== s.policy;
              const end = s.rule === "end-of-tier";
              return (
                <tr key={i} class={s.outcome.replace(" ", "-") + (first && !end ? " first" : "")}>
                  <th scope="row">
                    {end ? (
                      "End of tier"
                    ) : (
                      <>
                        <span class={first ? "policy" : "sr"}>{s.policy}</span>
                        {s.outcome !== "no rules" && <span class="index">{s.rule}</span>}
                      </>
                    )}
                  </th>
                  <td>{s.outcome !== "no rules" && <ActionMark action={s.action} quiet={s.outcome === "passed over"} />}</td>
                  <td>
                    {s.match}
                    {s.name && <span class="dim"> ({s.name})</span>}
                  </td>
                  <td class="outcome">
                    {outcomes[s.outcome]}
                    {s.why && <>: {s.why}</>}
                    {s.domains && <> by DNS: {s.domains.join(", ")}</>}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      ))}
      {stage.reason && <p class="reason">{stage.reason}</p>}
      {stage.audit && (
        <p class="reason">
          <span class="mark audit">◆ Audit</span> would be <ActionMark action={stage.audit.action} past /> by {stage.audit.because}
        </p>
      )}
    </section>
  );
}
