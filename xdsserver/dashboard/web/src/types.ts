// The messages of mesh/api/admin/v1 as protobuf's JSON has them: what is zero is not there,
// 64-bit numbers and durations are strings, enums are names.

type Timestamp = string;
type Duration = string;
type Int64 = string;

export type Session = { name: string; may: string[]; version?: string; expires?: Timestamp; trustDomain?: string };

export type Golden = { calls?: Int64; failures?: Int64; rps?: number; p50Ms?: number; p95Ms?: number; p99Ms?: number; timed?: boolean };

export type VersionStat = { version?: string; instances?: number; healthy?: number; golden?: Golden };

export type ServiceStat = {
  service?: string;
  instances?: number;
  meshed?: number;
  healthy?: number;
  inbound?: Golden;
  outbound?: Golden;
  versions?: VersionStat[];
  zones?: string[];
  connections?: number;
  breakersOpen?: number;
  ejected?: number;
};

export type EdgeStat = {
  source?: string;
  destination?: string;
  calls?: Golden;
  attempts?: Golden;
  security?: string;
  clientId?: string;
  serverId?: string;
  local?: number;
  retries?: Int64;
  hedges?: Int64;
  denied?: Int64;
  refused?: Int64;
  stock?: boolean;
  versions?: VersionStat[];
};

export type GetGraphResponse = { at?: Timestamp; window?: Duration; services?: ServiceStat[]; edges?: EdgeStat[] };

export type StatPoint = { at?: Timestamp; golden?: Golden; buckets?: Int64[] };
export type MethodStat = { method?: string; golden?: Golden };
export type BackendStat = { cluster?: string; version?: string; attempts?: Golden; timeouts?: number };
export type RouteStat = { route?: string; source?: string; calls?: Golden; timeouts?: number; retries?: number; backends?: BackendStat[] };

export type InstanceStat = {
  instance?: string;
  version?: string;
  zone?: string;
  addresses?: string[];
  state?: string;
  inbound?: Golden;
  outbound?: Golden;
  certificateExpires?: Timestamp;
  current?: boolean;
  configured?: Timestamp;
  rejection?: string;
  reported?: Timestamp;
  library?: string;
  connections?: number;
  denied?: Int64;
  limited?: Int64;
  shed?: Int64;
  panics?: Int64;
};

export type EndpointStat = {
  source?: string;
  sourceInstance?: string;
  cluster?: string;
  address?: string;
  instance?: string;
  latencyMs?: number;
  guess?: boolean;
  open?: number;
  breaker?: string;
  ejected?: boolean;
  local?: boolean;
  inUse?: boolean;
};

export type GetServiceStatsResponse = {
  at?: Timestamp;
  window?: Duration;
  service?: ServiceStat;
  points?: StatPoint[];
  boundsMs?: number[];
  methods?: MethodStat[];
  routes?: RouteStat[];
  instances?: InstanceStat[];
  endpoints?: EndpointStat[];
  callers?: EdgeStat[];
  callees?: EdgeStat[];
};

// Configuration.
export type Ref = { kind?: string; namespace?: string; name?: string };
export type Problem = { object?: Ref; origin?: string; field?: string; message?: string; warning?: boolean };
export type ConfigObject = { ref?: Ref; revision?: Int64; origin?: string; yaml?: string; problems?: Problem[]; changed?: Timestamp };
export type ListResponse = { objects?: ConfigObject[]; revision?: Int64 };
export type ChangeResult = { ref?: Ref; action?: string; before?: string; after?: string; problems?: Problem[] };
export type ApplyResponse = { results?: ChangeResult[]; revision?: Int64; problems?: Problem[]; clientsCurrent?: number; clients?: number };
export type Revision = { revision?: Int64; at?: Timestamp; by?: string; changes?: ChangeResult[] };
export type ListHistoryResponse = { revisions?: Revision[] };
export type RollBackResponse = { changes?: ChangeResult[]; revision?: Int64; problems?: Problem[] };

// Status.
export type Rejection = { node?: string; type?: string; resource?: string; version?: string; reason?: string; at?: Timestamp };
export type Client = {
  node?: string;
  service?: string;
  userAgent?: string;
  peer?: string;
  delta?: boolean;
  current?: boolean;
  resources?: number;
  connected?: Timestamp;
};
export type GetStatusResponse = {
  version?: string;
  started?: Timestamp;
  dataDir?: string;
  warming?: boolean;
  storeRevision?: Int64;
  snapshot?: string;
  published?: Timestamp;
  services?: number;
  endpoints?: number;
  routes?: number;
  problems?: Problem[];
  rejections?: Rejection[];
  clients?: Client[];
  listeners?: string[];
  sources?: SourceStatus[];
  security?: Security;
};
export type SourceStatus = { name?: string; error?: string; updated?: Timestamp };

// Tap.
export type TapMetadata = { key?: string; value?: string };
export type TapMessage = { request?: boolean; json?: string; size?: number; cut?: boolean; type?: string };
export type TapEvent = {
  tap?: string;
  side?: string;
  call?: Int64;
  start?: Timestamp;
  duration?: Duration;
  reporter?: string;
  reporterInstance?: string;
  source?: string;
  destination?: string;
  method?: string;
  route?: string;
  cluster?: string;
  attempt?: number;
  endpoint?: string;
  why?: string;
  peer?: string;
  security?: string;
  status?: string;
  message?: string;
  reason?: string;
  deadline?: Duration;
  stream?: boolean;
  messagesSent?: number;
  messagesReceived?: number;
  requestMetadata?: TapMetadata[];
  responseMetadata?: TapMetadata[];
  messages?: TapMessage[];
};
export type TapResponse = { event?: TapEvent; processes?: number; of?: number; dropped?: Int64; until?: Timestamp };

// Identity.
export type CACertificate = {
  name?: string;
  keyId?: string;
  serial?: string;
  notBefore?: Timestamp;
  notAfter?: Timestamp;
  phase?: string;
  since?: Timestamp;
  until?: Timestamp;
  online?: boolean;
};
export type Rotation = { level?: string; phase?: string; since?: Timestamp; until?: Timestamp; waiting?: string };
export type Authority = {
  trustDomain?: string;
  kind?: string;
  roots?: CACertificate[];
  intermediates?: CACertificate[];
  rotation?: Rotation;
  rootOnline?: boolean;
  issuesUntil?: Timestamp;
  leafTtl?: Duration;
  issued?: Int64;
  generation?: Int64;
  problem?: string;
};
export type GetAuthorityResponse = { authority?: Authority };
export type Identity = {
  node?: string;
  service?: string;
  id?: string;
  issuer?: string;
  serial?: string;
  notBefore?: Timestamp;
  notAfter?: Timestamp;
  peer?: string;
  connected?: Timestamp;
};
export type ListIdentitiesResponse = { identities?: Identity[] };
export type Token = {
  id?: string;
  service?: string;
  created?: Timestamp;
  expires?: Timestamp;
  uses?: number;
  used?: number;
  cidrs?: string[];
  state?: string;
  redemptions?: { at?: Timestamp; peer?: string }[];
};
export type ListTokensResponse = { tokens?: Token[] };
export type CreateTokenResponse = { text?: string; token?: Token };
export type Security = { enrolment?: string[]; accessDefault?: string };
