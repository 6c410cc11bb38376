import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { ask, keepKey, locked, takeKey } from "./api";
import { BoardView } from "./board";
import { FlowsView } from "./flows";
import { day, plural } from "./format";
import { Help } from "./help";
import { MapView } from "./map";
import { Busy, Notice } from "./marks";
import { go, href, route, setParams, type View, views } from "./route";
import { generation, info, opened } from "./state";
import { cycleTheme, theme } from "./theme";
import type { Info } from "./types";
import { WhatIfView } from "./whatif";
import { WhyView } from "./why";

const titles: Record<View, string> = { board: "Board", map: "Map", flows: "Flows", why: "Why", whatif: "What if" };

const help = signal(false);
const failure = signal("");
const reading = signal(false);

async function readInfo(again = false): Promise<void> {
  reading.value = again;
  try {
    info.value = again ? await ask<Info>("ui/v1/reload", {}) : await ask<Info>("ui/v1/info");
    failure.value = "";
    generation.value++;
  } catch (e) {
    failure.value = (e as Error).message;
  } finally {
    reading.value = false;
  }
}

function onKey(e: KeyboardEvent): void {
  const t = e.target as HTMLElement;
  if (e.ctrlKey || e.altKey || e.metaKey || help.value) return;
  if (t.matches("input, textarea, select")) {
    if (e.key === "Escape") t.blur();
    return;
  }
  const i = "12345".indexOf(e.key);
  if (e.key.length === 1 && i >= 0 && views[i]) {
    go(views[i]);
  } else if (e.key === "?") {
    help.value = true;
  } else if (e.key === "/") {
    document.querySelector<HTMLInputElement>("main .filter, main .question input")?.focus();
  } else if (e.key === "Escape") {
    setParams({ end: "", cell: "" });
  } else {
    return;
  }
  e.preventDefault();
}

function App() {
  const { view } = route.value;
  const i = info.value;
  useEffect(() => {
    void readInfo();
    addEventListener("keydown", onKey);
    addEventListener("hashchange", () => {
      if (location.hash.startsWith("#key=")) {
        takeKey();
        void readInfo();
      }
    });
    return () => removeEventListener("keydown", onKey);
  }, []);
  useEffect(() => {
    document.title = titles[view] + " · Tierwall";
    if (view !== "why") opened.value = null;
  }, [view]);
  if (locked.value) return <Locked />;
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>
        Skip to the view
      </a>
      <header class="top">
        <span class="brand">
          <img src="./icon.svg" alt="" width="18" height="18" /> Tierwall
        </span>
        <nav aria-label="Views">
          {views.map((v, n) => (
            <a key={v} href={href(v)} aria-current={v === view ? "page" : undefined} title={`key ${n + 1}`}>
              {titles[v]}
            </a>
          ))}
        </nav>
        <span class="source" title={i ? `read ${day(i.readAt)}` : ""}>
          {i && (i.live ? "● " : "") + i.source}
        </span>
        <span class="tools">
          <button type="button" onClick={() => void readInfo(true)} disabled={reading.value} title="Read the manifests or the cluster again">
            {reading.value ? "Reading…" : "Reload"}
          </button>
          <button type="button" onClick={cycleTheme} title="Light, dark, or as the system has it">
            {"Theme: " + (theme.value || "auto")}
          </button>
          <button type="button" aria-label="Help: keys and marks" onClick={() => (help.value = true)}>
            ?
          </button>
        </span>
      </header>
      <main id="main" tabIndex={-1} class={"view-" + view}>
        {failure.value && <Notice kind="error">{failure.value}</Notice>}
        {!i && !failure.value && <Busy>Reading…</Busy>}
        {i && <Current view={view} flows={i.flows} />}
      </main>
      <footer class="bottom">
        {i && (
          <>
            <span>
              {plural(i.policies, "policy", "policies")} in {plural(i.tiers, "tier")} · {plural(i.workloads, "workload")} in {plural(i.namespaces, "namespace")} · {plural(i.nodes, "node")}
            </span>
            {!!i.warnings?.length && (
              <details>
                <summary>{plural(i.warnings.length, "warning")}</summary>
                <ul>
                  {i.warnings.map((w) => (
                    <li key={w}>{w}</li>
                  ))}
                </ul>
              </details>
            )}
            {i.notes?.map((n) => <span key={n}>{n}</span>)}
            <span class="version">{i.version}</span>
          </>
        )}
      </footer>
      {help.value && <Help on={() => (help.value = false)} />}
    </>
  );
}

function Current({ view, flows }: { view: View; flows: boolean }) {
  switch (view) {
    case "board":
      return <BoardView flows={flows} />;
    case "map":
      return <MapView flows={flows} />;
    case "flows":
      return <FlowsView flows={flows} />;
    case "why":
      return <WhyView />;
    case "whatif":
      return <WhatIfView flows={flows} />;
  }
}

function Locked() {
  return (
    <main class="locked">
      <h1>Tierwall</h1>
      <p>
        This page needs a key. Open the address that <code>tierwall ui</code> has printed, or give the key here; in a cluster, give a token of yours (<code>kubectl create token</code>).
      </p>
      <form
        class="question"
        onSubmit={(e) => {
          e.preventDefault();
          keepKey(String(new FormData(e.currentTarget).get("key")).trim());
          void readInfo();
        }}
      >
        <label>
          Key <input name="key" type="password" autocomplete="off" required />
        </label>
        <button class="primary" type="submit">
          Open
        </button>
      </form>
    </main>
  );
}

takeKey();
const root = document.getElementById("app");
if (root) render(<App />, root);
