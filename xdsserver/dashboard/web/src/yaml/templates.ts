// What is often written, to begin from.

export type Template = { name: string; about: string; yaml: string };

export const templates: Template[] = [
  {
    name: "Split between versions",
    about: "Nine calls in ten go to v1, one to v2.",
    yaml: `apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - backendRefs:
        - {name: voting, version: v1, weight: 90}
        - {name: voting, version: v2, weight: 10}
`,
  },
  {
    name: "Timeout",
    about: "Calls to the service take two seconds at most, their retries included.",
    yaml: `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  timeout: 2s
`,
  },
  {
    name: "Retry",
    about: "What fails with UNAVAILABLE is tried up to three times. Only mark as idempotent what may be done twice.",
    yaml: `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  timeout: 2s
  retry: {on: [unavailable], attempts: 3, perTryTimeout: 500ms, idempotent: true}
  retryBudget: {percent: 20}
`,
  },
  {
    name: "Who may call",
    about: "On trial: nobody is denied yet, and the identity of those who would be is told. Remove mode to enforce it.",
    yaml: `apiVersion: tulle/v1
kind: AccessPolicy
metadata: {name: voting}
spec:
  mode: audit
  allow:
    - from: [web]
      methods: [/emojivoto.v1.VotingService/*]
`,
  },
  {
    name: "Limit on instances",
    about: "Each instance takes 500 calls a second of each caller, and no more at once than it can serve.",
    yaml: `apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec:
  admission:
    rateLimits:
      - {name: each caller, per: identity, requestsPerSecond: 500}
    concurrency: {adaptive: true, max: 200}
`,
  },
  {
    name: "Failures on purpose",
    about: "One call in a hundred is held up, one in a thousand fails: to see what callers make of it.",
    yaml: `apiVersion: tulle/v1
kind: GRPCRoute
metadata: {name: voting}
spec:
  parentRefs: [{kind: Service, name: voting}]
  rules:
    - backendRefs: [{name: voting}]
      fault:
        delay: {duration: 250ms, percent: 1}
        abort: {code: unavailable, percent: 0.1}
`,
  },
];
