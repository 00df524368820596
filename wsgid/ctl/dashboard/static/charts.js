// The charts, with uPlot. A line is known by its dashes as well as by its colour.

import { brief, byId, clock, count, duration, make, number, percent } from "./dom.js";

const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 5]];
const SIGNS = ["——", "– –", "····", "–·–", "— —"]; // the dashes, in the legend
const HEIGHT = 170;

const CHARTS = [
  { id: "rate", title: "Requests per second, by status", unit: "/s", lines: { "2xx": "2xx", "3xx": "3xx", "4xx": "4xx", "5xx": "5xx" } },
  { id: "duration", title: "Duration of requests", unit: " ms", show: duration, lines: { p50: "p50", p95: "p95", p99: "p99" } },
  { id: "load", title: "In flight, and waiting in the backlog", unit: "", lines: { in_flight: "in flight", waiting: "backlog" } },
  { id: "lag", title: "Event loop: how late, and share of time late", unit: "", lines: { lag: "longest lag, ms", late: "late, %" } },
  { id: "cpu", title: "Processors in use", unit: "", lines: { cpu: "all workers", busiest: "busiest worker" } },
  { id: "phases", title: "Where the time of a request goes (mean)", unit: " ms", show: duration,
    lines: { phase_front: "front", phase_waiting: "waiting", phase_reading: "reading", phase_application: "application", phase_sending: "sending" } },
  { id: "collector", title: "Garbage collector", unit: "", lines: { collector: "pause, ms each second", collections: "runs each second" } },
];
const MEMORY = { id: "memory", title: "Memory of each worker", unit: " MiB", lines: {} };
const LEGEND_MAX = 12; // workers in the legend of the memory chart

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Charts {
  constructor(root) {
    this.root = root;
    this.names = [];
    this.rows = [];
    this.memory = [];
    this.marks = [];
    this.rangeS = 300;
    this.zoom = null; // [from, to] in seconds, while a part is shown
    this.plots = new Map();
    this.slots = [];
    for (const chart of [...CHARTS, MEMORY]) {
      const box = make("div", { class: "chart", id: `chart-${chart.id}`, role: "group", "aria-label": chart.title }, make("h3", {}, chart.title));
      root.append(box);
      this.plots.set(chart.id, { chart, box, plot: null });
    }
    this.histogram = make("div", { class: "histogram" });
    root.append(make("div", { class: "chart", id: "chart-distribution" },
      make("h3", {}, "Durations in the last minute"), this.histogram));
    new ResizeObserver(() => this.resize()).observe(root);
  }

  add(answer) {
    this.names = answer.names;
    this.rows.push(...answer.rows);
    this.memory.push(...answer.memory);
    this.marks.push(...answer.marks);
    const oldest = answer.now_s - 3600;
    for (const list of [this.rows, this.memory]) {
      const from = list.findIndex((row) => row[1] >= oldest);
      if (from > 0) list.splice(0, from);
    }
    this.nowS = answer.now_s;
    this.draw();
    this.drawHistogram(answer.distribution);
  }

  setRange(seconds) {
    this.rangeS = seconds;
    this.zoom = null;
    this.draw();
  }

  // The colours are a part of a plot: it is made again.
  repaint() {
    for (const entry of this.plots.values()) this.remove(entry);
    this.draw();
  }

  remove(entry) {
    entry.plot?.destroy();
    entry.plot = null;
  }

  resize() {
    for (const { box, plot } of this.plots.values()) plot?.setSize({ width: this.width(box), height: HEIGHT });
  }

  width(box) {
    return Math.max(box.clientWidth - 20, 200);
  }

  draw() {
    if (!this.rows.length) return;
    const [from, to] = this.zoom ?? [this.nowS - this.rangeS, this.nowS];
    const rows = this.rows.filter((row) => row[1] >= from - 2 && row[1] <= to + 2);
    const times = rows.map((row) => row[1]);
    for (const { chart } of this.plots.values()) {
      if (chart === MEMORY) continue;
      const columns = Object.keys(chart.lines).map((name) => this.names.indexOf(name));
      this.show(chart.id, Object.values(chart.lines), [times, ...columns.map((at) => rows.map((row) => row[2][at]))], from, to);
    }
    this.drawMemory(from, to);
  }

  drawMemory(from, to) {
    const rows = this.memory.filter((row) => row[1] >= from - 10 && row[1] <= to + 2);
    const slots = [...new Set(rows.flatMap((row) => Object.keys(row[2])))].map(Number).sort((a, b) => a - b);
    if (slots.join() !== this.slots.join()) {
      this.slots = slots;
      this.remove(this.plots.get("memory"));
    }
    const columns = slots.map((slot) => rows.map((row) => row[2][slot] ?? null));
    this.show("memory", slots.map((slot) => `worker ${slot}`), [rows.map((row) => row[1]), ...columns], from, to);
  }

  show(id, labels, data, from, to) {
    const entry = this.plots.get(id);
    if (!entry.plot) entry.plot = new uPlot(this.options(entry, labels), data, entry.box);
    else entry.plot.setData(data, false);
    entry.plot.batch(() => {
      entry.plot.setScale("x", { min: from, max: to });
    });
    entry.box.dataset.points = data[0].length;
    entry.box.dataset.last = data[0].at(-1) ?? "";
    entry.box.dataset.marks = this.marks.filter((mark) => mark[1] >= from && mark[1] <= to).length;
  }

  options({ chart, box }, labels) {
    const show = chart.show ?? ((value) => `${brief(value)}${value == null ? "" : chart.unit}`);
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    return {
      width: this.width(box),
      height: HEIGHT,
      cursor: { sync: { key: "wsgid" }, drag: { x: true, y: false, setScale: false } },
      select: { show: true },
      legend: { show: labels.length <= LEGEND_MAX },
      scales: { y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.08 : 1] } },
      axes: [{ ...axis, values: (_plot, splits) => splits.map((split) => clock(split).slice(0, this.rangeS > 600 ? 5 : 8)) },
        { ...axis, size: 74, values: (_plot, splits) => splits.map((split) => show(split)) }],
      series: [{ label: "time", value: (_plot, value) => (value == null ? "–" : clock(value)) },
        ...labels.map((label, at) => ({
          label: `${SIGNS[at % SIGNS.length]} ${label}`,
          stroke: colour(`c${(at % 5) + 1}`),
          width: 1.6,
          dash: DASHES[at % DASHES.length],
          points: { show: false },
          value: (plot, value, series) => show(value ?? (plot.cursor.idx == null ? plot.data[series].at(-1) : null)),
        }))],
      hooks: { draw: [(plot) => this.drawMarks(plot)], setSelect: [(plot) => this.select(plot)], ready: [(plot) => {
        plot.over.addEventListener("dblclick", () => { this.zoom = null; this.draw(); });
      }] },
    };
  }

  select(plot) {
    if (plot.select.width < 8) return;
    this.zoom = [plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x")];
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.draw();
  }

  // Planned: a dashed line with ▲. Unplanned: a line with ✕.
  drawMarks(plot) {
    const { ctx, bbox } = plot, { min, max } = plot.scales.x;
    ctx.save();
    ctx.font = `${12 * devicePixelRatio}px system-ui`;
    ctx.textAlign = "center";
    for (const [, at, kind] of this.marks) {
      if (at < min || at > max) continue;
      const x = Math.round(plot.valToPos(at, "x", true)), planned = kind === "planned";
      ctx.strokeStyle = ctx.fillStyle = colour(planned ? "accent" : "grave");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash(planned ? [4 * devicePixelRatio, 4 * devicePixelRatio] : []);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + 12 * devicePixelRatio);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.fillText(planned ? "▲" : "✕", x, bbox.top + 10 * devicePixelRatio);
    }
    ctx.restore();
  }

  drawHistogram({ bounds_us, counts }) {
    const whole = counts.reduce((sum, each) => sum + each, 0);
    if (this.histogram.childElementCount !== counts.length * 3) {
      this.histogram.replaceChildren(...counts.flatMap((_, at) => {
        const bound = at < bounds_us.length ? `≤ ${duration(bounds_us[at] / 1000)}` : `> ${duration(bounds_us.at(-1) / 1000)}`;
        return [make("span", {}, bound), make("meter", { max: 1, "aria-label": bound }), make("span")];
      }));
    }
    const cells = this.histogram.children;
    counts.forEach((each, at) => {
      cells[at * 3 + 1].value = whole ? each / whole : 0;
      cells[at * 3 + 2].textContent = whole ? `${number(each)} (${percent(each / whole)})` : "0";
    });
    byId("chart-distribution").setAttribute("aria-label", `Durations of ${count(whole, "request")} in the last minute`);
  }
}
