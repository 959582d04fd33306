import type { TapEvent, TapMessage } from "../types";

// TapCall is one row, opened: all that was seen of one attempt.
export function TapCall({ event }: { event: TapEvent }) {
  const sent = (event.messages ?? []).filter((m) => m.request);
  const received = (event.messages ?? []).filter((m) => !m.request);
  return (
    <div class="tap-call">
      <section>
        <h3>Request</h3>
        <Metadata of={event.requestMetadata} none="No metadata." />
        <Messages messages={sent} count={event.messagesSent ?? 0} what="sent" />
      </section>
      <section>
        <h3>Response</h3>
        <dl class="facts">
          <Fact name="Status">{event.status ?? "-"}</Fact>
          <Fact name="Message">{event.message}</Fact>
          <Fact name="Ended by the mesh">{event.reason}</Fact>
        </dl>
        <Metadata of={event.responseMetadata} none="No metadata." />
        <Messages messages={received} count={event.messagesReceived ?? 0} what="received" />
      </section>
      <section>
        <h3>Way and time</h3>
        <dl class="facts">
          <Fact name="Began">{event.start}</Fact>
          <Fact name="Took">{millis(event.duration)}</Fact>
          <Fact name="Deadline">{event.deadline ? `${millis(event.deadline)} left at the start` : "none"}</Fact>
          <Fact name="Attempt">{attemptOf(event)}</Fact>
          <Fact name="Route">{event.route}</Fact>
          <Fact name="Cluster">{event.cluster}</Fact>
          <Fact name="Endpoint">{event.endpoint}</Fact>
          <Fact name="Why this one">{event.why}</Fact>
          <Fact name="Peer">{event.peer}</Fact>
          <Fact name="Security">{event.security}</Fact>
          <Fact name="Seen by">{[event.reporter, event.reporterInstance, event.side].filter(Boolean).join(", ")}</Fact>
        </dl>
      </section>
    </div>
  );
}

function Fact({ name, children }: { name: string; children?: string }) {
  if (!children) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd><Redacted text={children} /></dd>
    </>
  );
}

function Metadata({ of, none }: { of?: { key?: string; value?: string }[]; none: string }) {
  if (!of || of.length === 0) return <p class="quiet">{none}</p>;
  return (
    <dl class="facts facts-code">
      {of.map((m, i) => (
        <Fact key={i} name={m.key ?? ""}>{m.value || "(empty)"}</Fact>
      ))}
    </dl>
  );
}

function Messages({ messages, count, what }: { messages: TapMessage[]; count: number; what: string }) {
  if (messages.length === 0) {
    return <p class="quiet">{count} {count === 1 ? "message" : "messages"} {what}{count > 0 && ", shown by a tap with “Messages”"}.</p>;
  }
  return (
    <>
      {messages.map((m, i) => (
        <figure key={i} class="message">
          <figcaption>
            <code>{m.type || "message"}</code> <span class="quiet">{m.size ?? 0} bytes{m.cut ? ", cut" : ""}</span>
          </figcaption>
          {m.json ? <pre tabIndex={0}><Redacted text={pretty(m.json)} /></pre> : <p class="quiet">Its type is not shown.</p>}
        </figure>
      ))}
      {count > messages.length && <p class="quiet">{messages.length} of {count} are shown.</p>}
    </>
  );
}

const mark = "[redacted]";

// Redacted marks what the process took out before it told anybody.
function Redacted({ text }: { text: string }) {
  const parts = text.split(mark);
  return (
    <>
      {parts.map((part, i) => (
        <>
          {i > 0 && <span class="redacted" title="Taken out in the process: it never left it">{mark}</span>}
          {part}
        </>
      ))}
    </>
  );
}

export function pretty(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json; // cut
  }
}

// millis shows a protobuf duration, "0.0123s".
export function millis(duration: string | undefined): string {
  const seconds = Number.parseFloat(duration ?? "");
  if (!Number.isFinite(seconds)) return "-";
  const ms = seconds * 1000;
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)}s`;
  if (ms >= 100) return `${ms.toFixed(0)}ms`;
  return `${ms.toFixed(ms < 1 ? 2 : 1)}ms`;
}

// attemptOf counts from one, as people do. Servers do not know it.
export function attemptOf(event: TapEvent): string {
  return event.side === "server" ? "" : String((event.attempt ?? 0) + 1);
}
