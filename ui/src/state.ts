import { signal } from "@preact/signals";
import type { FlowRecord, Info } from "./types";

export const info = signal<Info | null>(null);

/** generation counts how often the objects were read: views ask again when it changes. */
export const generation = signal(0);

/** opened is the record that Why was opened for. */
export const opened = signal<FlowRecord | null>(null);
