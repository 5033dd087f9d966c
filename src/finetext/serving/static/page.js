// The page at `/`. Texts, labels and cards only ever become text nodes; the token lives in a variable and nowhere
// else. What can be tested by itself is exported.

const PAGE_ROWS = 100;
const BATCH = 128; // texts of a request: small enough that progress is seen and cancelling is quick
const TYPING_MS = 150;
const WORDS_MS = 450;
const AT_ONCE = 1000; // characters up to which words are looked for as one types
const RETRY_MS = 4000;
const MOST_FAILURES = 20; // texts in a row on which the server fails, until it is given up
const LARGEST_FILE = 200e6;
const FEW_LABELS = 8;
const LEAST_SHARE = 0.05; // of the strongest weight; a word below it has no colour
const TEXT_NAMES = new Set(
  ("text texts message messages msg body sentence sentences review reviews content comment comments tweet post sms " +
    "email document utterance question description headline input review_text full_text").split(" "),
);
const LABEL_NAMES = new Set(
  ("label labels class classes category categories target targets tag tags sentiment intent emotion emotions topic y " +
    "id split").split(" "),
);
const FIGURES = {
  accuracy: "Accuracy",
  balanced_accuracy: "Balanced accuracy",
  macro_f1: "Macro-F1",
  weighted_f1: "Weighted F1",
  micro_f1: "Micro-F1",
  mcc: "MCC",
  roc_auc: "ROC-AUC",
  pr_auc: "PR-AUC",
  log_loss: "Log loss",
  calibration_error: "Calibration error (ECE)",
  hamming_loss: "Hamming loss",
};

const byId = (id) => document.getElementById(id);
let token = null;
let info = null; // what the server says of itself
let model = null; // the chosen one, of info.models

// Small helpers

function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) element[key] = value;
  element.append(...children);
  return element;
}

const count = (value) => value.toLocaleString("en-GB");
const rowsOf = (number) => `${count(number)} row${number === 1 ? "" : "s"}`;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const shorten = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

export function percent(share) {
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(share * 100).toFixed(1)} %`;
}

function setOptions(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make("option", { value, textContent: text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

// A function that runs once the calls have paused.
function delayed(ms, run) {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

// The server

class Unreachable extends Error {}

class Refused extends Error {
  constructor(status, message, retrySeconds) {
    super(message);
    this.status = status;
    this.retryMs = 1000 * Math.max(1, retrySeconds || 1);
  }
}

async function ask(path, body, signal) {
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

// What waits for the server to come back, or for the token.
const waiting = new Set();
const retry = delayed(RETRY_MS, connect);

// Return whether the error is one that ends by itself or by a token; `again` is then called.
function standStill(error, again) {
  const wrongToken = error instanceof Refused && error.status === 401;
  const away = error instanceof Unreachable || (error instanceof Refused && error.status === 503);
  if (!wrongToken && !away) return false;
  if (again) waiting.add(again);
  if (wrongToken) askForToken(token !== null);
  else {
    byId("trouble-text").textContent =
      error instanceof Unreachable
        ? "The server does not answer. Nothing you entered is lost; it is asked again every few seconds."
        : `${error.message} It is asked again every few seconds.`;
    byId("trouble").hidden = false;
    retry();
  }
  return true;
}

function askForToken(wrong) {
  byId("trouble").hidden = true;
  byId("token-text").textContent =
    (wrong ? "The server does not take this token. " : "This server asks for a token. ") +
    "It is kept until this page is closed, and nowhere else.";
  const form = byId("token-form");
  if (form.hidden || wrong) {
    form.hidden = false;
    byId("token").select();
    byId("token").focus();
  }
}

async function start() {
  try {
    const schema = await ask("openapi.json");
    if (schema.components?.securitySchemes) return askForToken(false);
  } catch (error) {
    if (standStill(error)) return;
  }
  connect();
}

async function connect() {
  retry.cancel();
  let found;
  try {
    found = await ask("info");
    if (!found.models.length) throw new Refused(503, "The models are being loaded.");
  } catch (error) {
    if (!standStill(error)) showTrouble(error.message);
    return;
  }
  const left = document.activeElement.closest("#trouble, #token-form");
  byId("trouble").hidden = byId("token-form").hidden = true;
  byId("token").value = "";
  if (left) box.focus(); // what had the focus is gone
  info = found;
  const names = info.models.map((own) => own.name);
  setOptions(byId("model"), names.map((name) => [name, name]), model?.name ?? info.default_model);
  byId("model").hidden = names.length < 2;
  byId("model-line").hidden = false;
  takeModel();
  const again = [...waiting];
  waiting.clear();
  for (const run of again) run();
}

function showTrouble(message) {
  byId("trouble-text").textContent = message;
  byId("trouble").hidden = false;
}

function takeModel() {
  model = info.models.find((own) => own.name === byId("model").value);
  const kind = `${model.task}, ${model.labels.length} labels`;
  byId("model-facts").textContent = byId("model").hidden ? `${model.name} (${kind})` : kind;
  const choices = [["", "the predicted label"], ...model.labels.map((name) => [`=${name}`, name])];
  setOptions(byId("explained-label"), choices, byId("explained-label").value); // kept when a server comes back
  showAbout();
  classify();
  tellFile();
}

// A text

const box = byId("text");
let asking = new AbortController();
let explaining = new AbortController();
let allScores = false;
const classifyLater = delayed(TYPING_MS, classify);
const explainLater = delayed(WORDS_MS, explain);

function textFault(text) {
  const most = info.limits.max_characters;
  if (text.length <= most || [...text].length <= most) return "";
  return `The text has more than ${count(most)} characters, which is the server's limit.`;
}

