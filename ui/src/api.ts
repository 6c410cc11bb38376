// Queries of the server that served the page. Each bears the key that came in the page's
// address, or that was typed in.

import { signal } from "@preact/signals";
import type { FlowRecord } from "./types";

const storageName = "tierwall-key";

/** locked says that the server took no key that the page has. */
export const locked = signal(false);

/** takeKey moves the key out of the address, where histories would keep it. */
export function takeKey(): void {
  const found = /^#key=([\w.~+/=-]+)$/.exec(location.hash);
  if (found?.[1]) {
    keepKey(found[1]);
    history.replaceState(null, "", location.pathname + location.search + "#/board");
  }
}

export function keepKey(key: string): void {
  localStorage.setItem(storageName, key);
  locked.value = false;
}

function headers(): HeadersInit {
  return { Authorization: "Bearer " + (localStorage.getItem(storageName) ?? "") };
}

/** Refusal is an answer of the server that is not what was asked for. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly code: number,
  ) {
    super(message);
  }
}

async function refuse(r: Response): Promise<never> {
  if (r.status === 401) locked.value = true;
  let text = r.statusText;
  try {
    text = ((await r.json()) as { message?: string }).message ?? text;
  } catch {
    // it was no Status
  }
  throw new Refusal(text, r.status);
}

export async function ask<T>(path: string, question?: unknown, signal?: AbortSignal): Promise<T> {
  const r = await fetch(path, {
    method: question === undefined ? "GET" : "POST",
    headers: headers(),
    cache: "no-store",
    signal,
    body: question === undefined ? undefined : JSON.stringify(question),
  }).catch((e: unknown) => {
    if (signal?.aborted) throw e;
    throw new Refusal("the server does not answer: is tierwall ui still running?", 0);
  });
  if (!r.ok) return refuse(r);
  return (await r.json()) as T;
}

/** follow hands on each record that comes from now on, until it is aborted. */
export async function follow(on: (r: FlowRecord[]) => void, signal: AbortSignal): Promise<void> {
  const r = await fetch("flows/v1/records?watch=true", { headers: headers(), cache: "no-store", signal });
  if (!r.ok || !r.body) return refuse(r);
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop() ?? "";
    const fresh: FlowRecord[] = [];
    for (const e of events) {
      const data = e.split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
      if (data) fresh.push(JSON.parse(data) as FlowRecord);
    }
    if (fresh.length > 0) on(fresh);
  }
}
