// The tables. Rows stay where they are between two updates, so that the focus and the selection stay, too.

import { age, byId, clock, count, make, mib, percent, setText } from "./dom.js";

const LEFT = new Set(["state", "restarts", "method", "path", "peer", "event", "at", "kind", "listener", "text"]);

// Fill a table. A row is {key, cells, wrong}; a cell is text, or {text, onclick, label}.
export function fill(table, columns, rows, empty, minor = new Set()) {
  const kinds = columns.map((name) => [LEFT.has(name) ? "left" : "", minor.has(name) ? "minor" : ""].join(" ").trim());
  if (table.dataset.columns !== columns.join()) {
    table.dataset.columns = columns.join();
    table.replaceChildren(
      make("thead", {}, make("tr", {}, ...columns.map((name, at) => make("th", { scope: "col", class: kinds[at] }, name)))),
      make("tbody"),
    );
  }
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const shown = rows.length ? rows : [{ key: "", cells: [empty, ...columns.slice(1).map(() => "")] }];
  shown.forEach((wanted, at) => {
    const key = String(wanted.key);
    let row = known.get(key);
    known.delete(key);
    if (!row) {
      row = make("tr", { "data-key": key }, ...columns.map((_, place) => make("td", { class: kinds[place] })));
    }
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
    row.classList.toggle("wrong", Boolean(wanted.wrong));
    wanted.cells.forEach((cell, place) => fillCell(row.cells[place], cell));
  });
  for (const row of known.values()) row.remove();
}

function fillCell(place, cell) {
  if (typeof cell !== "object" || cell === null) {
    setText(place, String(cell ?? "–"));
    return;
  }
  let button = place.querySelector("button");
  if (!button) {
    button = make("button", { type: "button", class: "link" });
    place.replaceChildren(button);
  }
  setText(button, cell.text);
  button.onclick = cell.onclick;
  if (cell.label) button.setAttribute("aria-label", cell.label);
}

const WORKER_COLUMNS = ["worker", "state", "generation", "age", "requests/s", "in flight", "lag", "stands", "cpu", "memory", "longest pause", "restarts"];
const WORKER_MINOR = new Set(["generation", "age", "stands", "longest pause", "restarts"]);

export function showWorkers(sample, heldUp, open) {
  const rows = sample.workers.filter((worker) => worker.state !== "vacant" || worker.rests_s).map((worker) => {
    const name = { text: String(worker.slot), label: `worker ${worker.slot}: stacks, flame graph, memory`, onclick: () => open(worker.slot) };
    const restarts = Object.entries(worker.restarts).map(([cause, times]) => `${times} ${cause}`).join(", ") || "–";
    if (!worker.pid) return { key: worker.slot, cells: [String(worker.slot), worker.state, ...Array(9).fill("–"), restarts] };
    const held = heldUp.has(worker.slot);
    const rate = sample.requests_per_s_by_worker[worker.slot], cpu = sample.cpu_by_worker[worker.slot];
    return {
      key: worker.slot,
      wrong: held,
      cells: [name, held ? `${worker.state}, stands still` : worker.state, worker.generation, age(worker.age_s),
        rate?.toFixed(1), `${worker.in_flight}/${sample.places}`,
        held ? `held up ${age(worker.heartbeat_age_s)}` : `${(worker.lag_s * 1000).toFixed(0)} ms`, percent(worker.stood_still),
        percent(cpu), mib(worker.rss_bytes), `${(worker.collector_longest_us / 1000).toFixed(1)} ms`, restarts],
    };
  });
  fill(byId("workers"), WORKER_COLUMNS, rows, "no worker", WORKER_MINOR);
}

export function showSlow(slow) {
  fill(byId("slow"), ["at", "took at least", "worker", "method", "path", "peer"], slow.map((request) => ({
    key: `${request.worker} ${request.started_s}`,
    cells: [clock(request.at_s), age(request.age_s), request.worker, request.method, request.path, request.peer],
  })), "none", new Set(["peer", "worker"]));
}

export function showMarks(marks) {
  const newest = marks.slice(-200).reverse();
  fill(byId("marks"), ["at", "kind", "event"], newest.map(([key, at, kind, text]) => ({
    key, wrong: kind !== "planned", cells: [clock(at), kind === "planned" ? "▲ planned" : "✕ unplanned", text],
  })), "nothing yet");
}

export function showConnections(found) {
  fill(byId("connections"), ["worker", "peer", "connections", "in use", "not in use", "oldest", "youngest"],
    found.connections.map((row) => ({
      key: `${row.worker} ${row.peer}`,
      cells: [row.worker, row.peer, row.count, row.in_use, row.count - row.in_use, age(row.oldest_s), age(row.youngest_s)],
    })), "none");
  const silent = Object.values(found.silent).join("; ");
  byId("connections-note").textContent = `${count(found.total, "connection")}${silent ? `; ${silent}` : ""}`;
}

// The workers report their connections by themselves if the server has --metrics.
export function showPeers(connections) {
  const peers = Object.entries(connections);
  fill(byId("connections"), ["peer", "connections"], peers.map(([peer, number]) => ({ key: peer, cells: [peer, number] })), "none");
}

// The statistics of later versions may have tables that this page does not know: limits, caches.
const KNOWN = new Set(["workers", "templates", "listeners", "totals", "durations", "failure", "per_s", "slowest", "troubles",
  "requests_per_s_by_worker", "cpu_by_worker", "mean_s_by_phase", "connections"]);

export function showMore(sample, place) {
  for (const [name, value] of Object.entries(sample)) {
    const rows = KNOWN.has(name) || typeof value !== "object" || value === null ? [] : asRows(value);
    if (!rows.length) continue;
    const id = `more-${name}`;
    if (!byId(id)) {
      const title = name.replaceAll("_", " ");
      place.append(make("section", { "aria-label": title }, make("h2", {}, title),
        make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table of ${title}` }, make("table", { id }))));
    }
    const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    fill(byId(id), columns, rows.map((row, key) => ({ key, cells: columns.map((column) => inWords(row[column])) })), "none");
  }
}

function asRows(value) {
  if (Array.isArray(value)) return value.map((each) => (typeof each === "object" && each !== null ? each : { value: each }));
  return Object.entries(value).map(([name, each]) =>
    typeof each === "object" && each !== null && !Array.isArray(each) ? { name, ...each } : { name, value: each });
}

function inWords(value) {
  if (value == null) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value);
}
