// The feedback game: the probabilities push a ball, and true markers score its position.

import { colour } from "./axis.js";

const TAU_S = 0.15; // time constant of the smoothing
const DEAD = 0.1; // a ball closer to the middle than this is on neither side

const byId = (id) => document.getElementById(id);

export class Game {
  constructor() {
    this.section = byId("game");
    this.canvas = byId("field");
    this.context = this.canvas.getContext("2d");
    this.classes = [];
    this.phase = "ready"; // ready, playing, paused, over
    this.push = 0; // -1 the first class, 1 the second
    this.ball = 0; // its position on the screen
    this.levels = []; // [timestamp, push]
    this.target = null;
    this.flash = null; // {side, right, until}
    byId("start").addEventListener("click", () => this.toggle());
    byId("full").addEventListener("click", () => this.fullScreen());
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

  reset(classes) {
    this.classes = classes;
    this.levels = [];
    this.push = 0;
    this.lastTimestamp = null;
    if (classes.length > 0 && classes.length !== 2) this.say("The game is for two classes; this service has " + classes.length + ".");
  }

  ready() {
    this.phase = "ready";
    this.left_s = Number(byId("length").value);
    this.hits = this.n = this.streak = this.longest = this.none = 0;
    byId("results").hidden = true;
    this.section.classList.remove("playing");
    this.show();
  }

  toggle() {
    if (this.phase === "playing") return this.pause("Paused.");
    if (this.classes.length !== 2) return this.say("Waiting for a service with two classes.");
    if (this.phase === "over") this.ready();
    this.phase = "playing";
    this.section.classList.add("playing");
    this.say("");
    this.show();
  }

  pause(why) {
    if (this.phase !== "playing") return;
    this.phase = "paused";
    this.section.classList.remove("playing");
    this.say(why);
    this.show();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.section.requestFullscreen?.().catch(() => this.say("This browser does not allow full screen."));
  }

  decision([timestamp, p]) {
    if (p.length !== 2) return;
    const wanted = p[1] - p[0]; // all zero without a valid window: the ball rolls to the middle
    const dt = this.lastTimestamp === null ? 1 : Math.max(0, timestamp - this.lastTimestamp);
    this.lastTimestamp = timestamp;
    this.push += (1 - Math.exp(-dt / TAU_S)) * (wanted - this.push);
    this.levels.push([timestamp, this.push]);
    const side = this.side(this.push);
    if (side !== this.told) this.canvas.setAttribute("aria-label", `The ball is ${side < 0 ? "in the middle" : this.classes[side]}`);
    this.told = side;
    if (this.levels.length > 4000) this.levels.splice(0, 2000);
  }

  aim(label, timestamp) {
    this.target = this.classes.indexOf(label);
    this.aimed = timestamp;
  }

  // Score a true marker: was the ball on its side when the decoder had to decide?
  judged({ t, truth, lead }) {
    if (this.aimed <= t) this.target = null; // otherwise the next target has already been announced
    if (this.phase !== "playing") return;
    const wanted = t - lead + 0.006;
    let level = 0;
    for (const [timestamp, push] of this.levels) if (timestamp <= wanted && timestamp > wanted - 0.5) level = push;
    const side = this.side(level);
    const right = side === this.classes.indexOf(truth);
    this.n += 1;
    this.none += side < 0 ? 1 : 0;
    this.hits += right ? 1 : 0;
    this.streak = right ? this.streak + 1 : 0;
    this.longest = Math.max(this.longest, this.streak);
    this.flash = { side: this.classes.indexOf(truth), right, until: performance.now() + 450 };
    this.show();
  }

  side(push) { return Math.abs(push) < DEAD ? -1 : push > 0 ? 1 : 0; }

  say(text) { byId("game-words").textContent = text; }

  show() {
    byId("hits").textContent = String(this.hits);
    byId("of").textContent = this.n ? ` of ${this.n}` : "";
    byId("start").textContent = { ready: "Start", playing: "Pause", paused: "Continue", over: "Play again" }[this.phase];
    const s = Math.ceil(this.left_s);
    byId("clock").textContent = `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`;
  }

  end() {
    this.phase = "over";
    this.section.classList.remove("playing");
    const share = this.n ? Math.round((100 * this.hits) / this.n) : 0;
    byId("result-big").textContent = this.n ? `${this.hits} of ${this.n}` : "Nothing to score";
    const rows = this.n
      ? [["Right", `${share} %`], ["Longest run", this.longest], ["Ball in the middle", this.none], ["Guessing gets", "50 %"]]
      : [["Why", "no true markers arrived"]];
    byId("result-figures").replaceChildren(...rows.map(([name, value]) => {
      const row = document.createElement("div");
      const dt = document.createElement("dt");
      const dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = String(value);
      row.append(dt, dd);
      return row;
    }));
    byId("results").hidden = false;
    byId("results").focus();
    this.say(this.n ? `Finished: ${this.hits} of ${this.n} right.` : "Finished.");
    this.show();
  }

  draw(dt_s) {
    if (!this.visible) return;
    if (this.phase === "playing") {
      const before = Math.ceil(this.left_s);
      this.left_s = Math.max(0, this.left_s - dt_s);
      if (Math.ceil(this.left_s) !== before) this.show();
      if (this.left_s === 0) this.end();
    }
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height; }
    this.ball += (1 - Math.exp(-dt_s / 0.09)) * ((this.phase === "over" ? 0 : this.push) - this.ball);
    this.paint(width, height, ratio);
  }

