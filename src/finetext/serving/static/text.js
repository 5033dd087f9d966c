// A text: its labels as one types, and the words that matter.

import { byId, count, delayed, make, percent, shorten } from "./dom.js";
import { ask, info, isTooLong, model, waitsForServer } from "./server.js";
import { tableRow } from "./tables.js";

const TYPING_MS = 150;
const WORDS_MS = 450;
const MAX_AUTOMATIC = 1000; // characters up to which words are explained as one types
const FEW_LABELS = 8;
const MIN_SHARE = 0.05; // of the largest weight; a word below it has no colour

const box = byId("text");
let asking = new AbortController();
let explaining = new AbortController();
let allScores = false;
const classifyLater = delayed(TYPING_MS, classify);
const explainLater = delayed(WORDS_MS, explain);

async function classify() {
  classifyLater.cancel();
  explainLater.cancel();
  asking.abort();
  explaining.abort();
  asking = new AbortController();
  const { signal } = asking;
  if (!model) return;
  const text = box.value;
  const limit = count(info.limits.max_characters);
  const problem = isTooLong(text) ? `The text has more than ${limit} characters, which is the server's limit.` : "";
  byId("text-note").textContent = problem;
  if (problem || !text.trim()) return clearText();
  const asked = model;
  try {
    const answer = await ask("classify", { text, model: asked.name }, signal, byId("text-note"));
    showAnswer(answer.predictions[0], asked);
  } catch (error) {
    if (signal.aborted) return;
    clearText(); // the labels of an earlier text would mislead
    if (!waitsForServer(error, classify)) byId("text-note").textContent = error.message;
    return;
  }
  byId("words").hidden = false;
  const long = text.length > MAX_AUTOMATIC;
  byId("explain").hidden = !long;
  byId("words-state").textContent = long ? "Each word is left out once, which takes a while in a long text." : "";
  if (!long) explainLater();
  else byId("words-found").hidden = true;
}

function clearText() {
  byId("answer").textContent = "";
  byId("scores").hidden = byId("all-scores").hidden = byId("words").hidden = byId("words-found").hidden = true;
}

function showAnswer(prediction, { labels, task, thresholds }) {
  const predicted = new Set(prediction.labels);
  const score = new Map(prediction.scores.map((item) => [item.label, item.score]));
  byId("answer").textContent = predicted.size
    ? prediction.labels.map((name) => `${name} ${percent(score.get(name))}`).join(", ")
    : `No label: the model is not sure enough (at most ${percent(prediction.score)})`;
  const few = score.size <= FEW_LABELS;
  const ranked = [...score.keys()];
  // Few labels keep their places while one types.
  const shown = few ? labels : allScores ? ranked : ranked.slice(0, FEW_LABELS);
  const threshold = (name) => thresholdOf(task, thresholds, labels.indexOf(name));
  const rows = shown.map((name) => scoreRow(name, score.get(name), predicted.has(name), threshold(name)));
  byId("scores").tBodies[0].replaceChildren(...rows);
  byId("scores").hidden = false;
  const button = byId("all-scores");
  button.hidden = few;
  button.textContent = allScores ? `Show the ${FEW_LABELS} most likely` : `Show all ${score.size} labels`;
  button.onclick = () => {
    allScores = !allScores;
    showAnswer(prediction, { labels, task, thresholds });
  };
}

function scoreRow(label, score, predicted, threshold) {
  const fill = make("div", { className: "fill" });
  fill.style.width = `${score * 100}%`; // through CSSOM, which the policy allows, unlike style attributes
  const bar = make("div", { className: "bar" }, fill);
  if (threshold !== null) {
    const tick = make("div", { className: "tick", title: `predicted from ${percent(threshold)}` });
    tick.style.left = `${threshold * 100}%`;
    bar.append(tick);
  }
  const row = tableRow(make("span", {}, label), bar, percent(score));
  row.className = predicted ? "given" : "";
  row.cells[1].ariaHidden = "true";
  return row;
}

function thresholdOf(task, thresholds, index) {
  if (task === "multi-label") return thresholds?.[index] ?? 0.5;
  return task === "binary" && thresholds && index === 1 ? thresholds[0] : null;
}

async function explain() {
  explainLater.cancel();
  explaining.abort(); // the label chosen last is shown, whichever answer arrives last
  explaining = new AbortController();
  const { signal } = explaining;
  const text = box.value;
  const label = byId("explained-label").value.slice(1);
  byId("words-state").textContent = text.length > MAX_AUTOMATIC ? "Looking for the words …" : "";
  try {
    const question = { text, model: model.name, ...(label && { label }) };
    const explanation = await ask("explain", question, signal, byId("words-state"));
    if (!signal.aborted) showWords(explanation);
  } catch (error) {
    if (signal.aborted) return;
    if (!waitsForServer(error, explain)) byId("words-state").textContent = error.message;
  }
}

function showWords(explanation) {
  const letters = [...explanation.text]; // positions count code points, as in Python
  const largest = Math.max(0.1, ...explanation.words.map((word) => Math.abs(word.weight)));
  const share = (word) => Math.abs(word.weight) / largest;
  const parts = [];
  let done = 0;
  for (const word of explanation.words) {
    parts.push(letters.slice(done, word.start).join(""));
    const side = word.weight > 0 ? "for" : "against";
    const depth = share(word) < 0.35 ? 1 : share(word) < 0.7 ? 2 : 3;
    parts.push(share(word) < MIN_SHARE ? word.word : make("mark", { className: `${side} w${depth}` }, word.word));
    done = word.end;
  }
  byId("highlighted").replaceChildren(...parts, letters.slice(done).join(""));
  const strongest = explanation.words.filter((word) => share(word) >= MIN_SHARE);
  strongest.sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight));
  const rows = strongest.slice(0, 8).map(({ word, weight }) => {
    const [sign, side] = weight < 0 ? ["−", "against"] : ["+", "for"];
    return tableRow(shorten(word, 60), `${side} ${explanation.label}`, sign + Math.abs(weight).toFixed(2));
  });
  byId("weights").replaceChildren(...rows);
  for (const part of document.querySelectorAll("#words-found .note, .weights")) part.hidden = !strongest.length;
  byId("words-found").hidden = false;
  byId("words-found").classList.remove("stale");
  const none = strongest.length ? "" : ": no word by itself matters.";
  byId("words-state").textContent = `for ${explanation.label}, ${percent(explanation.score)}${none}`;
}

// Put a text into the box and label it.
export function showText(text) {
  box.value = text;
  classify();
  box.scrollIntoView({ block: "center" });
  box.focus({ preventScroll: true });
}

box.addEventListener("input", () => {
  byId("words-found").classList.add("stale");
  classifyLater();
});
byId("explain").addEventListener("click", explain);
byId("explained-label").addEventListener("change", () => box.value.trim() && explain());
byId("model").addEventListener("change", classify);
