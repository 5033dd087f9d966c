// A file: reading it, and labelling its rows.

import { decode, findTextColumn, looksNamed, parseTable } from "./csv.js";
import { byId, count, rowsOf, setOptions, shorten } from "./dom.js";
import { resetFilters, showRows } from "./rows.js";
import { ask, info, isTooLong, model, waitsForServer } from "./server.js";

const BATCH = 128; // texts per request: small enough to show progress and to cancel quickly
const MAX_FAILURES = 20; // texts in a row on which the server fails before the job is stopped
const MAX_FILE_BYTES = 200e6;

let table = null; // {name, separator, mark, records, columns, rows}
let current = null; // the job: {table, model, texts, todo, next, size, results, …}; null before the first start

async function loadFile(file) {
  byId("file-problem").textContent = "";
  if (file.size > MAX_FILE_BYTES) return fileProblem(`${file.name} is larger than ${MAX_FILE_BYTES / 1e6} MB. Use finetext predict.`);
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
  current?.stop?.abort();
  table = { ...parsed, name: file.name, encoding, mark };
  current = null;
  byId("named").checked = looksNamed(parsed.records[0]);
  chooseColumns();
}

function fileProblem(message) {
  byId("file-problem").textContent = table ? `${message} ${table.name} is kept.` : message;
}

function chooseColumns() {
  const { records } = table;
  const named = byId("named").checked;
  table.rows = named ? records.slice(1) : records;
  const width = records.reduce((most, record) => Math.max(most, record.length), 0);
  const first = named ? records[0] : [];
  table.columns = Array.from({ length: width }, (_, place) => first[place] || `column_${place + 1}`);
  const options = table.columns.map((name, place) => [String(place), shorten(name, 60)]);
  setOptions(byId("column"), options, String(findTextColumn(table.columns, table.rows)));
  describeFile();
}

function describeFile() {
  if (!table || !model) return;
  const { rows, columns, separator, quoted, encoding } = table;
  const between = { ",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars" }[separator];
  const uneven = rows.filter((row) => row.length !== columns.length).length;
  const shape = columns.length === 1 ? "one column" : `${columns.length} columns with ${between} between them`;
  const facts = [`${table.name}: ${rowsOf(rows.length)}, ${shape}`];
  if (encoding !== "UTF-8") facts.push(`read as ${encoding}`);
  if (!quoted) facts.push("quotes are plain characters, since one is never closed");
  if (uneven) facts.push(`${rowsOf(uneven)} with fewer cells than the widest, filled with empty ones`);
  byId("file-facts").textContent = `${facts.join("; ")}.`;
  const place = Number(byId("column").value);
  const example = rows.map((row) => row[place] ?? "").find((cell) => cell.trim());
  byId("first-text").textContent = example === undefined ? "This column is empty." : `The first text: ${shorten(example, 160)}`;
  byId("file-loaded").hidden = false;
  const running = Boolean(current?.stop);
  byId("start").textContent = canResume() ? "Resume" : `Label ${rowsOf(rows.length)}`;
  byId("start").hidden = running;
  byId("start").disabled = !rows.length || example === undefined;
  byId("cancel").hidden = !running;
  byId("column").disabled = byId("named").disabled = running;
  byId("result").hidden = byId("progress-line").hidden = !current;
  if (!current) byId("file-state").textContent = "";
}

// Whether there is a job that was stopped, and that the chosen model can take up.
const canResume = () => current !== null && !current.done && !current.stop && current.model === model.name;

function startJob() {
  if (canResume()) return work(current);
  const place = Number(byId("column").value);
  const texts = table.rows.map((row) => row[place] ?? "");
  const results = texts.map((text) => (text.trim() ? null : { skipped: "no text" }));
  const todo = [...texts.keys()].filter((row) => results[row] === null);
  const size = Math.min(BATCH, info.limits.max_texts);
  current = { table, texts, results, todo, next: 0, size, failures: 0, model: model.name, labels: model.labels };
  resetFilters(model.labels);
  byId("progress").max = Math.max(1, todo.length);
  byId("shown").setAttribute("aria-live", "off"); // the progress is enough to hear
  work(current);
}

