// The dialog about one worker, or one request: stacks, a flame graph, memory.

import { age, ask, byId, count, make, mib, order } from "./dom.js";
import { flameGraph } from "./flame.js";

const KINDS = { holder: "holds the event loop", request: "request", greenlet: "greenlet of the application", thread: "thread" };
const SECONDS = 5;
const FOREIGN = /\/(site|dist)-packages\/|\/lib(64)?\/python\d|^</; // installed packages, and Python itself

const dialog = byId("details"), body = byId("details-body"), views = byId("details-views");
let asked = 0; // an answer that comes after another question is dropped

byId("details-close").addEventListener("click", () => dialog.close());

export function openWorker(worker) {
  open(`Worker ${worker}`, {
    Stacks: () => stacks(worker),
    "Flame graph": (place) => flame(worker, "cpu", place),
    "Flame graph with waiting": (place) => flame(worker, "wall", place),
    Memory: () => memory(worker),
  });
}

export function openRequest(request) {
  open(`${request.method} ${request.path}, worker ${request.worker}`, {
    "This request": () => stacks(request.worker, request),
    "All of its worker": () => stacks(request.worker),
    "Flame graph of its worker": (place) => flame(request.worker, "cpu", place),
  });
}

function open(title, known) {
  byId("details-title").textContent = title;
  const buttons = Object.entries(known).map(([name, view]) =>
    make("button", { type: "button", "aria-pressed": "false", onclick: (event) => show(event.currentTarget, view) }, name));
  views.replaceChildren(...buttons);
  if (!dialog.open) dialog.showModal();
  show(buttons[0], Object.values(known)[0]);
}

async function show(button, view) {
  const number = ++asked;
  for (const each of views.children) each.setAttribute("aria-pressed", String(each === button));
  const place = make("div", { role: "status" }, "Asking the worker …");
  body.replaceChildren(place);
  let found;
  try {
    found = await view(place);
  } catch (error) {
    found = make("p", { class: "trouble" }, error.message);
  }
  if (number === asked) body.replaceChildren(found);
}

async function stacks(worker, request) {
  const answer = await ask("stacks", { worker, request: request?.started_s });
  const parts = [];
  for (const said of answer.workers) {
    if (request && !said.stacks.length) parts.push(make("p", {}, "This request has ended."));
    for (const stack of said.stacks) parts.push(...shownStack(stack));
    if (said.omitted) parts.push(make("p", {}, `${count(said.omitted, "more stack")} at other places`));
    if (!request) parts.push(make("p", { class: "note" }, `${count(said.idle, "greenlet")} idle, or waiting for a client`));
  }
  for (const { reason, text } of answer.silent) {
    parts.push(make("p", {}, reason), make("p", { class: "note" }, "It runs no Python code, so only the running stack of each thread can be shown:"),
      make("pre", {}, text));
  }
  return make("div", {}, ...parts);
}

function shownStack(stack) {
  const named = stack.named.map((one) => (typeof one === "string" ? one : `${age(one.age_s)}  ${one.method} ${one.path}  ${one.peer}`));
  const more = stack.count > named.length ? [`and ${stack.count - named.length} more`] : [];
  const own = stack.frames.findLastIndex((frame) => !FOREIGN.test(frame.file));
  const here = own < 0 ? stack.frames.length - 1 : own; // the line that an application's author can change
  const lines = stack.frames.map((frame, at) => make("span", { class: at === here ? "here" : "" },
    `File "${frame.file}", line ${frame.line}, in ${frame.function}\n${frame.source ? `    ${frame.source}\n` : ""}`));
  return [make("h3", {}, `${stack.count > 1 ? `${stack.count} × ` : ""}${KINDS[stack.kind]}`),
    make("p", {}, [...named, ...more].join(" · ")), make("pre", {}, ...lines)];
}

async function flame(worker, clock, place) {
  const seconds = SECONDS;
  place.textContent = `Sampling worker ${worker} for ${seconds} s …`;
  const answer = await order("profile", { worker, seconds, clock });
  const again = make("button", { type: "button" }, "Sample again");
  const longer = make("input", { type: "number", min: 1, max: 120, value: seconds, "aria-label": "seconds" });
  const result = make("div", {}, make("p", { class: "buttons" }, again, longer, " seconds"),
    answer.boxes.length > 1 ? flameGraph(answer) : make("p", {}, `${answer.title}: there was nothing to see.`));
  again.addEventListener("click", async () => {
    const number = ++asked;
    const waits = make("div", { role: "status" }, `Sampling worker ${worker} for ${longer.value} s …`);
    body.replaceChildren(waits);
    try {
      const next = await order("profile", { worker, seconds: Number(longer.value), clock });
      if (number !== asked) return;
      result.lastChild.replaceWith(flameGraph(next));
      body.replaceChildren(result);
    } catch (error) {
      if (number === asked) body.replaceChildren(make("p", {}, error.message), again);
    }
  });
  return result;
}

async function memory(worker) {
  const found = await ask("memory", { worker });
  const columns = ["rss", "pss", "private", "shared", "swap"];
  const row = (cells, tag) => make("tr", {}, ...cells.map((cell, at) => make(tag, { class: at ? "" : "left" }, String(cell))));
  const table = (head, rows) => make("div", { class: "scroll" }, make("table", {}, make("thead", {}, row(head, "th")),
    make("tbody", {}, ...rows.map((cells) => row(cells, "td")))));
  const parts = [table(["process", "pid", ...columns], found.processes.map((each) =>
    [each.process, each.pid, ...columns.map((name) => mib(each.parts?.[name]))]))];
  const inside = found.worker;
  if (inside) {
    parts.push(make("h3", {}, `Worker ${worker}: ${count(inside.objects.tracked, "object")} that the collector knows; ${inside.objects.frozen} more are the template's`),
      table(["type", "objects"], inside.objects.types.map((kind) => [kind.type, kind.count])));
    if (inside.traced) {
      parts.push(make("h3", {}, "Allocated, by line of code"), table(["line", "size", "grown"], inside.traced.lines.map((line) =>
        [line.line, mib(line.bytes), mib(line.grown_bytes)])));
    }
  }
  return make("div", {}, ...parts, ...Object.values(found.silent).map((reason) => make("p", {}, reason)));
}