function restart() {
  asking.abort();
  explaining.abort();
  asking = new AbortController();
  classifyLater.cancel();
  explainLater.cancel();
  return asking.signal;
}

async function classify() {
  const signal = restart();
  if (!model) return;
  const text = box.value;
  const fault = textFault(text);
  byId("text-note").textContent = fault;
  if (fault || !text.trim()) return clearText();
  const own = model;
  try {
    const answer = await ask("classify", { text, model: own.name }, signal);
    showAnswer(answer.predictions[0], own);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 429) return askLater(error, classify, signal, byId("text-note"));
    clearText(); // an earlier text's labels beside this one would deceive
    if (!standStill(error, classify)) byId("text-note").textContent = error.message;
    return;
  }
  byId("words").hidden = false;
  const long = text.length > AT_ONCE;
  byId("explain").hidden = !long;
  byId("words-state").textContent = long ? "Each word is left out once, which takes a while in a long text." : "";
  if (!long) explainLater();
  else byId("words-found").hidden = true;
}

async function askLater(error, again, signal, place) {
  place.textContent = "The server is busy; it is asked again in a moment.";
  await pause(error.retryMs);
  if (!signal.aborted) again();
}

function clearText() {
  byId("answer").textContent = "";
  byId("scores").hidden = byId("all-scores").hidden = byId("words").hidden = byId("words-found").hidden = true;
}

function showAnswer(found, own) {
  const given = new Set(found.labels);
  byId("answer").textContent = given.size
    ? found.labels.map((name) => `${name} ${percent(found.scores.find((one) => one.label === name).score)}`).join(", ")
    : `No label: the model is not sure enough (at most ${percent(found.score)})`;
  const few = found.scores.length <= FEW_LABELS;
  // Few labels keep their places while one types.
  const inOrder = few ? own.labels.map((name) => found.scores.find((one) => one.label === name)) : found.scores;
  const shown = few || allScores ? inOrder : inOrder.slice(0, FEW_LABELS);
  byId("scores").tBodies[0].replaceChildren(...shown.map((one) => scoreRow(one, given.has(one.label), own)));
  byId("scores").hidden = false;
  const button = byId("all-scores");
  button.hidden = few;
  button.textContent = allScores ? `Show the ${FEW_LABELS} likeliest` : `Show all ${found.scores.length} labels`;
  button.onclick = () => {
    allScores = !allScores;
    showAnswer(found, own);
  };
}

function scoreRow({ label, score }, given, own) {
  const fill = make("div", { className: "fill" });
  fill.style.width = `${score * 100}%`; // CSSOM: the policy forbids style attributes, not this
  const bar = make("div", { className: "bar" }, fill);
  const threshold = thresholdOf(own, label);
  if (threshold !== null) {
    const tick = make("div", { className: "tick", title: `given from ${percent(threshold)} on` });
    tick.style.left = `${threshold * 100}%`;
    bar.append(tick);
  }
  const name = make("th", { scope: "row" }, make("span", { textContent: label }));
  return make(
    "tr",
    { className: given ? "given" : "" },
    name,
    make("td", { ariaHidden: "true" }, bar),
    make("td", { textContent: percent(score) }),
  );
}

