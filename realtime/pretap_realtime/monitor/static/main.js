// The page: passes updates from the socket to its parts. Text from the network is only ever set as textContent.

import { TimeAxis, axis, classColour, forgetColours } from "./axis.js";
import { Bar } from "./bar.js";
import { condition } from "./condition.js";
import { Controls } from "./controls.js";
import { Game } from "./game.js";
import { Head } from "./head.js";
import { History } from "./history.js";
import { Rows } from "./rows.js";
import { Signal } from "./signal.js";
import { Spectrum } from "./spectrum.js";
import { Traces } from "./traces.js";

const MIN_AMPLITUDE_PX = 15;
const PARTS = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
const NO_MARKERS = "No marker stream: without a task, nothing tells the true class.";
const byId = (id) => document.getElementById(id);
const signal = new Signal();
const traces = new Traces(byId("traces"), signal);
const time = new TimeAxis(byId("time"));
const history = new History(byId("history"));
const rows = new Rows(byId("rows"), select);
const head = new Head(byId("head"), byId("electrode-words"), select);
const spectrum = new Spectrum({ svg: byId("spectrum-plot"), words: byId("spectrum-words") });
const bar = new Bar({ bar: byId("bar"), list: byId("classes") });
const controls = new Controls({ signal, traces, rows, onChange: redraw });
const game = new Game();
let about = {
  classes: [], markers: [], channels: [], places: [], electrodes: [], decoder: [], problem: "", service: "", eeg: "",
  speed: 1,
};
let selected = null; // the channel whose spectrum is shown
let isInvalid = false; // the newest decision
let isLost = false; // what the page shows is old
let sized = null; // the second whose sizes are shown
let figures = null;
let newest = null; // the decision that the bar does not show yet
let frozen = false;
let known = ""; // what the head map shows
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
    if (data instanceof ArrayBuffer) signal.append(data);
    else receive(JSON.parse(data));
  });
  socket.addEventListener("close", () => {
    figures = null;
    showState("OFFLINE", "The monitor's server does not respond. Start pretap monitor again; this page waits for it.");
    setTimeout(connect, again_ms);
    again_ms = Math.min(5000, 2 * again_ms);
  });
}

