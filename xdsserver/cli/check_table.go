package cli

// A check is one thing that check looks at. Its texts are also those of docs/checks.md.
type check struct {
	// id is its place in the documentation; it does not change.
	id       string
	category string
	// says is one sentence that is true when all is well. judge may say more.
	says string
	// means is for the documentation: when it is not so, and what goes on meanwhile.
	means string
	// mend is what to do, unless judge knows better; command what to run, with {} for what
	// the judge names. Empty are those of what nothing mends, or of what is never wrong.
	mend, command string
	// passes says that a warning of it is expected to pass by itself.
	passes bool
	judge  func(*facts, *resultLine)
}

// The categories, in the order in which one stands on another.
const (
	ofServer        = "control plane"
	ofStore         = "store"
	ofIdentity      = "identity"
	ofConfiguration = "configuration"
	ofClients       = "clients"
	ofTelemetry     = "telemetry"
	ofCalls         = "data plane"
)

// serverAnswers is the check without which there are no others.
const serverAnswers = "server-answers"

// checks are all of them, in the order in which they are shown.
var checks = []check{
	{
		id:       serverAnswers,
		category: ofServer,
		says:     "xdsserver answers",
		means: "It does not run, or `--admin` or `TULLE_ADMIN` names another; to another user than its own the admin " +
			"port answers nothing. Processes that run go on with what they have; those that start read what they had " +
			"from disk.",
		mend:    "start it with 'xdsserver serve'",
		command: "xdsserver serve --data ./data",
		judge:   checkAnswers,
	},
	{
		id:       "server-version",
		category: ofServer,
		says:     "xdsserver is of this command's version",
		means:    "An older command shows less than the server knows, a newer one asks for what it has not.",
		mend:     "run the same version of the command and the server",
		command:  "xdsserver version",
		judge:    checkVersion,
	},
	{
		id:       "server-warm",
		category: ofServer,
		says:     "processes had time to come back since the server started",
		means: "For 8 s after a start without memory nobody is removed, so that who has not come back yet is not taken " +
			"for gone.",
		mend:    "wait a few seconds",
		command: "xdsserver check --wait 30s",
		passes:  true,
		judge:   checkWarm,
	},
	{
		id:       "store-writes",
		category: ofStore,
		says:     "what is applied is written to disk",
		means: "The last write failed, and who asked for it was told so. What was acknowledged before is on disk, and " +
			"served; the next write starts a new file, and may succeed.",
		mend:    "make room on the disk, or mend it; nothing needs a restart",
		command: "df -h {}",
		judge:   checkWrites,
	},
	{
		id:       "store-room",
		category: ofStore,
		says:     "the disk of the data directory has room",
		means: "‼ below 256 MiB, × below 32 MiB. Without room nothing can be applied, and no certificate of the " +
			"authority replaced.",
		mend:    "make room before it is full: nothing can be applied then",
		command: "df -h {}",
		judge:   checkRoom,
	},
	{
		id:       "authority-signs",
		category: ofIdentity,
		says:     "the authority can sign identities",
		means: "A key or a certificate of the authority is missing or cannot be used. Certificates that are there last " +
			"until they expire, a day by default; after that nobody can connect.",
		mend:    "processes go on with the certificates they have until those expire",
		command: "xdsserver ca status",
		judge:   checkSigns,
	},
	{
		id:       "authority-life",
		category: ofIdentity,
		says:     "roots and intermediates have more than a quarter of their life left",
		means: "Both are replaced by themselves when half of their life is over, so something kept them from it: see the " +
			"server's log.",
		mend:    "nothing needs a restart",
		command: "xdsserver ca rotate",
		judge:   checkLife,
	},
	{
		id:       "rotation-not-stuck",
		category: ofIdentity,
		says:     "no rotation of the authority is stuck",
		means: "It waits for a client that has not acknowledged the new root, so that nobody meets a certificate that he " +
			"cannot verify. After a day it goes on without it.",
		mend:    "see below which client has not acknowledged what it was sent; at the latest the rotation goes on without it",
		command: "xdsserver ca status",
		judge:   checkRotation,
	},
	{
		id:       "root-key",
		category: ofIdentity,
		says:     "the root's key is there when it is needed",
		means: "It was moved away (`ca export-root --remove`), which is good, and the next intermediate is due within a " +
			"week, which only it can sign.",
		mend:    "bring it back with 'xdsserver ca import', or import an intermediate that it signed",
		command: "xdsserver ca import --data {} --key root.pem",
		judge:   checkRootKey,
	},
	{
		id:       "clocks-agree",
		category: ofIdentity,
		says:     "clocks agree: no certificate begins in the future",
		means: "A certificate is not valid yet by the server's clock, or the command's clock is another by more than a " +
			"minute.",
		mend:    "set the clocks of these machines by NTP",
		command: "timedatectl set-ntp true",
		judge:   checkClocks,
	},
	{
		id:       "clients-renew",
		category: ofIdentity,
		says:     "every connected client renews its certificate in time",
		means: "One has less than a quarter of its certificate's life left; renewal is due half-way. When it has expired " +
			"nobody takes its calls.",
		mend:    "renewal is due half-way: the process's log says why it fails",
		command: "xdsserver log {} --level debug",
		judge:   checkRenewal,
	},
	{
		id:       "mtls-strict",
		category: ofIdentity,
		says:     "no service takes calls without mutual TLS",
		means: "‼ a service is permissive: until when, and who still calls it in the clear. × its end is over, and the " +
			"document still asks for it; the service is strict since.",
		mend:    "mesh the callers, then take mtls.mode out of the object",
		command: "xdsserver get service {} -o yaml",
		judge:   checkPermissive,
	},
	{
		id:       "access-policies",
		category: ofIdentity,
		says:     "access is allowed by policies, or by default to all who are authenticated",
		means: "Never wrong: it says for which services no policy decides. `xdsserver authz suggest SERVICE` writes one " +
			"from the calls of the last hour.",
		judge: checkPolicies,
	},
	{
		id:       "access-trials",
		category: ofIdentity,
		says:     "no call would be denied by what is on trial",
		means: "Calls of the last hour that policies of mode `audit`, and `shadow` rules, would deny when they are " +
			"enforced.",
		mend:    "allow these callers, or enforce the rules when they are meant to be shut out",
		command: "xdsserver authz suggest {}",
		judge:   checkTrials,
	},
	{
		id:       "enrolment",
		category: ofIdentity,
		says:     "processes have a way to join",
		means: "The server was started with `--enrol none`: who has a certificate goes on and renews it, and nobody new " +
			"comes in.",
		mend:    "start xdsserver with --enrol socket,token",
		command: "xdsserver serve --data ./data --enrol socket,token",
		judge:   checkEnrolment,
	},
	{
		id:       "admin-closed",
		category: ofIdentity,
		says:     "the admin API is for xdsserver's own user only",
		means: "This system cannot tell whose a TCP connection is, so every user of the machine can read what the API " +
			"shows; changes are taken over the socket only.",
		mend:  "run xdsserver on a machine of its own, or on Linux",
		judge: checkAdmin,
	},
	{
		id:       "sources-current",
		category: ofConfiguration,
		says:     "every source of configuration is up to date",
		means:    "The file or directory of `--config` is gone or cannot be read. Its last good form is served meanwhile.",
		mend:     "put back what is missing; the last good state is served meanwhile",
		command:  "xdsserver get",
		judge:    checkSources,
	},
	{
		id:       "objects-served",
		category: ofConfiguration,
		says:     "every object is served as it is written",
		means: "× an object is set aside, with file, line and reason, and its last good form is served. ‼ it is served, " +
			"and may not do what was meant.",
		mend:    "the last good form of each object is served meanwhile",
		command: "xdsserver get",
		judge:   checkObjects,
	},
	{
		id:       "published",
		category: ofConfiguration,
		says:     "the configuration is published",
		means:    "Nothing is yet, as in the first moments after a start. Processes go on with what they have.",
		mend:     "the server's log says what it waits for",
		command:  "xdsserver check --wait 30s",
		judge:    checkPublished,
	},
	{
		id:       "clients-accept",
		category: ofClients,
		says:     "no client refused what it was sent",
		means: "A NACK costs no call: the client keeps what it had, and that version is not sent to it again. The line " +
			"stays until the client accepts another version, or 15 minutes after it went. What is published was " +
			"decoded before, by our decoder and by grpc-go's, so look at the client's language and version first.",
		mend:    "its last good configuration stays in force; the version is not sent again",
		command: "xdsserver get",
		judge:   checkAccepted,
	},
	{
		id:       "clients-current",
		category: ofClients,
		says:     "every connected client has acknowledged its configuration",
		means:    "One has not for 10 s: its process is stopped or overloaded, or its network is. Others do not wait for it.",
		mend:     "the process may be stopped or overloaded: see its log",
		command:  "xdsserver log {} --level debug",
		passes:   true,
		judge:    checkCurrent,
	},
	{
		id:       "clients-version",
		category: ofClients,
		says:     "clients are built with the server's version of the library",
		means: "What an older library cannot honour is refused or shown as a warning, never ignored. Servers are updated " +
			"first: a library that is newer may ask for what they have not.",
		mend:    "build these processes with the server's version when they are next released",
		command: "go get github.com/tulle-mesh/tulle@v{}",
		judge:   checkLibraries,
	},
	{
		id:       "reports-taken",
		category: ofTelemetry,
		says:     "xdsserver takes what processes report",
		means:    "The server is older than this command, or was made without it. Calls go on; nobody counts them here.",
		mend:     "run the same version of the command and the server",
		command:  "xdsserver version",
		judge:    checkTaken,
	},
	{
		id:       "reports-come",
		category: ofTelemetry,
		says:     "every process that is built with the library reports",
		means: "It is connected for half a minute, and its calls are not counted: its library is older than reports, or " +
			"they are refused. Its log says why.",
		mend:    "see the log of that process",
		command: "xdsserver log {} --level debug",
		passes:  true,
		judge:   checkComing,
	},
	{
		id:       "reports-room",
		category: ofTelemetry,
		says:     "there is room for all that processes report",
		means: "Since the start something found no room: points were refused, series became one (`other`), or five " +
			"minutes were forgotten within the hour. Numbers are right, and coarser. The longest lists are methods " +
			"and endpoints.",
		mend:    "let a collector keep what is more: it gets all",
		command: "xdsserver serve --data ./data --otlp-forward grpc://127.0.0.1:4317",
		judge:   checkRoomForReports,
	},
	{
		id:       "collector-takes",
		category: ofTelemetry,
		says:     "the collector takes what is sent on to it",
		means: "Reports that it did not take are dropped, and counted; nothing here waits for it. What they count is in " +
			"the next report, too.",
		mend:    "see whether it runs and takes OTLP over gRPC",
		command: "curl -sv --max-time 3 telnet://{}",
		judge:   checkCollector,
	},
	{
		id:       "stock-clients-report",
		category: ofTelemetry,
		says:     "clients of other libraries report their load",
		means: "Servers see calls of a client that is not built with the library, and it reports no load (LRS): what it " +
			"gets of them, and calls that fail before a server, are not known.",
		mend:    "update its gRPC: clients that know LRS report by themselves",
		command: "xdsserver edges {} -o wide",
		judge:   checkStock,
	},
	{
		id:       "services-have-endpoints",
		category: ofCalls,
		says:     "every configured service has an endpoint that takes calls",
		means:    "A `Service` document without one: calls to it fail, with an error that says so.",
		mend:     "start an instance of it, or take its object away",
		command:  "xdsserver endpoints {}",
		judge:    checkServices,
	},
	{
		id:       "calls-succeed",
		category: ofCalls,
		says:     "every service answers 95% of its calls or more",
		means: "Of the last minute, where there were 20 calls or more. The service fails them itself, or it cannot be " +
			"reached: routes shows which backend.",
		mend:    "see which route and which backend fails them",
		command: "xdsserver routes {}",
		judge:   checkSuccess,
	},
	{
		id:       "calls-allowed",
		category: ofCalls,
		says:     "no call was refused by the mesh before it was sent",
		means: "Of the last minute: a rate limit, a full queue, an open breaker, no endpoint. The error that the caller " +
			"got says which.",
		mend:    "see what is refused, and why",
		command: "xdsserver tap {} --failures -o wide",
		judge:   checkRefused,
	},
	{
		id:       "retries-in-budget",
		category: ofCalls,
		says:     "retries stay within their budgets",
		means: "Of the last minute: retries or hedges that were due and not made, since they would be too much load. " +
			"That is what the budget is for; what they answer to is not.",
		mend:    "see why calls are tried again",
		command: "xdsserver routes {} -o wide",
		judge:   checkBudgets,
	},
	{
		id:       "calls-secured",
		category: ofCalls,
		says:     "all calls go by mutual TLS",
		means:    "Calls of the last minute that did not: their server is permissive, or is no member of the mesh.",
		mend:     "make both ends members of the mesh, then take mtls.mode out of the object",
		command:  "xdsserver edges {} -o wide",
		judge:    checkSecured,
	},
	{
		id:       "endpoints-in-use",
		category: ofCalls,
		says:     "no endpoint is kept from calls",
		means: "The breaker of some caller is open, or its outlier detection took the endpoint out: calls go to the " +
			"others. It comes back by itself when it answers.",
		mend:    "see the log of that instance, and who fails it",
		command: "xdsserver tap {} --failures -o wide",
		judge:   checkKeptOut,
	},
}