function thresholdOf(own, label) {
  const place = own.labels.indexOf(label);
  if (own.task === "multi-label") return own.thresholds?.[place] ?? 0.5;
  return own.task === "binary" && own.thresholds && place === 1 ? own.thresholds[0] : null;
}

async function explain() {
  explainLater.cancel();
  explaining.abort(); // of two labels the one chosen last is shown, whichever answer is last
  explaining = new AbortController();
  const { signal } = explaining;
  const text = box.value;
  const label = byId("explained-label").value.slice(1);
  byId("words-state").textContent = text.length > AT_ONCE ? "Looking for the words …" : "";
  try {
    const found = await ask("explain", { text, model: model.name, ...(label && { label }) }, signal);
    if (!signal.aborted) showWords(found);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Refused && error.status === 429) return askLater(error, explain, signal, byId("words-state"));
    if (!standStill(error, explain)) byId("words-state").textContent = error.message;
  }
}

function showWords(found) {
  const letters = [...found.text]; // places count code points, as Python does
  const largest = Math.max(0.1, ...found.words.map((word) => Math.abs(word.weight)));
  const share = (word) => Math.abs(word.weight) / largest;
  const parts = [];
  let done = 0;
  for (const word of found.words) {
    parts.push(letters.slice(done, word.start).join(""));
    const own = letters.slice(word.start, word.end).join("");
    const side = word.weight > 0 ? "for" : "against";
    const depth = share(word) < 0.35 ? 1 : share(word) < 0.7 ? 2 : 3;
    parts.push(share(word) < LEAST_SHARE ? own : make("mark", { className: `${side} w${depth}`, textContent: own }));
    done = word.end;
  }
  byId("highlighted").replaceChildren(...parts, letters.slice(done).join(""));
  const strongest = found.words.filter((word) => share(word) >= LEAST_SHARE);
  strongest.sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight));
  byId("weights").replaceChildren(...strongest.slice(0, 8).map((word) => weightRow(word, found.label)));
  for (const own of document.querySelectorAll("#words-found .note, .weights")) own.hidden = !strongest.length;
  byId("words-found").hidden = false;
  byId("words-found").classList.remove("stale");
  byId("words-state").textContent = strongest.length
    ? `for ${found.label}, ${percent(found.score)}`
    : `for ${found.label}, ${percent(found.score)}: no word by itself matters.`;
}

function weightRow(word, label) {
  const weight = `${word.weight < 0 ? "−" : "+"}${Math.abs(word.weight).toFixed(2)}`;
  return make(
    "tr",
    {},
    make("th", { scope: "row", textContent: shorten(word.word, 60) }),
    make("td", { textContent: `${word.weight < 0 ? "against" : "for"} ${label}` }),
    make("td", { textContent: weight }),
  );
}

// Tables of cells

export function sniffSeparator(text) {
  // Of the first line that is not empty; "" for a file of one column.
  const counts = new Map([",", ";", "\t", "|"].map((mark) => [mark, 0]));
  let quoted = false;
  let empty = true;
  for (let at = 0; at < text.length; at++) {
    const mark = text[at];
    if (mark === '"') quoted = !quoted;
    else if (quoted) continue;
    else if (mark === "\n" || mark === "\r") {
      if (!empty) break;
      continue;
    } else if (counts.has(mark)) counts.set(mark, counts.get(mark) + 1);
    empty = false;
  }
  const [best, times] = [...counts].reduce((one, other) => (other[1] > one[1] ? other : one));
  return times ? best : "";
}

// Return the records, or null where a quote is opened and never closed. Empty lines are none.
export function parseRecords(text, separator, quotes = true) {
  const end = new RegExp(`[${separator === "|" ? "\\|" : separator}\\r\\n]`, "g");
  const records = [];
  let record = [];
  let at = 0;
  while (at < text.length || record.length) {
    let cell = "";
    if (quotes && text[at] === '"') {
      for (let from = ++at; ; from = at + 1) {
        at = text.indexOf('"', from);
        if (at < 0) return null;
        cell += text.slice(from, at++);
        if (text[at] !== '"') break;
        cell += '"';
      }
    }
    end.lastIndex = at;
    const stop = end.exec(text)?.index ?? text.length;
    record.push(cell + text.slice(at, stop));
    at = stop + (text.startsWith("\r\n", stop) ? 2 : 1);
    if (stop < text.length && text[stop] === separator) continue;
    if (record.length > 1 || record[0] !== "") records.push(record);
    record = [];
  }
  return records;
}

export function parseTable(text) {
  const separator = sniffSeparator(text);
  const quoted = parseRecords(text, separator);
  const records = quoted ?? parseRecords(text, separator, false);
  return { separator, records, quoted: quoted !== null };
}

