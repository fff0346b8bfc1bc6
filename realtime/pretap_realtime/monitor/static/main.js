// The page: passes updates from the socket to its parts. Text from the network is only ever set as textContent.

import { axis, forgetColours } from "./axis.js";
import { Game } from "./game.js";
import { Head } from "./head.js";
import { History } from "./history.js";
import { Traces } from "./traces.js";

const NO_MARKERS = "No marker stream: without a task, nothing tells the true class.";
const byId = (id) => document.getElementById(id);
const traces = new Traces(byId("traces"));
const history = new History(byId("history"));
const head = new Head(byId("head"), byId("electrode-words"));
const game = new Game();
let about = { classes: [], markers: [], channels: [], places: [], electrodes: [], problem: "", service: "", eeg: "", speed: 1 };
let figures = null;
let newest = null; // the decision that the bar does not show yet
let frozen = false;
let known = ""; // the channels and positions that the head map shows
let again_ms = 500;

function text(id, content) {
  const element = byId(id);
  if (element.textContent !== content) element.textContent = content;
}

// -- updates -------------------------------------------------------------------------------------------------------

function connect() {
  const socket = new WebSocket(`ws://${location.host}/live`);
  socket.binaryType = "arraybuffer";
  socket.addEventListener("open", () => { again_ms = 500; });
  socket.addEventListener("message", ({ data }) => {
    if (data instanceof ArrayBuffer) traces.append(data);
    else receive(JSON.parse(data));
  });
  socket.addEventListener("close", () => {
    figures = null;
    showState("OFFLINE", "The monitor's server does not respond. Trying again.");
    setTimeout(connect, again_ms);
    again_ms = Math.min(5000, 2 * again_ms);
  });
}

function receive(update) {
  if (update.fresh) known = "";
  if (update.about) begin(update.about);
  if (update.fresh) {
    traces.reset(about.channels, about.unit ?? "");
    history.reset(about.classes);
    game.reset();
    axis.reset();
    byId("events").replaceChildren();
  }
  for (const row of update.decisions ?? []) {
    history.decision(row);
    game.decision(row);
  }
  const rows = update.decisions ?? [];
  if (rows.length) {
    newest = rows[rows.length - 1];
    if (!about.channels.length) axis.heard(rows[rows.length - 1][0]);
  }
  for (const event of update.events ?? []) receiveEvent(event);
  for (const judged of update.judged ?? []) {
    history.judged(judged);
    game.judged(judged);
  }
  if (update.figures) {
    figures = update.figures;
    showFigures();
  }
}

function begin(now) {
  about = { ...about, ...now };
  axis.speed = about.speed;
  text("service", about.service || "no service yet");
  const names = about.markers?.length ? ` · markers: ${about.markers.join(", ")}` : "";
  text("stream", about.eeg ? `${about.eeg} · ${about.channels.length} channels at ${about.sfreq_hz} Hz${names}` : "");
  const mine = JSON.stringify([about.channels, about.places]);
  if (mine !== known) {
    known = mine;
    head.reset(about);
  }
  byId("legend").replaceChildren(...about.classes.map((name, k) => {
    const item = document.createElement("li");
    const box = document.createElement("i");
    box.className = `class-${k % 5}`;
    item.append(box, name);
    return item;
  }));
  describeGame();
  if (figures) showFigures();
  else showState("WAITING", about.problem);
}

function describeGame() {
  const hasMarkers = about.cued || about.markers.length > 0;
  game.describe(about, hasMarkers && !figures?.why_not_judged);
}

function receiveEvent(event) {
  if (event.kind === "verdict") {
    history.verdict(event.t, event.label, event.command);
    return;
  }
  if (event.kind === "marker") {
    history.marker(event.t, event.label, event.start);
    const k = about.classes.indexOf(event.label);
    traces.mark(event.t, event.start || k < 0 ? "line" : `c${k}`);
    game.marker(event);
  } else traces.mark(event.t, event.label === "RUNNING" ? "good" : "fault");
  const item = document.createElement("li");
  const time = document.createElement("time");
  const entry = document.createElement("span");
  time.textContent = event.t.toFixed(1);
  entry.className = event.kind;
  if (event.kind === "state") {
    const name = document.createElement("b");
    name.textContent = event.label;
    entry.append(name, ` ${event.text}`);
  } else entry.textContent = event.text;
  item.append(time, entry);
  const list = byId("events");
  list.prepend(item);
  while (list.childElementCount > 60) list.lastElementChild.remove();
}

// -- display -------------------------------------------------------------------------------------------------------

function showState(state, why) {
  byId("state").dataset.state = state;
  text("state-name", state);
  text("state-why", why);
  if (state !== "RUNNING") game.pause(`Paused: ${state.toLowerCase()}. ${why}`);
}

