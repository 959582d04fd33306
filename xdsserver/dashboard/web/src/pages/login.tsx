import { useEffect, useState } from "preact/hooks";
import { Command } from "../ui/bits";

// Login is what one sees without a session. There is nothing to type in: who may run a
// command on xdsserver's machine makes the address that opens this.
export function Login() {
  // An address whose token is good leads elsewhere: who sees this had another.
  const [refused] = useState(() => new URLSearchParams(location.search).has("token"));
  useEffect(() => {
    document.title = "Log in · Tulle";
    if (refused) history.replaceState(null, "", "/login");
  }, [refused]);
  return (
    <main class="login">
      <h1>Tulle</h1>
      {refused && <p class="notice bad" role="alert">This address was used already, or is older than five minutes. Make another.</p>}
      <p>To open the dashboard, run this where xdsserver runs:</p>
      <Command text="xdsserver dashboard" />
      <p>It prints an address that works once. Open it in this browser: a session lasts twelve hours.</p>
      <dl class="facts">
        <dt><code>--may view</code></dt>
        <dd>looks, and changes nothing</dd>
        <dt><code>--may view,tap,payload</code></dt>
        <dd>also sees single calls and their messages</dd>
      </dl>
    </main>
  );
}
