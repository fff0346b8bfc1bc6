// The feedback game: the probabilities push a ball towards the gate of a class.
//
// True markers score: the verdicts on them are those that the page counts, too. Without true markers the game opens a
// gate itself, and scores where the ball was held before the gate closes.

import { Field } from "./field.js";

const TAU_S = 0.15; // time constant of the smoothing
const DEAD = 0.5; // a ball closer to the middle than this is at no gate: at 0.75 of two classes
const COUNTDOWN_S = 3;
const GATE_S = 4; // how long a gate of the game itself is open
const PAUSE_S = 1.5; // before the next one
const HOLD_S = 1; // how long the ball must be at a gate of the game itself before it closes
const SHOWN_S = 1; // how long the gate of a marker stays lit
const PATIENCE_S = 10; // of play without any marker that names a class, before the game opens gates itself

const byId = (id) => document.getElementById(id);

export class Game {
  constructor() {
    this.section = byId("game");
    this.field = new Field(byId("field"));
    this.about = { classes: [], markers: [] };
    this.phase = "ready"; // ready, countdown, playing, paused, over
    this.p = []; // smoothed probabilities
    this.scoresMarkers = false; // otherwise the gates of the game itself do
    this.seesClasses = false; // a marker has named a class
    this.target = null; // {k, closes_s: when it closes, in seconds of play}
    byId("start").addEventListener("click", () => this.toggle());
    byId("full").addEventListener("click", () => this.fullScreen());
    byId("save").addEventListener("click", () => this.save());
    byId("length").addEventListener("change", () => { if (this.phase !== "playing") this.ready(); });
    this.section.addEventListener("keydown", (event) => {
      if (event.key === " " && event.target.tagName !== "BUTTON" && event.target.tagName !== "SELECT") {
        event.preventDefault();
        this.toggle();
      }
    });
    this.ready();
  }

  get visible() { return !this.section.hidden; }

  // Describe the service that is followed, and whether there may be markers by which the page judges it.
  describe(about, hasMarkers) {
    this.about = about;
    if (this.phase !== "ready") return; // what scores does not change during a game
    this.scoresMarkers = hasMarkers;
    this.instruct();
  }

  reset() {
    this.p = this.about.classes.map(() => 0);
    this.lastTimestamp = this.told = null;
    this.seesClasses = false;
    this.field.reset(this.about.classes);
    this.ready();
  }

  ready() {
    this.phase = "ready";
    this.left_s = Number(byId("length").value);
    this.played_s = this.streak = this.longest = 0;
    this.at = { gate: -1, since_s: 0 }; // where the ball is, in seconds of play
    this.rounds = [];
    this.target = null;
    byId("results").hidden = true;
    this.instruct();
    this.show();
  }

  // Say what to do, before the game starts.
  instruct() {
    const names = this.about.classes.join(", ").replace(/, ([^,]*)$/, " or $1");
    byId("instruction").hidden = false;
    byId("instruction-what").textContent = names
      ? `Think of the movement: ${names}. The ball follows your decoder to the gate of that name.`
      : "Waiting for a service: start pretap serve BUNDLE.";
    byId("instruction-score").textContent = this.scoresMarkers
      ? "Do what the task asks, or tap at your own pace. The gate of each true marker lights up, and scores if the decoder was correct."
      : "Every few seconds a gate lights up. Bring the ball there, and hold it for the last second until the gate closes: that scores. No task or button box is needed.";
    this.say("");
  }

  toggle() {
    if (this.phase === "playing" || this.phase === "countdown") return this.pause("Paused.");
    if (this.about.classes.length < 2) return this.say("Waiting for a service: start pretap serve BUNDLE.");
    if (this.phase === "over") this.ready();
    this.phase = "countdown";
    this.countdown_s = COUNTDOWN_S;
    byId("instruction").hidden = true;
    this.say("Get ready.");
    this.show();
  }

  pause(why) {
    if (this.phase !== "playing" && this.phase !== "countdown") return;
    this.phase = "paused";
    this.target = null;
    this.say(why);
    this.show();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.section.requestFullscreen?.().catch(() => this.say("This browser does not allow full screen."));
  }

  // -- what the service decides --------------------------------------------------------------------------------------

  decision([timestamp, p]) {
    const dt = this.lastTimestamp === null ? 1 : Math.max(0, timestamp - this.lastTimestamp);
    this.lastTimestamp = timestamp;
    const share = this.about.cued ? 1 : 1 - Math.exp(-dt / TAU_S);
    this.p = p.map((each, k) => (this.p[k] ?? 0) + share * (each - (this.p[k] ?? 0))); // all zero if invalid
    const [gate, where] = [this.gate(), this.about.classes[this.gate()] ?? "in the middle"];
    if (gate !== this.told) byId("field").setAttribute("aria-label", `The ball is ${where}`);
    this.told = gate;
  }

  // Return the class at whose gate the ball is, -1 in the middle.
  gate() {
    return this.field.distance(this.p) < DEAD ? -1 : this.p.indexOf(Math.max(...this.p));
  }

  // A marker of a task: it announces its class, or it is true now.
  marker({ label, start }) {
    const k = this.about.classes.indexOf(label);
    if (k < 0) return;
    this.seesClasses = true;
    if (!this.scoresMarkers || this.phase !== "playing") return;
    this.target = { k, closes_s: start ? Infinity : this.played_s + SHOWN_S };
  }

