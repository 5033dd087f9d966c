// The connection to the server: its token, its models, and what happens while it is away.

import { byId, delayed, setOptions } from "./dom.js";

const RETRY_MS = 4000;

export let info = null; // of the server: its models and limits
export let model = null; // the chosen one of info.models
let token = null; // kept in this variable and nowhere else

// The server counts code points.
export function isTooLong(text) {
  const limit = info.limits.max_characters;
  return text.length > limit && [...text].length > limit;
}

const failure = (status, message) => Object.assign(new Error(message), { status }); // 0: no answer

// Send a request. If the server is busy, say so in `place`, if there is one, and retry.
export async function ask(path, body, signal, place) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const method = body === undefined ? "GET" : "POST";
  let response, content;
  try {
    response = await fetch(path, { method, headers, body: JSON.stringify(body), signal, cache: "no-store" });
    content = await response.json();
  } catch (error) {
    throw signal?.aborted ? error : failure(0, "The server does not answer. Nothing you entered is lost.");
  }
  if (response.ok) return content;
  if (response.status !== 429 || !place) throw failure(response.status, content.error ?? "The server refused.");
  const before = place.textContent;
  const seconds = Math.ceil(Math.max(1, Number(response.headers.get("Retry-After")) || 1));
  place.textContent = `The server is busy; the page retries in ${seconds} s.`;
  await new Promise((resolve) => {
    setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", resolve);
  });
  if (!signal.aborted) place.textContent = before;
  return ask(path, body, signal, place);
}

// What is called again when the server is back, or has the token.
const waiting = new Set();
const retry = delayed(RETRY_MS, connect);

// Return whether an error passes by itself or with a token; `again` is called then.
export function waitsForServer(error, again) {
  if (![0, 401, 503].includes(error.status)) return false;
  if (again) waiting.add(again);
  if (error.status === 401) askForToken(token !== null);
  else {
    showTrouble(`${error.message} The page retries every few seconds.`);
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

export async function connect() {
  retry.cancel();
  let loaded;
  try {
    loaded = await ask("info");
    if (!loaded.models.length) throw failure(503, "The models are being loaded.");
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
  byId("model").dispatchEvent(new Event("change"));
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
}

byId("model").addEventListener("change", chooseModel);
byId("retry").addEventListener("click", connect);
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  if (/^[!-~]+$/.test(token)) connect();
  else askForToken(true); // it is not valid in a header
});
