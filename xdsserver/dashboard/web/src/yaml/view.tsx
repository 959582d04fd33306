import { highlight, type Token } from "./highlight";

// A line of YAML in colours. Text is only ever text: it never becomes markup.
export function Tokens({ tokens }: { tokens: Token[] }) {
  return (
    <>
      {tokens.map((token, i) => (token.kind === "plain" ? token.text : <span key={i} class={`y-${token.kind}`}>{token.text}</span>))}
    </>
  );
}

// YamlView shows YAML to read, with the numbers of its lines.
export function YamlView({ source, label }: { source: string; label: string }) {
  const lines = highlight(source.replace(/\n$/, ""));
  return (
    <pre class="yaml" tabIndex={0} role="region" aria-label={label}>
      <code>
        {lines.map((tokens, i) => (
          <span key={i} class="yaml-line">
            <span class="yaml-number" aria-hidden="true">{i + 1}</span>
            <span class="yaml-text">
              <Tokens tokens={tokens} />
              {"\n"}
            </span>
          </span>
        ))}
      </code>
    </pre>
  );
}