// Label what is left of a job; it ends, is stopped, or stands still and is called again.
async function work(job) {
  if (job !== current) return;
  job.stop = new AbortController();
  const { signal } = job.stop;
  const focused = document.activeElement === byId("start");
  update(job, `Labelling ${rowsOf(job.todo.length)} …`);
  if (focused) byId("cancel").focus(); // which takes its place
  job.began = performance.now() - (job.spent ?? 0);
  while (job.next < job.todo.length && !signal.aborted) {
    const batch = nextBatch(job);
    if (!batch.length) continue;
    try {
      const texts = batch.map((row) => job.texts[row]);
      const answer = await ask("classify", { texts, top_k: 1, model: job.model }, signal, byId("file-state"));
      answer.predictions.forEach(({ labels, score }, place) => (job.results[batch[place]] = { labels, score }));
      job.next += batch.length;
      job.failures = 0;
      job.size = Math.min(job.size * 2, BATCH, info.limits.max_texts);
    } catch (error) {
      if (signal.aborted) break;
      if (!canContinue(job, batch, error)) return;
    }
    job.spent = performance.now() - job.began;
    showProgress(job);
  }
  job.done = job.next >= job.todo.length;
  const skipped = job.results.filter((result) => result?.skipped).length;
  const without = skipped ? ` ${rowsOf(skipped)} without: no text, too long, or the server failed on it.` : "";
  if (job.done) finish(job, `Done: ${rowsOf(job.results.length - skipped)} labelled by ${job.model}.${without}`);
  else finish(job, `Cancelled after ${rowsOf(job.next)}. The labelled rows are kept; Resume labels the rest.`);
}

function update(job, message) {
  byId("file-state").textContent = message;
  describeFile();
  showProgress(job);
}

function finish(job, message) {
  job.stop = null;
  if (job !== current) return;
  byId("shown").setAttribute("aria-live", "polite");
  const focused = document.activeElement === byId("cancel");
  update(job, message);
  if (focused) byId("start").focus(); // the button that had the focus is gone
}

// The rows of the next request, within the server's limits.
function nextBatch(job) {
  const maxBytes = info.limits.max_body;
  const encoder = new TextEncoder();
  const batch = [];
  let bytes = 1000; // for what surrounds the texts
  while (job.next + batch.length < job.todo.length && batch.length < job.size) {
    const row = job.todo[job.next + batch.length];
    const text = job.texts[row];
    const needed = encoder.encode(JSON.stringify(text)).length + 1;
    if (isTooLong(text) || needed + 1000 > maxBytes) {
      if (batch.length) break;
      job.results[row] = { skipped: "too long" };
      job.next += 1;
      continue;
    }
    if (bytes + needed > maxBytes) break;
    bytes += needed;
    batch.push(row);
  }
  return batch;
}

// Return whether the work can continue after an error.
function canContinue(job, batch, error) {
  const mayBeOneRow = [413, 500, 504].includes(error.status);
  if (mayBeOneRow && batch.length > 1) {
    job.size = Math.ceil(batch.length / 2); // until the row on which the server fails is alone
    return true;
  }
  if (mayBeOneRow && ++job.failures < MAX_FAILURES) {
    job.results[batch[0]] = { skipped: "failed" };
    job.next += 1;
    return true;
  }
  const at = `Stopped at row ${count(batch[0] + 1)}`;
  if (waitsForServer(error, () => job.stop || work(job)))
    finish(job, `${at}; the labelled rows are kept. It continues when the server answers.`);
  else finish(job, `${at}: ${error.message} The labelled rows are kept.`);
  return false;
}

function showProgress(job) {
  if (job !== current) return;
  byId("progress").value = job.todo.length ? job.next : 1;
  const left = job.stop && job.next ? (job.spent / job.next) * (job.todo.length - job.next) : 0;
  const time = left > 1500 ? `, about ${left > 90e3 ? `${Math.round(left / 60e3)} min` : `${Math.round(left / 1000)} s`} left` : "";
  byId("done").textContent = `${count(job.next)} of ${rowsOf(job.todo.length)}${time}`;
  showRows(job);
}

byId("file").addEventListener("change", () => {
  const [file] = byId("file").files;
  if (file) loadFile(file);
});
let chosen = null;
byId("file").addEventListener("click", () => {
  chosen = byId("file").files;
  byId("file").value = ""; // so that the same file can be chosen again
});
byId("file").addEventListener("cancel", () => (byId("file").files = chosen));
for (const [id, show] of [["column", describeFile], ["named", chooseColumns]])
  byId(id).addEventListener("change", () => {
    current = null;
    show();
  });
byId("start").addEventListener("click", startJob);
byId("cancel").addEventListener("click", () => current?.stop?.abort());

// Without this, a file dropped elsewhere would replace the page.
for (const kind of ["dragover", "drop", "dragleave"])
  addEventListener(kind, (event) => {
    if (kind !== "dragleave") event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (!file) return;
    byId("file").files = event.dataTransfer.files; // shows its name beside the button
    loadFile(file);
  });
addEventListener("beforeunload", (event) => {
  if (current?.stop) event.preventDefault();
});
byId("model").addEventListener("change", describeFile);
