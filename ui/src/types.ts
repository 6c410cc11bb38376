// The answers of /ui/v1 (policy/view) and /flows/v1 (policy/flows).

export type Action = "Allow" | "Deny" | "Pass" | "Log" | "";

export interface Info {
  version: string;
  source: string;
  live: boolean;
  readAt: string;
  flows: boolean;
  notes?: string[];
  warnings?: string[];
  tiers: number;
  policies: number;
  namespaces: number;
  workloads: number;
  pods: number;
  nodes: number;
  peers: string[];
}

export interface Hits {
  allowed: number;
  denied: number;
  wouldAllow: number;
  wouldDeny: number;
}

export interface RuleLine {
  index: number;
  name?: string;
  action: Action;
  match: string[];
  hits: Hits;
}

export interface Card {
  policy: string;
  kind: string;
  namespace?: string;
  name: string;
  order?: number;
  native?: boolean;
  audit?: boolean;
  variants?: string[];
  selects: string;
  subjects: string[];
  subjectCount: number;
  endpoints: number;
  ingress?: { rules: RuleLine[] };
  egress?: { rules: RuleLine[] };
  hits: Hits;
  nodes?: { enforced: number; of: number; failed?: number };
  invalid?: string[];
  warnings?: string[];
}

export interface TierColumn {
  name: string;
  order?: number;
  defaultAction: Action;
  missing?: boolean;
  end: Hits;
  policies: Card[];
}

export interface Board {
  tiers: TierColumn[];
}

export interface MapEnd {
  name: string;
  group: string;
  namespaced?: boolean;
  label: string;
  members?: number;
  ports?: string[];
}

export interface MapWays {
  all?: boolean;
  byPolicy?: boolean;
  open: { traffic: string; egress?: string; ingress?: string }[];
}

export interface SeenEdge {
  from: number;
  to: number;
  protocol: string;
  port?: number;
  allowed: number;
  denied: number;
  wouldDeny?: number;
  bytes?: number;
}

export interface MapData {
  ends: MapEnd[];
  ways: MapWays[];
  cells: number[][];
  matrixSize: number;
  seen: SeenEdge[];
  seenOmitted?: number;
}

export interface Verdict {
  action: Action;
  direction: "ingress" | "egress";
  reason: string;
  tier?: string;
  policy?: string;
  rule: string;
  ruleName?: string;
  audit?: Verdict;
}

export interface End {
  kind?: string;
  namespace?: string;
  workload?: string;
  node?: string;
  set?: string;
  domain?: string;
  addresses?: string[];
}

export interface FlowRecord {
  start: string;
  end: string;
  source: End;
  destination: End;
  service?: string;
  protocol: string;
  port?: number;
  icmpType?: number;
  icmpCode?: number;
  decided: { generation?: number; action: Action; egress?: Verdict; ingress?: Verdict };
  before?: { action: Action };
  connections: { new: number; closed: number; live: number };
  sent?: { packets: number; bytes: number };
  received?: { packets: number; bytes: number };
  denied?: number;
  reporters?: string[];
  request?: { method: string; path: string; status?: number };
  other?: boolean;
}

export interface Step {
  tier: string;
  policy?: string;
  rule: string;
  name?: string;
  action: Action;
  outcome: "passed over" | "logged" | "passed on" | "decided" | "no rules" | "audited";
  match?: string;
  why?: string;
  domains?: string[];
}

export interface Stage {
  title: string;
  direction: string;
  action: Action;
  reason?: string;
  steps: Step[];
  audit?: { action: Action; because: string };
}

export interface Answer {
  action: Action;
  service?: string;
  domain?: string;
  paths: { source: string; destination: string; traffic: string; action: Action; because: string; stages: Stage[] }[];
  test: string;
  ask: { from: string; to: string; port: string };
  record?: { action: Action; because: string; same: boolean };
}

export interface WhatIf {
  summary: { lost: number; gained: number; redecided: number; added: number; removed: number; notCompared: number; endpoints: number; outsideGroups: number };
  changes: { kind: string; from: string; to: string; traffic: string; where?: string; before?: string; after?: string }[];
  changesOmitted?: number;
  seen: {
    flows: number;
    connections: number;
    unknown?: number;
    denied: number;
    deniedConnections: number;
    allowed: number;
    allowedConnections: number;
    changed: { from: string; to: string; traffic: string; connections: number; action: Action; before: string; after: string }[];
    changedOmitted?: number;
  };
  warnings?: string[];
}