function receive(update) {
  if (update.fresh) known = "";
  if (update.about) begin(update.about);
  if (update.fresh) {
    signal.reset(about.channels.length, about.sfreq_hz, about.rate_hz);
    traces.reset(about.channels, about.unit ?? "");
    controls.reset(about);
    select(null);
    history.reset(about.classes);
    bar.reset(about.classes);
    game.reset();
    axis.reset();
    freeze(false);
    byId("events").replaceChildren();
  }
  for (const row of update.decisions ?? []) {
    history.decision(row);
    game.decision(row);
  }
  if (update.decisions?.length) {
    newest = update.decisions.at(-1);
    isInvalid = !newest[1].some((p) => p > 0);
    if (!about.channels.length) axis.heard(newest[0]);
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
  const rate = about.sfreq_hz ? `${about.sfreq_hz} Hz` : "a rate that is being measured";
  text("stream", about.eeg ? `${about.eeg} · ${about.channels.length} channels at ${rate}${names}` : "");
  const mine = JSON.stringify([about.channels, about.places, about.decoder]);
  if (mine !== known) {
    known = mine;
    head.reset(about);
  }
  byId("legend").replaceChildren(...about.classes.map((name, k) => {
    const item = document.createElement("li");
    const box = document.createElement("i");
    box.className = `class-${classColour(k)}`;
    item.append(box, name);
    return item;
  }));
  showHints();
  describeGame();
  if (figures) showFigures();
  else showState("WAITING", about.problem);
}

// Say which command to start, if something is missing.
function showHints() {
  byId("no-eeg").hidden = Boolean(about.eeg);
  byId("no-service").hidden = Boolean(about.service);
  text("serve-command", `pretap serve BUNDLE${about.eeg ? ` --query '${about.eeg}'` : ""}`);
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
  const facts = figures ? { bad: figures.bad, invalid: figures.invalid, error: figures.latency_error, quality: figures.quality, isInvalid } : {};
  const { level, sign, words } = condition({ state, ...facts });
  byId("state").dataset.state = state;
  byId("state").dataset.level = level;
  isLost = ["STALE", "LOST", "REFUSED", "SILENT", "OFFLINE"].includes(state) || (Boolean(about.eeg) && signal.isSilent);
  byId("main").classList.toggle("lost", isLost);
  text("state-sign", sign);
  text("state-name", state);
  text("state-why", [words, why].filter(Boolean).map((each) => each.replace(/[^.!?]$/, "$&.")).join(" "));
  text("invalid", isInvalid && state === "RUNNING" ? `⚠ No valid window${figures?.invalid ? `: ${figures.invalid}` : "."}` : "");
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
  traces.setBad(head.show(f, judges));
  rows.mark(traces.bad, selected);
  showSizes();
  const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  text("p50", f.latency_ms ? ms(f.latency_ms[0]) : f.latency_error ? "impossible" : "n/a");
  byId("p50").classList.toggle("fault", Boolean(f.latency_error));
  text("p95", f.latency_ms ? `${ms(f.latency_ms[1])} · ${ms(f.latency_ms[2])}` : "n/a");
  text("rate", f.decisions_per_s === null ? "–" : f.decisions_per_s.toFixed(1));
  text("lost", String(f.lost));
  text("missed", String(f.messages_missed) + (f.unreadable ? ` · ${f.unreadable} unreadable` : ""));
  text("quality", f.quality === null ? "–" : `${Math.round(100 * f.quality)} %`);
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

// Show how large each channel was in the last second, and the spectrum of the selected one.
function showSizes() {
  const second = signal.lastSecond;
  const unit = about.unit || "units";
  text("size-unit", isLost ? "lost" : `${unit} ${signal.hasExtremes ? "p–p" : "RMS"}`);
  if (!second || second === sized) return;
  sized = second;
  const sizeOf = (channel) => {
    const [rms, span] = [second.rms(channel), second.peakToPeak(channel)].map(rounded);
    const words = `${span} ${unit} peak to peak`;
    return signal.hasExtremes ? { text: span, words } : { text: rms, words: `${rms} ${unit} RMS, ${words}` };
  };
  rows.measureWith(sizeOf);
  head.measureWith(sizeOf);
  showAmplitude();
  if (selected === null) return;
  text("spectrum-name", `${about.channels[selected]}: ${sizeOf(selected).words}`);
  text("spectrum-hide", traces.shown.includes(selected) ? "Hide this channel" : "Show this channel");
  spectrum.draw(signal, selected, about.unit);
}

// Show a bar as high as some part of a row, or as some low rows.
function showAmplitude() {
  const row = byId("rows").clientHeight / Math.max(1, traces.shown.length);
  const n_rows = PARTS.find((n) => n * row >= MIN_AMPLITUDE_PX) ?? PARTS.at(-1);
  byId("amplitude").hidden = !traces.shown.length;
  byId("amplitude-bar").style.height = `${n_rows * row}px`;
  text("amplitude-words", `${Number((n_rows * traces.perRow).toPrecision(3))} ${about.unit || "units"}`);
}

function rounded(value) {
  if (!Number.isFinite(value)) return "–";
  return value < 10 ? value.toFixed(1) : value < 10_000 ? value.toFixed(0) : `${Math.round(value / 1000)}k`;
}

// Show the spectrum of a channel, or none.
function select(channel) {
  selected = channel === selected ? null : channel;
  byId("spectrum").hidden = selected === null;
  rows.mark(traces.bad, selected);
  sized = null;
  showSizes();
}

// -- views and frames ----------------------------------------------------------------------------------------------

function redraw() {
  traces.strip.stale = history.strip.stale = true;
  rows.mark(traces.bad, selected);
  sized = null;
  showSizes();
}

function freeze(isFrozen) {
  frozen = isFrozen;
  axis.hold(isFrozen);
  byId("freeze").setAttribute("aria-pressed", String(isFrozen));
}

function enlarge(isLarge) {
  byId("electrodes").classList.toggle("large", isLarge);
  byId("enlarge").setAttribute("aria-pressed", String(isLarge));
  text("enlarge", isLarge ? "Close" : "Enlarge");
}

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
byId("spectrum-close").addEventListener("click", () => select(null));
byId("spectrum-hide").addEventListener("click", () => controls.toggle(selected));
byId("enlarge").addEventListener("click", () => enlarge(!byId("electrodes").classList.contains("large")));
window.addEventListener("keydown", ({ key }) => { if (key === "Escape") enlarge(false); });
byId("freeze").addEventListener("click", () => freeze(!frozen));
window.addEventListener("hashchange", route);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  forgetColours();
  redraw();
});

// Only every other of a screen's 60 frames per second is requested and drawn. Without a graphics card, even a frame in
// which nothing changes uses the processors that the service needs. The ball of the game moves in every frame.
const PAUSE_MS = 28;
const BAR_MS = 90;
let left = axis.left;
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
    if (axis.left !== left) { left = axis.left; redraw(); } // the names need another width
    traces.draw();
    time.draw();
    history.draw();
  }
  if (newest && !frozen && now_ms - bar_ms > BAR_MS) {
    bar.show(newest[1]);
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
