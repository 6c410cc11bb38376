// The state of a view is in the fragment of the address: #/flows?action=Deny.

import { signal } from "@preact/signals";

export const views = ["board", "map", "flows", "why", "whatif"] as const;
export type View = (typeof views)[number];

export interface Route {
  view: View;
  params: URLSearchParams;
}

function parse(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const view = (views as readonly string[]).includes(path) ? (path as View) : "board";
  return { view, params: new URLSearchParams(query) };
}

export const route = signal<Route>(parse());

addEventListener("hashchange", () => (route.value = parse()));

export function href(view: View, params: Record<string, string | undefined> = {}): string {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(params)) if (v) p.set(k, v);
  const text = p.toString();
  return "#/" + view + (text ? "?" + text : "");
}

export function go(view: View, params: Record<string, string | undefined> = {}): void {
  location.hash = href(view, params);
}

export function param(name: string): string {
  return route.value.params.get(name) ?? "";
}

/** setParams changes parameters of the present view; an empty value removes one. */
export function setParams(change: Record<string, string>): void {
  const p = new URLSearchParams(route.value.params);
  for (const [k, v] of Object.entries(change)) {
    if (v) p.set(k, v);
    else p.delete(k);
  }
  const text = p.toString();
  history.replaceState(null, "", "#/" + route.value.view + (text ? "?" + text : ""));
  route.value = parse();
}

/** list reads a parameter that holds several values. */
export function list(name: string): string[] {
  return param(name).split(",").filter(Boolean);
}

export function toggle(name: string, value: string): void {
  const now = list(name);
  setParams({ [name]: (now.includes(value) ? now.filter((x) => x !== value) : [...now, value]).join(",") });
}
