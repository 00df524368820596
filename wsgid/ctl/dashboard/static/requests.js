// The table of requests in flight. Only the lines that can be seen are in the page, so ten thousand requests stay quick.

import { age, ask, byId, count, make, setText } from "./dom.js";

const LINE = 26; // pixels, as in dashboard.css
const SHOWN = 200; // without a filter
const ALL = 10000;
const SLOW_S = 1;
const QUIET_MS = 250; // after the last key, before the workers are asked for all requests

export class Requests {
  constructor(open) {
    this.open = open;
    this.requests = [];
    this.found = [];
    this.total = 0;
    this.askedMs = 0;
    this.nextMs = 0;
    this.waiting = false;
    this.pool = [];
    this.box = byId("requests");
    this.space = make("div", { class: "space" });
    this.box.append(
      make("div", { class: "line head" }, ...["age", "worker", "method", "path", "peer"].map((name, at) =>
        make("span", { class: at < 2 ? "num" : "" }, name))),
      this.space,
    );
    this.box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.filter = byId("filter");
    this.filter.addEventListener("input", () => {
      this.choose();
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh(), QUIET_MS); // the younger requests are looked through, too
    });
  }

  // Called each second. The server is asked less often if the answer costs it more.
  tick() {
    if (performance.now() >= this.nextMs) this.refresh();
    else this.note();
  }

  async refresh() {
    if (this.waiting) return;
    this.waiting = true;
    try {
      const answer = await ask("requests", { limit: this.filter.value ? ALL : SHOWN });
      this.requests = answer.requests;
      this.total = answer.total;
      this.trouble = Object.values(answer.silent).join("; ");
      this.pauseMs = 1000 * answer.pause_s;
      this.askedMs = performance.now();
      this.choose();
    } catch (error) {
      this.trouble = error.message;
    }
    this.nextMs = performance.now() + (this.pauseMs ?? 2000);
    this.waiting = false;
    this.note();
  }

  choose() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.found = words.length ? this.requests.filter((request) => matches(request, words)) : this.requests;
    this.box.dataset.found = this.found.length;
    this.space.style.height = `${Math.max(this.found.length, 1) * LINE}px`;
    this.draw();
    this.note();
  }

  note() {
    const old = this.askedMs ? `, as of ${Math.round((performance.now() - this.askedMs) / 1000)} s ago` : "";
    const part = this.found.length < this.total ? `; ${count(this.found.length, "request")} shown, the oldest first` : "";
    setText(byId("requests-note"), `${count(this.total, "request")} in flight${part}${old}${this.trouble ? `. ${this.trouble}` : ""}`);
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / LINE) - 5);
    const wanted = Math.min(Math.ceil(this.box.clientHeight / LINE) + 10, this.found.length - first);
    while (this.pool.length < wanted) this.pool.push(this.line());
    this.pool.forEach((line, at) => {
      line.hidden = at >= wanted;
      if (at < wanted) this.fill(line, this.found[first + at], (first + at) * LINE);
      else line.remove();
    });
  }

  line() {
    const cells = ["num", "num", "", "", ""].map((kind) => make("span", { class: kind }));
    cells[3] = make("button", { type: "button", class: "link" });
    return make("div", { class: "line" }, ...cells);
  }

  fill(line, request, top) {
    if (!line.isConnected) this.space.append(line);
    line.style.top = `${top}px`;
    line.classList.toggle("slow", request.age_s >= SLOW_S);
    const [old, worker, method, path, peer] = line.children;
    setText(old, age(request.age_s));
    setText(worker, String(request.worker));
    setText(method, request.method);
    setText(path, request.path || "/");
    path.title = request.path;
    path.onclick = () => this.open(request);
    setText(peer, request.peer);
  }
}

function matches(request, words) {
  const text = `${request.method} ${request.path} ${request.peer} worker ${request.worker}`.toLowerCase();
  return words.every((word) => text.includes(word));
}