  paint(width, height, ratio) {
    const c = this.context;
    c.clearRect(0, 0, width, height);
    const middle = height * 0.48;
    const half = Math.min(width * 0.42, 620 * ratio);
    const radius = Math.min(height * 0.06, width * 0.05);
    const reach = half - radius * 2.6;
    c.fillStyle = colour("grid");
    c.fillRect(width / 2 - reach, middle - 2 * ratio, 2 * reach, 4 * ratio);
    c.fillRect(width / 2 - ratio, middle - radius, 2 * ratio, 2 * radius);
    for (const side of [0, 1]) this.gate(side, width / 2 + (side ? half : -half), middle, radius, ratio);
    const x = width / 2 + this.ball * reach;
    const isOn = Math.abs(this.ball) >= DEAD;
    c.fillStyle = isOn ? colour(this.ball > 0 ? "c1" : "c0") : colour("quiet");
    c.beginPath();
    c.arc(x, middle, radius, 0, 2 * Math.PI);
    c.fill();
    c.fillStyle = "rgba(255, 255, 255, 0.28)";
    c.beginPath();
    c.arc(x - radius * 0.3, middle - radius * 0.32, radius * 0.3, 0, 2 * Math.PI);
    c.fill();
  }

  gate(side, x, middle, radius, ratio) {
    const c = this.context;
    const isTarget = this.target === side;
    const flash = this.flash && performance.now() < this.flash.until && this.flash.side === side ? this.flash : null;
    const h = radius * 2.6;
    c.fillStyle = c.strokeStyle = colour(`c${side}`);
    c.globalAlpha = flash ? (flash.right ? 0.85 : 0.3) : isTarget ? 0.4 : 0.12;
    c.beginPath();
    c.roundRect(x - radius * 0.8, middle - h, radius * 1.6, 2 * h, radius * 0.8);
    c.fill();
    c.globalAlpha = 1;
    c.lineWidth = (isTarget ? 4 : 2) * ratio;
    c.stroke();
    c.fillStyle = colour("ink");
    c.font = `600 ${Math.max(14 * ratio, radius * 0.5)}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.textBaseline = "top";
    c.fillText((this.classes[side] ?? "").slice(0, 10), x, middle + h + 10 * ratio);
    if (flash) c.fillText(flash.right ? "✓" : "✗", x, middle - h - radius);
  }
}
