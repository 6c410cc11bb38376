import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { count, plural } from "./format";
import { theme } from "./theme";

export interface Point {
  at: number; // seconds of Unix time
  allowed: number;
  denied: number;
}

/** Chart draws connections over time, and hands on a range that is dragged over. */
export function Chart({ points, on }: { points: Point[]; on: (from: number, to: number) => void }) {
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const el = ref.current;
    if (!el || points.length === 0) return;
    const css = getComputedStyle(document.documentElement);
    const colour = (name: string) => css.getPropertyValue(name).trim();
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const step = points.length > 1 ? (points[1]?.at ?? 0) - (points[0]?.at ?? 0) : 60;
    const bars = uPlot.paths.bars?.({ size: [0.9, 400], align: 1 });
    const plot = new uPlot(
      {
        width: el.clientWidth,
        height: 96,
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false, setScale: false } },
        scales: { x: { time: true, range: [points[0]?.at ?? 0, (points[points.length - 1]?.at ?? 0) + step] }, y: { range: (_u, _min, max) => [0, Math.max(1, max * 1.1)] } },
        tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
        axes: [{ ...axis, size: 22, values: (_u, v) => v.map((t) => new Date(t * 1000).toISOString().slice(11, 16)) }, { ...axis, size: 46, values: (_u, v) => v.map((n) => (Number.isInteger(n) ? count(n) : "")) }],
        series: [
          {},
          { label: "all", fill: colour("--allow-bar"), stroke: colour("--allow"), width: 0, paths: bars, points: { show: false } },
          { label: "denied", fill: colour("--deny"), stroke: colour("--deny"), width: 0, paths: bars, points: { show: false } },
        ],
        hooks: {
          setSelect: [
            (u) => {
              if (u.select.width > 3) on(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
            },
          ],
        },
      },
      [points.map((p) => p.at), points.map((p) => p.allowed + p.denied), points.map((p) => p.denied)],
      el,
    );
    const resize = new ResizeObserver(() => plot.setSize({ width: el.clientWidth, height: 96 }));
    resize.observe(el);
    return () => {
      resize.disconnect();
      plot.destroy();
    };
  }, [points, theme.value]);
  const all = points.reduce((n, p) => n + p.allowed + p.denied, 0);
  const denied = points.reduce((n, p) => n + p.denied, 0);
  return (
    <figure class="chart">
      <div ref={ref} role="img" aria-label={`Connections over time: ${count(all)}, ${count(denied)} of them denied`} />
      <figcaption class="dim">
        {plural(all, "connection")}, <span class="mark deny">✕ {count(denied)} denied</span> · drag to choose a time
      </figcaption>
    </figure>
  );
}