function showFigures() {
  const f = figures;
  describeGame();
  const isHeard = f.state && !f.silent;
  if (isHeard) showState(f.state, [f.why, f.latency_error, about.problem].filter(Boolean).join(" "));
  else if (f.state) showState("SILENT", `The service sends no messages. ${about.problem}`);
  else showState("WAITING", about.problem);
  const judges = isHeard && (f.state === "RUNNING" || f.state === "STALE");
  traces.setBad(head.show(f.bad, judges, judges ? f.why : ""));
  const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  text("p50", f.latency_ms ? ms(f.latency_ms[0]) : f.latency_error ? "impossible" : "n/a");
  byId("p50").classList.toggle("fault", Boolean(f.latency_error));
  text("p95", f.latency_ms ? `${ms(f.latency_ms[1])} · ${ms(f.latency_ms[2])}` : "n/a");
  text("rate", f.decisions_per_s === null ? "–" : f.decisions_per_s.toFixed(1));
  text("lost", String(f.lost));
  text("missed", String(f.messages_missed) + (f.unreadable ? ` · ${f.unreadable} unreadable` : ""));
  const n = about.channels.length;
  const quality = f.quality ?? (judges && n ? Math.max(0, n - f.bad.length) / n : null);
  text("quality", quality === null ? "–" : `${Math.round(100 * quality)} %`);
  byId("lost").classList.toggle("fault", f.lost > 0);
  byId("missed").classList.toggle("fault", f.messages_missed + f.unreadable > 0);
  if (f.n_judged && !f.why_not_judged) {
    text("accuracy", `${f.n_correct} of ${f.n_judged} correct`);
    const none = f.n_none ? `, ${f.n_none} without a verdict` : "";
    text("accuracy-words", `${Math.round((100 * f.n_correct) / f.n_judged)} % at the true markers${none}`);
  } else {
    text("accuracy", "–");
    text("accuracy-words", f.why_not_judged || (about.markers.length || about.cued ? "No true markers yet." : NO_MARKERS));
  }
  byId("scale").options[0].textContent = traces.scale === "auto" ? `auto, ${traces.perRow} ${about.unit}` : "auto";
  const label = traces.describe();
  if (byId("traces").getAttribute("aria-label") !== label) byId("traces").setAttribute("aria-label", label);
}

function showBar([, p]) {
  const bar = byId("bar");
  while (bar.childElementCount < p.length) {
    const part = document.createElement("span");
    part.className = `class-${bar.childElementCount % 5}`;
    bar.append(part);
  }
  while (bar.childElementCount > p.length) bar.lastElementChild.remove();
  const sum = p.reduce((a, b) => a + b, 0);
  bar.classList.toggle("held", !sum);
  p.forEach((each, k) => {
    const share = sum ? each / sum : 1 / p.length;
    bar.children[k].style.width = `${100 * share}%`;
    bar.children[k].textContent = sum && share > 0.22 ? ` ${about.classes[k] ?? ""} ${each.toFixed(2)} ` : "";
  });
  const label = sum ? p.map((each, k) => `${about.classes[k] ?? k} ${each.toFixed(2)}`).join(", ") : "No valid window";
  if (performance.now() - (showBar.at ?? 0) > 1000) {
    bar.setAttribute("aria-label", label);
    showBar.at = performance.now();
  }
}

// -- views and frames ----------------------------------------------------------------------------------------------

function route() {
  const isGame = location.hash === "#game";
  byId("game").hidden = !isGame;
  byId("main").inert = isGame;
  document.querySelector("header").inert = isGame;
  if (isGame) byId("start").focus();
  else game.pause("Paused.");
}

byId("to-game").addEventListener("click", () => { location.hash = "#game"; });
byId("leave").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  location.hash = "";
  byId("to-game").focus();
});
byId("scale").addEventListener("change", ({ target }) => traces.setScale(target.value));
byId("freeze").addEventListener("click", ({ target }) => {
  frozen = !frozen;
  target.setAttribute("aria-pressed", String(frozen));
  traces.strip.stale = history.strip.stale = true;
});
window.addEventListener("hashchange", route);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  forgetColours();
  traces.strip.stale = history.strip.stale = true;
});

// Only every other of a screen's 60 frames per second is requested and drawn. Without a graphics card, even a frame in
// which nothing changes uses the processors that the service needs. The ball of the game moves in every frame.
const PAUSE_MS = 28;
const BAR_MS = 90;
let n_frames = 0;
let since_ms = performance.now();
let before_ms = since_ms;
let bar_ms = since_ms;

function frame(now_ms) {
  if (game.visible) {
    requestAnimationFrame(frame);
    game.draw(Math.min(0.2, (now_ms - before_ms) / 1000));
  } else {
    setTimeout(requestAnimationFrame, PAUSE_MS, frame);
    if (!frozen) {
      traces.draw();
      history.draw();
    }
  }
  if (newest && !frozen && now_ms - bar_ms > BAR_MS) {
    showBar(newest);
    bar_ms = now_ms;
    newest = null;
  }
  before_ms = now_ms;
  n_frames += 1;
  if (now_ms - since_ms >= 1000) {
    document.documentElement.dataset.fps = ((1000 * n_frames) / (now_ms - since_ms)).toFixed(1);
    n_frames = 0;
    since_ms = now_ms;
  }
}

route();
connect();
requestAnimationFrame(frame);
