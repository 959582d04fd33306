import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export type Line = { name: string; values: (number | null)[]; color: string; dash?: number[] };

// colour reads one of the page's own colours: a canvas does not know them.
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || "#888";
}

// Chart draws lines over time. times are in seconds.
export function Chart({ times, lines, unit, label, top, height = 190 }: { times: number[]; lines: Line[]; unit: string; label: string; top?: number; height?: number }) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const shape = lines.map((l) => l.name).join("\n");
  useEffect(() => {
    const element = host.current!;
    const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    plot.current = new uPlot(
      {
        width: element.clientWidth || 400,
        height,
        legend: { live: true },
        cursor: { points: { size: 5 } },
        scales: { x: { time: true }, y: { range: (_, __, max) => [0, top ?? Math.max(max * 1.1, 1e-3)] } },
        axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((v) => `${Number(v.toPrecision(3))}${unit}`) }],
        series: [
          {},
          ...lines.map((l) => ({ label: l.name, stroke: colour(l.color), width: 1.6, dash: l.dash, spanGaps: false, value: (_: uPlot, v: number | null) => (v == null ? "-" : `${v.toPrecision(3)}${unit}`) })),
        ],
      },
      [times, ...lines.map((l) => l.values)],
      element,
    );
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth || 400, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [shape, unit, height, top]);
  useEffect(() => plot.current?.setData([times, ...lines.map((l) => l.values)]), [times, lines]);
  return <div class="chart" ref={host} role="img" aria-label={label} />;
}

// Heat is how many calls took how long, over time: the darker the more. It is drawn from
// the bottom, the quickest, to the top.
export function Heat({ columns, bounds, label, height = 190 }: { columns: number[][]; bounds: number[]; label: string; height?: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  // Buckets in which nothing ever was are left out at both ends.
  let first = bounds.length;
  let last = -1;
  for (const column of columns) {
    column.forEach((n, i) => {
      if (n > 0) {
        first = Math.min(first, i);
        last = Math.max(last, i);
      }
    });
  }
  first = Math.max(0, first - 1);
  last = Math.min(bounds.length - 1, last + 1);
  useEffect(() => {
    const element = canvas.current!;
    const ratio = devicePixelRatio || 1;
    const draw = () => {
      const width = element.clientWidth;
      element.width = width * ratio;
      element.height = height * ratio;
      const c = element.getContext("2d")!;
      c.scale(ratio, ratio);
      c.clearRect(0, 0, width, height);
      if (last < first) return;
      const left = 56;
      const rows = last - first + 1;
      const [w, h] = [(width - left) / Math.max(1, columns.length), (height - 16) / rows];
      c.fillStyle = colour("--accent");
      for (const [i, column] of columns.entries()) {
        const most = Math.max(1, ...column);
        for (let b = first; b <= last; b++) {
          const n = column[b] ?? 0;
          if (n === 0) continue;
          c.globalAlpha = 0.12 + 0.88 * Math.sqrt(n / most);
          c.fillRect(left + i * w, height - 16 - (b - first + 1) * h, Math.max(1, w - 0.5), Math.max(1, h - 0.5));
        }
      }
      c.globalAlpha = 1;
      c.fillStyle = colour("--quiet");
      c.font = "11px system-ui";
      const every = Math.max(1, Math.ceil((rows * 13) / (height - 16)));
      for (let b = first; b <= last; b += every) {
        const text = (bounds[b] ?? 0) < 1 ? `${(bounds[b] ?? 0).toPrecision(2)} ms` : `${Math.round(bounds[b] ?? 0)} ms`;
        c.fillText(text, 0, height - 16 - (b - first) * h - 1);
      }
    };
    draw();
    const resize = new ResizeObserver(draw);
    resize.observe(element);
    return () => resize.disconnect();
  }, [columns, bounds, height, first, last]);
  return <canvas class="heat" ref={canvas} role="img" aria-label={label} height={height} />;
}
