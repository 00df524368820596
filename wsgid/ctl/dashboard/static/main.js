// The page: asks for what is new each second, and shows it. What is wrong comes first.

import { Charts } from "./charts.js";
import { openRequest, openWorker } from "./details.js";
import { age, ask, brief, byId, count, duration, make, mib, number, order, percent, setText } from "./dom.js";
import { Requests } from "./requests.js";
import { showConnections, showMarks, showPeers, showMore, showSlow, showWorkers } from "./tables.js";

const EVERY_MS = 1000;
const QUESTIONS = {
  reload: ["Load the application anew? The workers are replaced one after the other; no request is lost.", "Reload"],
  more: ["Start one worker more, until the server is started again?", "Workers +1"],
  fewer: ["End one worker when its requests are finished?", "Workers −1"],
  "log-reopen": ["Reopen all log files, as after a rotation?", "Reopen logs"],
  stop: ["Stop the server? Requests in flight are finished first. This page cannot start the server again.", "Stop the server"],
};
const THEMES = ["automatic", "light", "dark"];

const charts = new Charts(byId("charts"));
const requests = new Requests(openRequest);
const have = { rows: 0, memory: 0, marks: 0 };

let askedConnections = false;

async function look() {
  const beganMs = performance.now();
  try {
    const answer = await ask("live", have);
    for (const name of Object.keys(have)) have[name] = answer[name].at(-1)?.[0] ?? have[name];
    show(answer);
  } catch (error) {
    showTroubles([`the dashboard does not answer (${error.message}): is wsgidctl dashboard still running?`]);
  }
  setTimeout(look, Math.max(100, EVERY_MS - (performance.now() - beganMs)));
}

function show(answer) {
  charts.add(answer);
  showMarks(charts.marks);
  showSlow(answer.slow);
  const { sample } = answer;
  showTroubles(answer.silence ? [answer.silence] : sample ? sample.troubles : [], sample);
  if (!sample) return;
  document.title = `${sample.application} – wsgid`;
  setText(byId("application"), sample.application);
  setText(byId("about"), `wsgid ${sample.version}, ${sample.mode} for ${age(sample.uptime_s)}, pid ${sample.pid}, generation ${sample.generation}, ` +
    `${sample.ready} of ${count(sample.wanted, "worker")} ready`);
  showTiles(sample, answer);
  showWorkers(sample, new Set(answer.held_up), openWorker);
  showMore(sample, byId("more"));
  if (!askedConnections && Object.keys(sample.connections).length) showPeers(sample.connections);
  if (!answer.silence && !document.hidden) requests.tick();
}

function showTroubles(wrong, sample) {
  const place = byId("troubles");
  place.classList.toggle("wrong", wrong.length > 0);
  const calm = sample ? "Nothing is wrong." : "Waiting for the first look at the server.";
  const list = place.querySelector("ul");
  setText(place.querySelector("p"), wrong.length ? "" : calm);
  while (list.children.length > wrong.length) list.lastChild.remove();
  wrong.forEach((sentence, at) => showTrouble(list.children[at] ?? list.appendChild(make("li", {}, make("span"), " ")), sentence, sample));
  // A screen reader says a trouble once, and not again with each new number.
  const kinds = (wrong.length ? wrong : [calm]).map((sentence) => sentence.replace(/\d+(\.\d+)? (s|%)/g, ""));
  if (kinds.join() !== place.dataset.kinds) {
    place.dataset.kinds = kinds.join();
    setText(byId("announce"), (wrong.length ? wrong : [calm]).join(". "));
  }
}

// A sentence that names a worker leads to it. The line stays the same element, so that it keeps the focus.
function showTrouble(line, sentence, sample) {
  setText(line.firstChild, sentence);
  const worker = sample && /^worker (\d+)/.exec(sentence);
  let button = line.querySelector("button");
  if (!worker) {
    button?.remove();
    return;
  }
  button ??= line.appendChild(make("button", { type: "button", class: "link" }, "stacks"));
  button.setAttribute("aria-label", `stacks of worker ${worker[1]}`);
  button.onclick = () => openWorker(Number(worker[1]));
}

