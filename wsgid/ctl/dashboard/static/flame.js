// A flame graph that can be zoomed: choose a function to see it at full width. Only boxes that can be seen are in the page.

import { make } from "./dom.js";

const ROW = 20; // pixels
const MIN_WIDTH = 2;
const KINDS = { root: "requests and greenlets", application: "application", package: "installed packages", standard: "standard library", server: "wsgid and gevent" };

export function flameGraph({ boxes, total_us, title, svg }) {
  const graph = make("div", { class: "flame", role: "group", "aria-label": title });
  const said = make("p", { role: "status" }, title);
  const deepest = Math.max(0, ...boxes.map(([depth]) => depth));
  const draw = (chosen) => {
    const [, from, whole] = chosen;
    const pixels = (graph.clientWidth || 900) / whole;
    graph.style.height = `${(deepest + 1) * ROW + 4}px`;
    graph.replaceChildren(...boxes.filter((box) => covers(box, chosen) && box[2] * pixels >= MIN_WIDTH).map((box) => {
      const [depth, x, width, name, place, kind] = box;
      const above = depth < chosen[0];
      const share = ((100 * width * total_us) / (total_us || 1)).toFixed(1);
      const words = `${name}${place ? ` (${place})` : ""}: ${((width * total_us) / 1e6).toFixed(3)} s, ${share} %, ${KINDS[kind]}`;
      const button = make("button", { type: "button", class: `${kind}${above ? " dull" : ""}`, title: words, "aria-label": words,
        onclick: () => draw(box), onfocus: () => { said.textContent = words; }, onmouseenter: () => { said.textContent = words; } }, name);
      button.style.top = `${depth * ROW + 2}px`;
      button.style.left = `${above ? 0 : (x - from) * pixels}px`;
      button.style.width = `${above ? whole * pixels : width * pixels}px`;
      return button;
    }));
  };
  const file = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  const bar = make("div", { class: "buttons" },
    make("button", { type: "button", onclick: () => draw(boxes[0]) }, "Show all"),
    make("a", { href: file, download: "flamegraph.svg" }, "Save as SVG"));
  requestAnimationFrame(() => boxes.length && draw(boxes[0]));
  return make("div", {}, bar, said, graph);
}

// Whether a box is the chosen one, or one of its callers, or called by it.
function covers([depth, x, width], [chosenDepth, from, whole]) {
  if (depth < chosenDepth) return x <= from + 1e-9 && x + width >= from + whole - 1e-9;
  return x >= from - 1e-9 && x + width <= from + whole + 1e-9;
}
