import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "./api";
import { plural } from "./format";
import { ActionMark, Busy, Notice } from "./marks";
import { param, setParams } from "./route";
import type { WhatIf } from "./types";

const kinds: Record<string, [string, string, string]> = {
  lost: ["deny", "✕", "Lost: allowed now, denied after"],
  gained: ["allow", "●", "Gained: denied now, allowed after"],
  redecided: ["log", "≡", "Same result, decided differently"],
  added: ["pass", "+", "Allowed after, with endpoints that are new"],
  removed: ["pass", "−", "Allowed now, with endpoints that go"],
};

/** packed and unpacked keep the YAML in the address, as short as it goes. */
async function packed(text: string): Promise<string> {
  if (!text) return "";
  const data = new Uint8Array(await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("deflate-raw"))).arrayBuffer());
  let s = "";
  for (const b of data) s += String.fromCharCode(b);
  return btoa(s).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

async function unpacked(text: string): Promise<string> {
  try {
    const data = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    return await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"))).text();
  } catch {
    return "";
  }
}

/** longest is the longest state that goes into the address. */
const longest = 16_000;

export function WhatIfView({ flows }: { flows: boolean }) {
  const yaml = useSignal("");
  const result = useSignal<WhatIf | null>(null);
  const error = useSignal("");
  const busy = useSignal(false);
  const audited = param("audited") === "true";

  async function compare(): Promise<void> {
    busy.value = true;
    error.value = "";
    try {
      result.value = await ask<WhatIf>("ui/v1/whatif", { yaml: yaml.value, enforceAudited: param("audited") === "true" });
    } catch (e) {
      result.value = null;
      error.value = (e as Error).message;
    } finally {
      busy.value = false;
    }
    const p = await packed(yaml.value);
    setParams({ yaml: p.length <= longest ? p : "" });
  }

  useEffect(() => {
    const p = param("yaml");
    void (async () => {
      if (p) yaml.value = await unpacked(p);
      if (yaml.value || audited) await compare();
    })();
  }, []);

  return (
    <>
      <div class="bar">
        <h1>What if</h1>
        <span class="dim">these objects were applied on top of what is shown. Nothing is changed.</span>
      </div>
      <form
        class="whatif"
        onSubmit={(e) => {
          e.preventDefault();
          void compare();
        }}
      >
        <label>
          Objects, as YAML
          <textarea
            spellcheck={false}
            rows={12}
            value={yaml.value}
            placeholder={"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: …, namespace: …}\nspec: …"}
            onInput={(e) => (yaml.value = e.currentTarget.value)}
          />
        </label>
        <div class="bar">
          <button class="primary" type="submit" disabled={busy.value || (!yaml.value.trim() && !audited)}>
            {busy.value ? "Comparing…" : "Compare"}
          </button>
          <label class="file">
            Open a file
            <input
              type="file"
              accept=".yaml,.yml,.json"
              multiple
              onChange={(e) => {
                const files = [...(e.currentTarget.files ?? [])];
                void Promise.all(files.map((f) => f.text())).then((t) => (yaml.value = t.join("\n---\n")));
              }}
            />
          </label>
          <label class="check">
            <input type="checkbox" checked={audited} onChange={(e) => setParams({ audited: e.currentTarget.checked ? "true" : "" })} /> Enforce the policies in Audit, too
          </label>
        </div>
      </form>
      {error.value && (
        <Notice kind="error">
          <pre>{error.value}</pre>
        </Notice>
      )}
      {busy.value && <Busy>Comparing all packets of all endpoints…</Busy>}
      {result.value && !busy.value && <Outcome result={result.value} flows={flows} />}
    </>
  );
}

function Outcome({ result: r, flows }: { result: WhatIf; flows: boolean }) {
  const s = r.summary;
  const seen = r.seen;
  const none = r.changes.length === 0;
  return (
    <>
      {r.warnings?.map((w) => <Notice key={w}>{w}</Notice>)}
      <dl class="totals">
        <Total n={s.lost} kind="deny" shape="✕" text="lost" />
        <Total n={s.gained} kind="allow" shape="●" text="gained" />
        {(s.added > 0 || s.removed > 0) && <Total n={s.added + s.removed} kind="pass" shape="±" text="endpoints come or go" />}
        {flows && <Total n={seen.denied} kind="deny" shape="✕" text="flows seen would be denied" more={seen.deniedConnections} />}
        {flows && <Total n={seen.allowed} kind="allow" shape="●" text="denied flows would be allowed" more={seen.allowedConnections} />}
      </dl>
      {flows && (
        <section>
          <h2>Flows that were seen</h2>
          {seen.changed.length === 0 ? (
            <p class="dim">
              All {plural(seen.flows, "flow")} ({plural(seen.connections, "connection")}) would end as they do now.
            </p>
          ) : (
            <div class="wide">
              <table>
                <thead>
                  <tr>
                    <th>Would be</th>
                    <th>From</th>
                    <th>To</th>
                    <th>Traffic</th>
                    <th class="num">Connections</th>
                    <th>By</th>
                  </tr>
                </thead>
                <tbody>
                  {seen.changed.map((c, i) => (
                    <tr key={i}>
                      <td>
                        <ActionMark action={c.action} past />
                      </td>
                      <td>{c.from}</td>
                      <td>{c.to}</td>
                      <td>{c.traffic}</td>
                      <td class="num">{c.connections.toLocaleString("en-US")}</td>
                      <td title={"now: " + c.before}>{c.after}</td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
          {!!seen.changedOmitted && <p class="dim">and {plural(seen.changedOmitted, "flow")} more</p>}
          {!!seen.unknown && <p class="dim">{plural(seen.unknown, "record")} could not be looked at: an end has no address now or after.</p>}
        </section>
      )}
      <section>
        <h2>All packets</h2>
        {none ? (
          <p class="dim">
            Nothing changes between {plural(s.endpoints, "endpoint")} and {plural(s.outsideGroups, "group")} of outside addresses.
          </p>
        ) : (
          Object.entries(kinds).map(([k, [kind, shape, title]]) => {
            const list = r.changes.filter((c) => c.kind === k);
            if (list.length === 0) return null;
            return (
              <div class="wide" key={k}>
                <table>
                  <caption class={"mark " + kind}>
                    <span aria-hidden="true">{shape}</span> {title}
                  </caption>
                  <thead>
                    <tr>
                      <th>From</th>
                      <th>To</th>
                      <th>Traffic</th>
                      <th>Now</th>
                      <th>After</th>
                    </tr>
                  </thead>
                  <tbody>
                    {list.map((c, i) => (
                      <tr key={i}>
                        <td>{c.from}</td>
                        <td>{c.to}</td>
                        <td>
                          {c.traffic}
                          {c.where && <span class="dim"> ({c.where})</span>}
                        </td>
                        <td class="dim">{c.before}</td>
                        <td>{c.after}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            );
          })
        )}
        {!!r.changesOmitted && <p class="dim">and {plural(r.changesOmitted, "change")} more: tierwall diff lists all.</p>}
      </section>
    </>
  );
}

function Total({ n, kind, shape, text, more }: { n: number; kind: string; shape: string; text: string; more?: number }) {
  return (
    <div class={n > 0 ? kind : "zero"}>
      <dt>{text}</dt>
      <dd>
        {n > 0 && <span aria-hidden="true">{shape} </span>}
        {n.toLocaleString("en-US")}
        {!!more && <small> {plural(more, "connection")}</small>}
      </dd>
    </div>
  );
}
