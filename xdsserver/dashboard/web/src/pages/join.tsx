import type { Security } from "../types";
import type { ComponentChildren } from "preact";
import { Command } from "../ui/bits";

// Join teaches how a process comes into the mesh, by the ways that are open here.
export function Join({ security }: { security: Security | undefined }) {
  const ways = security?.enrolment ?? [];
  const socket = ways.includes("socket");
  const token = ways.includes("token");
  const issuers = ways.filter((way) => way.startsWith("oidc "));
  return (
    <section class="panel" aria-labelledby="join">
      <h2 id="join">How a process joins</h2>
      <div class="ways">
        <Way name="On this machine" open={socket} off="serve --enrol socket opens it">
          <p>It finds xdsserver by its unix socket, and the kernel proves who it is. There is nothing to configure but its name:</p>
          <Command text="TULLE_SERVICE=voting ./voting" />
        </Way>
        <Way name="On another machine" open={token} off="serve --enrol socket,token opens it">
          <p>By a token: one line in a file, good for one process and one hour.</p>
          <Command text="xdsserver token create --service voting > voting.token" />
          <Command text="TULLE_SERVICE=voting TULLE_TOKEN_FILE=voting.token ./voting" />
        </Way>
        <Way name="Where a platform issues OIDC tokens" open={issuers.length > 0} off="serve --oidc issuer=URL,audience=NAME,identity=ns/{claim}/svc/{claim} opens it">
          {issuers.map((issuer) => <p key={issuer}><code>{issuer.slice(5)}</code></p>)}
          <Command text="TULLE_JWT_FILE=/run/token TULLE_BUNDLE_FILE=roots.pem ./voting" />
        </Way>
        <Way name="Stock gRPC clients and servers" open={true} off="">
          <p>Their certificates are kept fresh in files, and gRPC’s own xDS client reads them.</p>
          <Command text="xdsserver identity fetch --service reports --out /run/reports/identity" />
          <Command text="xdsserver bootstrap --service reports --identity-dir /run/reports/identity" />
        </Way>
      </div>
    </section>
  );
}

function Way({ name, open, off, children }: { name: string; open: boolean; off: string; children: ComponentChildren }) {
  return (
    <div class="way">
      <h3>{name}</h3>
      {open ? children : <p class="quiet">Not open here: <code>{off}</code>.</p>}
    </div>
  );
}
