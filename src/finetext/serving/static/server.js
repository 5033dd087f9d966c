// The connection to the server: its token, its models, and what happens while it is away.

import { byId, delayed, setOptions } from "./dom.js";

const RETRY_MS = 4000;

export let info = null; // of the server: its models and limits
export let model = null; // the chosen one of info.models
let token = null; // kept in this variable and nowhere else
const modelListeners = [];

// Call a function whenever a model is chosen.
export const onModel = (listener) => modelListeners.push(listener);

class Unreachable extends Error {}

export class Refused extends Error {
  constructor(status, message, retrySeconds) {
    super(message);
    this.status = status;
    this.retryMs = 1000 * Math.max(1, retrySeconds || 1);
  }
}

export async function ask(path, body, signal) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  let response, content;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body), signal, cache: "no-store" });
    content = await response.json();
  } catch (error) {
    throw signal?.aborted ? error : new Unreachable();
  }
  if (response.ok) return content;
  throw new Refused(response.status, content.error ?? "The server refused.", Number(response.headers.get("Retry-After")));
}

// What is called again when the server is back, or has the token.
const waiting = new Set();
const retry = delayed(RETRY_MS, connect);

// Return whether an error passes by itself or with a token; `again` is called then.
export function waitsForServer(error, again) {
  const wrongToken = error instanceof Refused && error.status === 401;
  const away = error instanceof Unreachable || (error instanceof Refused && error.status === 503);
  if (!wrongToken && !away) return false;
  if (again) waiting.add(again);
  if (wrongToken) askForToken(token !== null);
  else {
    showTrouble(
      error instanceof Unreachable
        ? "The server does not answer. Nothing you entered is lost; the page retries every few seconds."
        : `${error.message} The page retries every few seconds.`,
    );
    retry();
  }
  return true;
}

function askForToken(wrong) {
  byId("trouble").hidden = true;
  byId("token-text").textContent =
    (wrong ? "The server does not accept this token. " : "This server asks for a token. ") +
    "It is kept until this page is closed, and nowhere else.";
  const form = byId("token-form");
  if (form.hidden || wrong) {
    form.hidden = false;
    byId("token").select();
    byId("token").focus();
  }
}

export async function start() {
  try {
    const schema = await ask("openapi.json");
    if (schema.components?.securitySchemes) return askForToken(false);
  } catch (error) {
    if (waitsForServer(error)) return;
  }
  connect();
}

async function connect() {
  retry.cancel();
  let loaded;
  try {
    loaded = await ask("info");
    if (!loaded.models.length) throw new Refused(503, "The models are being loaded.");
  } catch (error) {
    if (!waitsForServer(error)) showTrouble(error.message);
    return;
  }
  const focused = document.activeElement.closest("#trouble, #token-form");
  byId("trouble").hidden = byId("token-form").hidden = true;
  byId("token").value = "";
  if (focused) byId("text").focus(); // what had the focus is gone
  info = loaded;
  const names = info.models.map(({ name }) => name);
  setOptions(byId("model"), names.map((name) => [name, name]), model?.name ?? info.default_model);
  byId("model").hidden = names.length < 2;
  byId("model-line").hidden = false;
  chooseModel();
  const again = [...waiting];
  waiting.clear();
  for (const run of again) run();
}

function showTrouble(message) {
  byId("trouble-text").textContent = message;
  byId("trouble").hidden = false;
}

function chooseModel() {
  model = info.models.find(({ name }) => name === byId("model").value);
  const kind = `${model.task}, ${model.labels.length} labels`;
  byId("model-facts").textContent = byId("model").hidden ? `${model.name} (${kind})` : kind;
  const choices = [["", "the predicted label"], ...model.labels.map((name) => [`=${name}`, name])];
  setOptions(byId("explained-label"), choices, byId("explained-label").value); // kept when a server comes back
  for (const listener of modelListeners) listener();
}

byId("model").addEventListener("change", chooseModel);
byId("retry").addEventListener("click", connect);
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  if (/^[!-~]+$/.test(token)) connect();
  else askForToken(true); // it is not valid in a header
});