  judged({ truth, label, correct }) {
    if (!label || !this.scoresMarkers || this.phase !== "playing") return;
    if (this.target?.closes_s === Infinity) this.target = null;
    this.score(truth, label, correct);
  }

  score(truth, label, correct) {
    this.rounds.push({ truth, label, correct });
    this.streak = correct ? this.streak + 1 : 0;
    this.longest = Math.max(this.longest, this.streak);
    this.field.flash(this.about.classes.indexOf(truth), correct);
    this.show();
  }

  // -- time ----------------------------------------------------------------------------------------------------------

  draw(dt_s) {
    if (!this.visible) return;
    if (this.phase === "countdown") this.countDown(dt_s);
    else if (this.phase === "playing") this.play(dt_s);
    this.field.draw(this.phase === "over" ? this.p.map(() => 0) : this.p, {
      dt_s, target: this.target?.k, gate: this.gate(), big: this.phase === "countdown" ? Math.ceil(this.countdown_s) : "",
    });
  }

  countDown(dt_s) {
    this.countdown_s -= dt_s;
    if (this.countdown_s > 0) return;
    this.phase = "playing";
    this.next_s = this.played_s + PAUSE_S;
    this.say("");
    this.show();
  }

  play(dt_s) {
    const before = Math.ceil(this.left_s);
    this.left_s = Math.max(0, this.left_s - dt_s);
    this.played_s += dt_s;
    if (this.gate() !== this.at.gate) this.at = { gate: this.gate(), since_s: this.played_s };
    const isPatient = this.about.cued || this.seesClasses || this.played_s < PATIENCE_S;
    if (this.scoresMarkers && !isPatient) this.scoresMarkers = false;
    if (this.target && this.played_s >= this.target.closes_s) this.close(this.target.k);
    if (!this.target && !this.scoresMarkers && this.played_s >= this.next_s && this.left_s > GATE_S) this.open();
    if (Math.ceil(this.left_s) !== before) this.show();
    if (this.left_s === 0) this.end();
  }

  open() {
    this.target = { k: Math.floor(Math.random() * this.about.classes.length), closes_s: this.played_s + GATE_S };
    this.say(`Go to ${this.about.classes[this.target.k]}.`);
  }

  close(k) {
    this.target = null;
    this.next_s = this.played_s + PAUSE_S;
    if (this.scoresMarkers) return; // the marker is scored by its verdict
    const isHeld = this.played_s - this.at.since_s >= HOLD_S;
    const label = (isHeld && this.about.classes[this.at.gate]) || "none";
    this.say("");
    this.score(this.about.classes[k], label, label === this.about.classes[k]);
  }

  // -- words ---------------------------------------------------------------------------------------------------------

  say(text) { byId("game-words").textContent = text; }

  get n_correct() { return this.rounds.filter((round) => round.correct).length; }

  show() {
    const isRunning = this.phase === "playing" || this.phase === "countdown";
    const start = { ready: "Start", countdown: "Pause", playing: "Pause", paused: "Continue", over: "Play again" };
    const s = Math.ceil(this.left_s);
    this.section.classList.toggle("playing", isRunning);
    this.section.dataset.phase = this.phase;
    byId("hits").textContent = String(this.n_correct);
    byId("of").textContent = this.rounds.length ? ` of ${this.rounds.length}` : "";
    byId("start").textContent = start[this.phase];
    byId("clock").textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  }

  end() {
    this.phase = "over";
    this.target = null;
    this.result = this.summary();
    const { n, n_correct, n_none, accuracy, guessing } = this.result;
    const percent = (share) => `${Math.round(100 * share)} %`;
    const what = this.scoresMarkers ? "correct" : "gates reached";
    byId("result-big").textContent = n ? `${n_correct} of ${n} ${what}` : "Nothing to score";
    const rows = n
      ? [["Share", percent(accuracy)], ["Longest run", this.longest], ["At no gate", n_none], ["Guessing gets", percent(guessing)]]
      : [["Why", this.scoresMarkers ? "no true markers arrived" : "the game was shorter than a gate"]];
    byId("result-figures").replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("div");
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = String(value);
      row.append(dt, dd);
      return row;
    }));
    byId("save").hidden = !n;
    byId("results").hidden = false;
    byId("results").focus();
    this.say(n ? `Finished: ${n_correct} of ${n} ${what}.` : "Finished.");
    this.show();
  }

  summary() {
    const { service, bundle, trained_on, subject, classes } = this.about;
    const [n, n_correct] = [this.rounds.length, this.n_correct];
    return {
      date: new Date().toISOString(), service, bundle, bundle_trained_on: trained_on, subject, classes,
      length_s: Number(byId("length").value), scored_by: this.scoresMarkers ? "true markers" : "gates of the game",
      n, n_correct, n_none: this.rounds.filter(({ label }) => label === "none").length,
      accuracy: n ? n_correct / n : null, guessing: 1 / classes.length, longest_run: this.longest, rounds: this.rounds,
    };
  }

  // Download the result as JSON.
  save() {
    const link = document.createElement("a");
    const who = (this.result.subject || this.result.service || "player").replace(/[^\w.-]+/g, "_").slice(0, 40);
    link.download = `game-${who}-${this.result.date.slice(0, 19).replaceAll(":", "")}.json`;
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(this.result, null, 2)}\n`], { type: "application/json" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}