function showTiles(sample, answer) {
  const last = answer.rows.at(-1)?.[2] ?? charts.rows.at(-1)?.[2] ?? [];
  const value = (name) => last[answer.names.indexOf(name)];
  const queue = sample.listeners.map((listener) => `${listener.queue ?? "?"}/${listener.backlog ?? "?"}`).join(" ");
  const tiles = {
    "Requests per second": [brief(sample.per_s.requests), ""],
    "Errors per second": [brief(sample.per_s["5xx"]), "5xx"],
    "Duration": [duration(value("p50")), `p50; p95 ${duration(value("p95"))}, p99 ${duration(value("p99"))}`],
    "In flight": [number(value("in_flight")), `of ${count(sample.ready * sample.places, "place")}`],
    "Backlog": [number(value("waiting")), queue],
    "Capacity used": [percent(value("busiest")), "processor of the busiest worker"],
    "Processors in use": [brief(value("cpu")), count(sample.ready, "worker")],
    "Memory": [mib(value("rss") == null ? null : value("rss") * 1048576), "all workers (rss)"],
    "Time-outs": [number(sample.totals.timed_out), "since the start"],
  };
  const place = byId("tiles");
  if (!place.childElementCount) {
    place.append(...Object.keys(tiles).map((name) => make("div", {}, make("dt", {}, name), make("dd", {}, make("span"), " ", make("small")))));
  }
  Object.values(tiles).forEach(([big, small], at) => {
    setText(place.children[at].querySelector("span"), big);
    setText(place.children[at].querySelector("small"), small);
  });
}

// --- orders ---

function confirmed([text, yes]) {
  const dialog = byId("confirm");
  const [cancel, go] = dialog.querySelectorAll("button");
  byId("confirm-text").textContent = text;
  go.textContent = yes;
  return new Promise((resolve) => {
    cancel.onclick = () => dialog.close("no");
    go.onclick = () => dialog.close("yes");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

for (const button of document.querySelectorAll("[data-action]")) {
  button.addEventListener("click", async () => {
    const { action } = button.dataset;
    if (!(await confirmed(QUESTIONS[action]))) return;
    button.disabled = true;
    try {
      byId("said").textContent = (await order("act", { action })).said;
    } catch (error) {
      byId("said").textContent = `Refused: ${error.message}`;
    }
    button.disabled = false;
  });
}

byId("ask-connections").addEventListener("click", async () => {
  byId("connections-note").textContent = "Asking the workers …";
  try {
    showConnections(await ask("connections"));
    askedConnections = true;
  } catch (error) {
    byId("connections-note").textContent = error.message;
  }
});

// --- the time range, the theme, the keys ---

function setRange(button) {
  for (const each of document.querySelectorAll("[data-range]")) each.setAttribute("aria-pressed", String(each === button));
  charts.setRange(Number(button.dataset.range));
}
const ranges = [...document.querySelectorAll("[data-range]")];
for (const button of ranges) button.addEventListener("click", () => setRange(button));

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
let theme = localStorage.getItem("wsgid-theme") ?? THEMES[0];
function paint() {
  document.documentElement.dataset.theme = theme === "automatic" ? (prefersDark.matches ? "dark" : "light") : theme;
  byId("theme").textContent = `Theme: ${theme}`;
  charts.repaint();
}
function nextTheme() {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  localStorage.setItem("wsgid-theme", theme);
  paint();
}
byId("theme").addEventListener("click", nextTheme);
prefersDark.addEventListener("change", paint);

function showKeys() {
  byId("details-title").textContent = "Keys and help";
  byId("details-views").replaceChildren();
  const keys = { "/": "filter the requests in flight", 1: "5 minutes", 2: "15 minutes", 3: "1 hour", t: "next theme", w: "go to what is wrong", "?": "this help", Esc: "close a dialog" };
  byId("details-body").replaceChildren(make("dl", {}, ...Object.entries(keys).flatMap(([key, does]) =>
    [make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)])),
  make("p", {}, "Tab goes to the next button, worker or request; Enter opens it. The numbers are those of wsgidctl status, top, requests, stacks, memory and profile."));
  if (!byId("details").open) byId("details").showModal();
}
byId("help").addEventListener("click", showKeys);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input") || document.querySelector("dialog[open]")) return;
  const keys = { "/": () => byId("filter").focus(), 1: () => setRange(ranges[0]), 2: () => setRange(ranges[1]), 3: () => setRange(ranges[2]),
    t: nextTheme, w: () => byId("troubles").focus(), "?": showKeys };
  if (!(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});

paint();
look();
