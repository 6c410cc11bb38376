// Small parts that every view uses. Colour never stands alone: a shape or a word says
// the same.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { count, hitsText } from "./format";
import type { Action, Hits } from "./types";

const shapes: Record<string, string> = { Allow: "●", Deny: "✕", Pass: "→", Log: "≡", Audit: "◆" };

export function ActionMark({ action, past, quiet }: { action: Action | "Audit"; past?: boolean; quiet?: boolean }) {
  const words: Record<string, string> = past ? { Allow: "Allowed", Deny: "Denied", Pass: "Passed on", Log: "Logged", Audit: "Audit" } : {};
  return (
    <span class={"mark " + action.toLowerCase() + (quiet ? " quiet" : "")}>
      <span aria-hidden="true">{shapes[action] ?? ""}</span> {words[action] ?? action}
    </span>
  );
}

/** HitsLine shows what was hit; nothing where nothing was. */
export function HitsLine({ hits }: { hits: Hits }) {
  const total = hits.allowed + hits.denied + hits.wouldAllow + hits.wouldDeny;
  if (total === 0) return null;
  return (
    <span class="hits" title={hitsText(hits)}>
      {hits.allowed > 0 && <Count kind="allow" shape="●" n={hits.allowed} word="allowed" />}
      {hits.denied > 0 && <Count kind="deny" shape="✕" n={hits.denied} word="denied" />}
      {hits.wouldAllow > 0 && <Count kind="audit" shape="◆●" n={hits.wouldAllow} word="would be allowed" />}
      {hits.wouldDeny > 0 && <Count kind="audit" shape="◆✕" n={hits.wouldDeny} word="would be denied" />}
    </span>
  );
}

function Count({ kind, shape, n, word }: { kind: string; shape: string; n: number; word: string }) {
  return (
    <span class={"mark " + kind}>
      <span aria-hidden="true">{shape}</span> {count(n)}
      <span class="sr"> {word}</span>
    </span>
  );
}

export function Tag({ children, kind }: { children: ComponentChildren; kind?: string }) {
  return <span class={"tag " + (kind ?? "")}>{children}</span>;
}

export function Notice({ children, kind }: { children: ComponentChildren; kind?: "error" | "empty" | "note" }) {
  return (
    <div class={"notice " + (kind ?? "note")} role={kind === "error" ? "alert" : undefined}>
      {children}
    </div>
  );
}

export function Busy({ children }: { children: ComponentChildren }) {
  return (
    <p class="busy" role="status">
      {children}
    </p>
  );
}

/** Filter is the text field that / moves to. */
export function Filter({ value, on, label }: { value: string; on: (v: string) => void; label: string }) {
  return (
    <input class="filter" type="search" value={value} placeholder={label} aria-label={label} spellcheck={false} onInput={(e) => on(e.currentTarget.value)} />
  );
}

/** Choice is a row of buttons of which one is pressed. */
export function Choice<T extends string>({ label, value, of, on }: { label: string; value: T; of: [T, string][]; on: (v: T) => void }) {
  return (
    <span class="choice" role="group" aria-label={label}>
      {of.map(([v, text]) => (
        <button key={v} type="button" aria-pressed={v === value} onClick={() => on(v)}>
          {text}
        </button>
      ))}
    </span>
  );
}

/** Arrows moves the focus among the elements of a selector that are laid out in space:
 * each arrow goes to the nearest one in that direction. */
export function Arrows({ of, children, ...rest }: { of: string; children: ComponentChildren; class?: string; role?: "list" | "group"; "aria-label"?: string }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const root = ref.current;
    if (!root) return;
    const on = (e: KeyboardEvent) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
      const from = document.activeElement;
      if (!step || !from?.matches(of) || e.altKey || e.ctrlKey || e.metaKey) return;
      const [dx = 0, dy = 0] = step;
      const a = from.getBoundingClientRect();
      let best: HTMLElement | undefined;
      let least = Infinity;
      for (const el of root.querySelectorAll<HTMLElement>(of)) {
        const b = el.getBoundingClientRect();
        const x = b.left - a.left;
        const y = b.top + Math.min(b.height, 40) / 2 - a.top - Math.min(a.height, 40) / 2;
        const along = x * dx + y * dy;
        const aside = Math.abs(x * dy) + Math.abs(y * dx);
        if (el === from || along < 4) continue;
        const d = along + 3 * aside;
        if (d < least) {
          least = d;
          best = el;
        }
      }
      if (best) {
        e.preventDefault();
        best.focus();
        best.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    };
    root.addEventListener("keydown", on);
    return () => root.removeEventListener("keydown", on);
  }, [of]);
  return (
    <div ref={ref} {...rest}>
      {children}
    </div>
  );
}
