// What the page asks of xdsserver: the admin API, as Connect's JSON, and one stream of
// events.

export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

// call asks one method of the admin API. It throws an ApiError.
export async function call<Response>(method: string, request: object): Promise<Response> {
  let answer: globalThis.Response;
  try {
    answer = await fetch(`/api/tulle.admin.v1.AdminService/${method}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Tulle-Request": "1" },
      body: JSON.stringify(request),
    });
  } catch {
    throw new ApiError("unavailable", "xdsserver does not answer: is it running?");
  }
  const body = await answer.text();
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    json = undefined;
  }
  if (answer.ok && json !== undefined) return json as Response;
  if (answer.status === 401) signedOut();
  const failure = (json ?? {}) as { code?: string; message?: string };
  throw new ApiError(failure.code ?? String(answer.status), failure.message || body.slice(0, 300) || answer.statusText);
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// signedOut goes to the page that says how to come back.
export function signedOut() {
  if (location.pathname !== "/login") location.assign("/login");
}

export type Listener = (event: string, data: unknown) => void;

// Events is a stream of server-sent events that comes back by itself, after a second at
// first and half a minute at the most. It rests while nobody looks at the page.
export class Events {
  #source?: EventSource;
  #timer?: ReturnType<typeof setTimeout>;
  #failures = 0;
  #closed = false;

  constructor(
    readonly path: string,
    readonly names: string[],
    readonly listen: Listener,
    readonly standing: (connected: boolean) => void = () => {},
  ) {
    document.addEventListener("visibilitychange", this.#look);
    this.#look();
  }

  #look = () => {
    if (document.hidden) this.#stop();
    else if (!this.#source && this.#timer === undefined) this.#open();
  };

  #open() {
    this.#timer = undefined;
    const source = new EventSource(this.path);
    this.#source = source;
    source.onopen = () => {
      this.#failures = 0;
      this.standing(true);
    };
    for (const name of this.names) {
      source.addEventListener(name, (event) => this.listen(name, parsed((event as MessageEvent<string>).data)));
    }
    source.onerror = () => {
      // A browser gives up on an answer that is no stream; so the page tries again itself.
      this.#stop();
      this.standing(false);
      void sessionEnded().then((ended) => {
        if (ended) return signedOut();
        if (this.#closed || document.hidden) return;
        this.#timer = setTimeout(() => this.#open(), Math.min(30_000, 1000 * 2 ** this.#failures++));
      });
    };
  }

  #stop() {
    this.#source?.close();
    this.#source = undefined;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  close() {
    this.#closed = true;
    this.#stop();
    document.removeEventListener("visibilitychange", this.#look);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function sessionEnded(): Promise<boolean> {
  try {
    return (await fetch("/api/session")).status === 401;
  } catch {
    return false;
  }
}
