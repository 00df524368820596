// Elements, numbers in words, and the way to the server. All text is written as text: nothing here makes HTML of it.

const token = new URLSearchParams(location.search).get("token") ?? "";

export const byId = (id) => document.getElementById(id);

// An element with attributes, handlers (onclick) and children.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function answerOf(response) {
  if (!response.ok) throw new Error((await response.text()).trim());
  const answer = await response.json();
  if (answer.error) throw new Error(answer.error);
  return answer;
}

export async function ask(question, given = {}) {
  const known = Object.entries(given).filter(([, value]) => value != null);
  return answerOf(await fetch(`api/${question}?${new URLSearchParams(known)}`, { headers: { "X-Wsgid-Token": token } }));
}

export async function order(name, given) {
  const headers = { "X-Wsgid-Token": token, "Content-Type": "application/json" };
  return answerOf(await fetch(`api/${name}`, { method: "POST", headers, body: JSON.stringify(given) }));
}

export function age(seconds) {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes}m${String(Math.floor(seconds % 60)).padStart(2, "0")}s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 100) return `${hours}h${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(hours / 24)}d${String(hours % 24).padStart(2, "0")}h`;
}

export function number(value, digits = 0) {
  if (value == null) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// Few digits for any size: 0.25, 3, 148.
export function brief(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  return value.toLocaleString("en", { maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : 2 });
}

export const percent = (share) => (share == null ? "–" : `${brief(100 * share)} %`);
export const mib = (bytes) => (bytes == null ? "–" : `${number(bytes / 1048576, bytes < 104857600 ? 1 : 0)} MiB`);
export const duration = (ms) => (ms == null ? "–" : ms >= 1000 ? `${brief(ms / 1000)} s` : `${brief(ms)} ms`);
export const count = (amount, thing) => `${number(amount)} ${thing}${amount === 1 ? "" : "s"}`;
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");