export function decode(bytes) {
  // A TextDecoder drops the byte order mark.
  const [first, second] = bytes;
  if (first === 0xff && second === 0xfe) return { text: new TextDecoder("utf-16le").decode(bytes), encoding: "UTF-16" };
  if (first === 0xfe && second === 0xff) return { text: new TextDecoder("utf-16be").decode(bytes), encoding: "UTF-16" };
  try {
    return { text: new TextDecoder("utf-8", { fatal: true }).decode(bytes), encoding: "UTF-8" };
  } catch {
    return { text: new TextDecoder("windows-1252").decode(bytes), encoding: "Windows-1252" };
  }
}

const normal = (name) => name.trim().toLowerCase().replace(/[\s-]+/g, "_");

export function looksNamed(cells) {
  const known = cells.some((cell) => TEXT_NAMES.has(normal(cell)) || LABEL_NAMES.has(normal(cell)));
  const filled = cells.every((cell) => cell.trim() && cell.length <= 40);
  return known || (filled && new Set(cells).size === cells.length && cells.length > 1);
}

export function findTextColumn(columns, rows) {
  const named = columns.findIndex((name) => TEXT_NAMES.has(normal(name)));
  if (named >= 0) return named;
  const some = rows.slice(0, 200);
  const lengths = columns.map((_, place) => some.reduce((sum, row) => sum + (row[place] ?? "").length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

// Spreadsheets would run what starts like this, the full-width signs of some of them included.
export function harmless(cell) {
  return /^[=+\-@\t\r\n＝＋－＠]/.test(cell) ? `'${cell}` : cell;
}

export function writeTable(records, separator) {
  const special = new RegExp(`["\\r\\n${separator === "|" ? "\\|" : separator}]|^\\s|\\s$`);
  const quote = (cell) => (special.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return records.map((record) => `${record.map((cell) => quote(harmless(cell))).join(separator)}\r\n`).join("");
}

// A file

let table = null; // {name, separator, mark, records, columns, rows}
let job = null; // {table, model, column, todo, next, size, results, …}; there from the first start on
let page = 0;
let onPage = "";

async function takeFile(file) {
  byId("file-problem").textContent = "";
  if (file.size > LARGEST_FILE) return fileProblem(`${file.name} is larger than ${LARGEST_FILE / 1e6} MB. Use finetext predict.`);
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    return fileProblem(`${file.name} cannot be read.`);
  }
  const { text, encoding } = decode(bytes);
  const parsed = parseTable(text);
  if (!parsed.records.length || text.includes("\0")) return fileProblem(`${file.name} is not a table of texts.`);
  const mark = encoding !== "UTF-8" || (bytes[0] === 0xef && bytes[1] === 0xbb);
  job?.stop?.abort();
  table = { ...parsed, name: file.name, encoding, mark };
  job = null;
  byId("named").checked = looksNamed(parsed.records[0]);
  takeColumns();
}

function fileProblem(message) {
  byId("file-problem").textContent = table ? `${message} ${table.name} stays as it was.` : message;
}

function takeColumns() {
  const { records } = table;
  const named = byId("named").checked;
  table.rows = named ? records.slice(1) : records;
  const width = records.reduce((most, record) => Math.max(most, record.length), 0);
  const first = named ? records[0] : [];
  table.columns = Array.from({ length: width }, (_, place) => first[place] || `column_${place + 1}`);
  const options = table.columns.map((name, place) => [String(place), shorten(name, 60)]);
  setOptions(byId("column"), options, String(findTextColumn(table.columns, table.rows)));
  tellFile();
}

function tellFile() {
  if (!table || !model) return;
  const { rows, columns, separator, quoted, encoding } = table;
  const between = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars" }[separator];
  const uneven = rows.filter((row) => row.length !== columns.length).length;
  const shape = columns.length === 1 ? "one column" : `${columns.length} columns with ${between} between them`;
  const facts = [`${table.name}: ${rowsOf(rows.length)}, ${shape}`];
  if (encoding !== "UTF-8") facts.push(`read as ${encoding}`);
  if (!quoted) facts.push("quotes are taken as they stand, since one is never closed");
  if (uneven) facts.push(`${rowsOf(uneven)} with fewer cells than the widest, filled up with empty ones`);
  byId("file-facts").textContent = `${facts.join("; ")}.`;
  const place = Number(byId("column").value);
  const example = rows.map((row) => row[place] ?? "").find((cell) => cell.trim());
  byId("first-text").textContent = example === undefined ? "This column is empty." : `The first text: ${shorten(example, 160)}`;
  byId("file-loaded").hidden = false;
  const running = Boolean(job?.stop);
  byId("start").textContent = goesOn() ? "Go on" : `Label ${rowsOf(rows.length)}`;
  byId("start").hidden = running;
  byId("start").disabled = !rows.length || example === undefined;
  byId("cancel").hidden = !running;
  byId("column").disabled = byId("named").disabled = running;
  byId("result").hidden = byId("progress-line").hidden = !job;
  if (!job) byId("file-state").textContent = "";
}

// Whether there is a job that was stopped, and that the chosen model can take up.
const goesOn = () => job !== null && !job.done && !job.stop && job.model === model.name;

function startJob() {
  if (goesOn()) return work(job);
  const place = Number(byId("column").value);
  const texts = table.rows.map((row) => row[place] ?? "");
  const results = texts.map((text) => (text.trim() ? null : { skipped: "no text" }));
  const todo = [...texts.keys()].filter((row) => results[row] === null);
  const size = Math.min(BATCH, info.limits.max_texts);
  job = { table, texts, results, todo, next: 0, size, failures: 0, model: model.name, labels: model.labels };
  page = 0;
  byId("least").value = "0";
  byId("most").value = "100";
  byId("order").value = "file";
  const choices = [["all", "all labels"], ...model.labels.map((name) => [`=${name}`, name])];
  setOptions(byId("by-label"), [...choices, ["none", "no label given"], ["skipped", "not labelled"]]);
  byId("progress").max = Math.max(1, todo.length);
  byId("shown").setAttribute("aria-live", "off"); // the progress is enough to hear
  work(job);
}

// Label what is left of a job; it ends, is stopped, or stands still and is called again.
async function work(own) {
  if (own !== job) return;
  own.stop = new AbortController();
  const { signal } = own.stop;
  const focused = document.activeElement === byId("start");
  tell(own, `Labelling ${rowsOf(own.todo.length)} …`);
  if (focused) byId("cancel").focus(); // which stands where the button was
  own.began = performance.now() - (own.spent ?? 0);
  while (own.next < own.todo.length && !signal.aborted) {
    const batch = takeBatch(own);
    if (!batch.length) continue;
    try {
      const texts = batch.map((row) => own.texts[row]);
      const answer = await ask("classify", { texts, top_k: 1, model: own.model }, signal);
      answer.predictions.forEach(({ labels, score }, place) => (own.results[batch[place]] = { labels, score }));
      own.next += batch.length;
      own.failures = 0;
      own.size = Math.min(own.size * 2, BATCH, info.limits.max_texts);
    } catch (error) {
      if (signal.aborted) break;
      if (!(await mend(own, batch, error, signal))) return;
    }
    own.spent = performance.now() - own.began;
    showProgress(own);
  }
  own.stop = null;
  if (own !== job) return;
  own.done = own.next >= own.todo.length;
  const skipped = own.results.filter((found) => found?.skipped).length;
  const without = skipped ? ` ${rowsOf(skipped)} without: no text, too long, or the server failed on it.` : "";
  const message = own.done
    ? `Done: ${rowsOf(own.results.length - skipped)} labelled by ${own.model}.${without}`
    : `Cancelled after ${rowsOf(own.next)}. What is labelled stays; Go on takes up the rest.`;
  finish(own, message);
}

function tell(own, message) {
  byId("file-state").textContent = message;
  tellFile();
  showProgress(own);
}

function finish(own, message) {
  own.stop = null;
  byId("shown").setAttribute("aria-live", "polite");
  const focused = document.activeElement === byId("cancel");
  tell(own, message);
  if (focused) byId("start").focus(); // the button that had the focus is gone
}

// The rows of the next request, within the server's limits.
function takeBatch(own) {
  const { max_body: mostBytes, max_characters: mostCharacters } = info.limits;
  const encoder = new TextEncoder();
  const batch = [];
  let bytes = 1000; // for what stands around the texts
  while (own.next + batch.length < own.todo.length && batch.length < own.size) {
    const row = own.todo[own.next + batch.length];
    const text = own.texts[row];
    const long = text.length > mostCharacters && [...text].length > mostCharacters;
    const needed = encoder.encode(JSON.stringify(text)).length + 1;
    if (long || needed + 1000 > mostBytes) {
      if (batch.length) break;
      own.results[row] = { skipped: "too long" };
      own.next += 1;
      continue;
    }
    if (bytes + needed > mostBytes) break;
    bytes += needed;
    batch.push(row);
  }
  return batch;
}

// Return whether work can go on after an error.
async function mend(own, batch, error, signal) {
  if (error instanceof Refused && error.status === 429) {
    byId("file-state").textContent = `The server is busy; it is asked again in ${Math.ceil(error.retryMs / 1000)} s.`;
    await Promise.race([pause(error.retryMs), new Promise((done) => signal.addEventListener("abort", done))]);
    if (!signal.aborted) byId("file-state").textContent = `Labelling ${rowsOf(own.todo.length)} …`;
    return true;
  }
  const halves = error instanceof Refused && [413, 500, 504].includes(error.status);
  if (halves && batch.length > 1) {
    own.size = Math.ceil(batch.length / 2); // until what the server fails on is alone
    return true;
  }
  if (halves && ++own.failures < MOST_FAILURES) {
    own.results[batch[0]] = { skipped: "failed" };
    own.next += 1;
    return true;
  }
  own.stop = null;
  if (own !== job) return false;
  if (standStill(error, () => own.stop || work(own))) {
    finish(own, `Stopped at row ${count(batch[0] + 1)}; what is labelled stays. It goes on when the server answers.`);
  } else finish(own, `Stopped at row ${count(batch[0] + 1)}: ${error.message} What is labelled stays.`);
  return false;
}

function showProgress(own) {
  if (own !== job) return;
  byId("progress").value = own.todo.length ? own.next : 1;
  const left = own.stop && own.next ? (own.spent / own.next) * (own.todo.length - own.next) : 0;
  const time = left > 1500 ? `, about ${left > 90e3 ? `${Math.round(left / 60e3)} min` : `${Math.round(left / 1000)} s`} left` : "";
  byId("done").textContent = `${count(own.next)} of ${rowsOf(own.todo.length)}${time}`;
  showRows();
}

// The labelled rows that pass the filter, in the order of the file.
function chosenRows() {
  const wanted = byId("by-label").value;
  const [least, most] = ["least", "most"].map((id) => Number(byId(id).value) / 100);
  const always = least <= 0 && (most >= 1 || byId("most").value === "");
  return [...job.results.keys()].filter((row) => {
    const found = job.results[row];
    if (found === null) return false;
    if (found.skipped) return wanted === "skipped" || (wanted === "all" && always);
    if (wanted === "skipped" || (wanted === "none" && found.labels.length)) return false;
    if (wanted.startsWith("=") && !found.labels.includes(wanted.slice(1))) return false;
    return always || (found.score >= least && found.score <= (byId("most").value === "" ? 1 : most));
  });
}

function showRows() {
  if (!job) return;
  const rows = chosenRows();
  const ordered = inOrder(rows);
  const pages = Math.max(1, Math.ceil(ordered.length / PAGE_ROWS));
  page = Math.min(page, pages - 1);
  const shown = ordered.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
  const key = JSON.stringify(shown.map((row) => [row, job.results[row].score]));
  if (key !== onPage) byId("rows").replaceChildren(...shown.map(resultRow)); // else whoever stands in it keeps the focus
  onPage = key;
  const labelled = job.results.filter((found) => found !== null).length;
  const passed = rows.length === labelled ? rowsOf(labelled) : `${count(rows.length)} of ${rowsOf(labelled)} pass the filter`;
  byId("shown").textContent = job.done ? passed : `${passed} so far`;
  byId("page").textContent = `Page ${count(page + 1)} of ${count(pages)}`;
  byId("previous").disabled = page === 0;
  byId("next").disabled = page + 1 >= pages;
  byId("download").textContent = rows.length === labelled ? `Download all ${rowsOf(labelled)}` : `Download the ${rowsOf(rows.length)} shown`;
  byId("download").disabled = !rows.length;
}

function inOrder(rows) {
  const way = byId("order").value;
  if (way === "file") return rows;
  const score = (row) => job.results[row].score ?? -1;
  return [...rows].sort((one, other) => (way === "sure" ? score(other) - score(one) : score(one) - score(other)));
}

function resultRow(row) {
  const found = job.results[row];
  const look = make("button", { type: "button", className: "text", textContent: shorten(job.texts[row], 400) });
  look.title = "Show this text above, with the words that matter";
  look.onclick = () => {
    box.value = job.texts[row];
    classify();
    box.scrollIntoView({ block: "center" });
    box.focus({ preventScroll: true });
  };
  return make(
    "tr",
    {},
    make("th", { scope: "row", textContent: count(row + 1) }),
    make("td", {}, make("span", { textContent: found.skipped ? `(${found.skipped})` : found.labels.join(", ") || "(no label)" })),
    make("td", { textContent: found.skipped ? "" : percent(found.score) }),
    make("td", {}, found.skipped === "no text" ? "" : look),
  );
}

function freeName(name, taken) {
  let free = name;
  for (let number = 2; taken.includes(free); number++) free = `${name}_${number}`;
  return free;
}

function download() {
  const { columns, rows, separator, mark, name } = job.table;
  const added = ["predicted", "score"].map((own) => freeName(own, columns));
  const records = chosenRows().map((row) => {
    const found = job.results[row];
    const cells = columns.map((_, place) => rows[row][place] ?? "");
    return [...cells, (found.labels ?? []).join("|"), found.skipped ? "" : String(found.score)];
  });
  const text = writeTable([[...columns, ...added], ...records], separator || ",");
  const blob = new Blob([mark ? "\ufeff" : "", text], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(blob), download: `${name.replace(/\.[^.]*$/, "")}-labelled.csv` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60e3);
}

// The model

async function showAbout() {
  const name = model.name;
  const state = byId("about-state");
  let found;
  try {
    found = await ask(`card?model=${encodeURIComponent(name)}`);
  } catch (error) {
    if (!standStill(error, showAbout)) state.textContent = error.message;
    return;
  }
  if (name !== model.name) return;
  state.textContent = found.card || found.test ? "" : "Neither a card nor test figures are kept with this model.";
  byId("figures").replaceChildren(...(found.test ? testParts(found.test) : []));
  byId("card-part").hidden = !found.card;
  byId("card").replaceChildren(...renderMarkdown(found.card ?? ""));
}

function testParts(test) {
  const parts = [];
  if (test.synthetic_data)
    parts.push(make("p", { className: "notice", textContent: "Synthetic data: the texts were made up, and the figures say nothing about real ones." }));
  const left = model.task === "multi-label" ? "balanced_accuracy" : "micro_f1";
  const columns = [{ name: "this model", figures: test.figures }, ...test.baselines];
  const heads = ["", ...columns.map((own) => own.name)];
  const rows = test.figures
    .filter(({ name }) => name !== left)
    .map(({ name }) => [FIGURES[name] ?? name, ...columns.map((own) => figureCell(own.figures, name))]);
  const texts = test.examples === null ? "the test texts" : `${count(test.examples)} test texts, which training did not see`;
  parts.push(simpleTable(`On ${texts}; below each figure its 95 % interval`, heads, rows));
  const verdicts = test.baselines.filter((own) => own.verdict);
  if (verdicts.length)
    parts.push(make("ul", {}, ...verdicts.map((own) => make("li", { textContent: `Beside ${own.name}: ${own.verdict}.` }))));
  const classes = test.classes.map((own) => [
    own.name,
    ...["precision", "recall", "f1"].map((key) => own[key]?.toFixed(3) ?? "–"),
    own.support === null ? "–" : count(own.support),
  ]);
  const each = simpleTable("Test figures of each label", ["label", "precision", "recall", "F1", "texts"], classes);
  if (classes.length) parts.push(make("details", {}, make("summary", { textContent: "Each label" }), each));
  return parts;
}

function figureCell(figures, name) {
  const found = figures.find((own) => own.name === name);
  if (!found) return "–";
  const digits = (value) => value.toFixed(3).replace("-", "−");
  const interval = found.low === null ? "" : `${digits(found.low)} to ${digits(found.high)}`;
  return make("span", {}, digits(found.value), make("small", { textContent: interval }));
}

function simpleTable(caption, heads, rows) {
  const cell = (content, place) => make(place ? "td" : "th", place ? { className: "number" } : { scope: "row" }, content);
  const head = heads.map((text, place) => make("th", { scope: "col", className: place ? "number" : "", textContent: text }));
  const body = rows.map((row) => make("tr", {}, ...row.map(cell)));
  const own = make("table", {}, make("caption", {}, make("span", { textContent: caption })), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  return make("div", { className: "table", role: "region", ariaLabel: caption, tabIndex: 0 }, own);
}

// The Markdown that cards are made of; anything else is shown as it stands, links and HTML included.
export function renderMarkdown(text) {
  const lines = text.split(/\r?\n/);
  const parts = [];
  const takeWhile = (test) => {
    const taken = [];
    while (lines.length && test(lines[0])) taken.push(lines.shift());
    return taken;
  };
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (!line.trim()) lines.shift();
    else if (line.startsWith("```")) {
      lines.shift();
      parts.push(make("pre", { tabIndex: 0, textContent: takeWhile((own) => !own.startsWith("```")).join("\n") }));
      lines.shift();
    } else if (heading) {
      lines.shift();
      parts.push(make(heading[1].length < 2 ? "h3" : "h4", {}, ...renderInline(heading[2])));
    } else if (/^[-*] /.test(line)) {
      const items = takeWhile((own) => /^[-*] /.test(own)).map((own) => make("li", {}, ...renderInline(own.slice(2))));
      parts.push(make("ul", {}, ...items));
    } else if (line.startsWith(">")) {
      const own = takeWhile((one) => one.startsWith(">")).map((one) => one.replace(/^>\s?/, ""));
      parts.push(make("blockquote", {}, ...renderMarkdown(own.join("\n"))));
    } else if (line.startsWith("|")) parts.push(renderTable(takeWhile((own) => own.startsWith("|"))));
    else {
      const own = [lines.shift(), ...takeWhile((one) => one.trim() && !/^(```|#{1,6} |[-*] |>|\|)/.test(one))];
      parts.push(make("p", {}, ...renderInline(own.join(" "))));
    }
  }
  return parts;
}

function renderTable(lines) {
  const cells = (line) => line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const rows = lines.filter((line) => !/^[|\s:-]+$/.test(line)).map(cells);
  const [heads, ...body] = rows.map((row) => row.map((cell) => make("span", {}, ...renderInline(cell))));
  const row = (kind, own) => make("tr", {}, ...own.map((cell, place) => make(place ? kind : "th", { className: place ? "number" : "" }, cell)));
  const own = make("table", {}, make("thead", {}, row("th", heads ?? [])), make("tbody", {}, ...body.map((one) => row("td", one))));
  return make("div", { className: "table", role: "region", ariaLabel: "A table of the card", tabIndex: 0 }, own);
}

function renderInline(text) {
  const plain = (own) => own.replace(/\\([\\`*_|[\]#~$])/g, "$1").replaceAll("&lt;", "<");
  return text.split(/(?<!\\)(\*\*.+?\*\*|`[^`]+`)/).map((part) => {
    if (/^\*\*.+\*\*$/.test(part)) return make("strong", { textContent: plain(part.slice(2, -2)) });
    if (/^`[^`]+`$/.test(part)) return make("code", { textContent: part.slice(1, -1) });
    return plain(part);
  });
}

// What the controls do

box.addEventListener("input", () => {
  byId("words-found").classList.add("stale");
  classifyLater();
});
byId("explain").addEventListener("click", explain);
byId("explained-label").addEventListener("change", () => box.value.trim() && explain());
byId("model").addEventListener("change", takeModel);
byId("retry").addEventListener("click", connect);
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  if (/^[!-~]+$/.test(token)) connect();
  else askForToken(true); // it could not stand in a header
});
byId("file").addEventListener("change", () => {
  const [file] = byId("file").files;
  if (file) takeFile(file);
});
let chosen = null;
byId("file").addEventListener("click", () => {
  chosen = byId("file").files;
  byId("file").value = ""; // so that the same file can be chosen again
});
byId("file").addEventListener("cancel", () => (byId("file").files = chosen));
byId("column").addEventListener("change", forgetJob);
byId("named").addEventListener("change", () => {
  job = null;
  takeColumns();
});
byId("start").addEventListener("click", startJob);
byId("cancel").addEventListener("click", () => job?.stop?.abort());
for (const id of ["by-label", "least", "most", "order"])
  byId(id).addEventListener("input", () => {
    page = 0;
    showRows();
  });
for (const [id, step] of [["previous", -1], ["next", 1]])
  byId(id).addEventListener("click", () => {
    page += step;
    showRows();
    if (byId(id).disabled) byId(step < 0 ? "next" : "previous").focus();
  });
byId("download").addEventListener("click", download);

function forgetJob() {
  job = null;
  tellFile();
}

// A file dropped beside its place would take the browser away from the page.
for (const kind of ["dragover", "drop", "dragleave"])
  addEventListener(kind, (event) => {
    if (kind !== "dragleave") event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (!file) return;
    byId("file").files = event.dataTransfer.files; // its name then stands beside the button
    takeFile(file);
  });
addEventListener("beforeunload", (event) => {
  if (job?.stop) event.preventDefault();
});

start();
