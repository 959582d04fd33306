import { useEffect, useState } from "preact/hooks";
import { call, errorText } from "../api";

// Asked is what one method of the admin API said last, and what went wrong since.
export type Asked<Response> = { value?: Response; error?: string };

// useAsked asks a method without parameters, again whenever key changes, and, with every,
// each so many milliseconds while somebody looks at the page.
export function useAsked<Response>(method: string, key: unknown, every = 0): Asked<Response> {
  const [asked, setAsked] = useState<Asked<Response>>({});
  useEffect(() => {
    let gone = false;
    const ask = () => {
      call<Response>(method, {}).then(
        (value) => !gone && setAsked({ value }),
        (cause) => !gone && setAsked((before) => ({ ...before, error: errorText(cause) })),
      );
    };
    ask();
    const timer = every > 0 ? setInterval(() => !document.hidden && ask(), every) : undefined;
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [method, key, every]);
  return asked;
}
