// The traces: the filtered signal of the chosen channels, each clipped to its own row.

import { Strip, axis, colour } from "./axis.js";

const STEPS = [1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 2000, 5000, 10_000, 100_000];
const FILLED = 0.85; // a larger trace is clipped, but seldom
const FIT_S = 3; // of the signal, from which the scale is chosen

export class Traces {
  constructor(canvas, signal) {
    this.strip = new Strip(canvas);
    this.signal = signal;
    this.scale = "auto";
    this.reset([], "");
  }

  reset(channels, unit) {
    this.channels = channels;
    this.unit = unit;
    this.shown = channels.map((_, k) => k); // the channel of each row
    this.drawn = 0; // columns
    this.fitted = 0;
    this.perRow = 50;
    this.bad = new Set();
    this.events = [];
    this.fresh = []; // events that are not drawn yet
    this.strip.stale = true;
  }

  mark(timestamp, kind) {
    this.events.push({ timestamp, kind });
    if (this.events.length > 200) this.events.shift();
    this.fresh.push({ timestamp, kind });
    if (this.fresh.length > 200) this.fresh.shift();
  }

  // Draw the lines of events that the edge has passed.
  lines(edge) {
    const passed = edge - (2 * this.strip.ratio) / this.strip.pxPerS;
    this.fresh = this.fresh.filter(({ timestamp, kind }) => {
      if (timestamp > passed) return true;
      this.line(timestamp, kind);
      return false;
    });
  }

  line(timestamp, kind) {
    const x = this.strip.x(timestamp);
    if (x < this.strip.left) return;
    const c = this.strip.context;
    c.globalAlpha = 0.55;
    c.fillStyle = colour(kind);
    c.fillRect(Math.round(x), 0, Math.max(1, Math.round(this.strip.ratio)), this.strip.height);
    c.globalAlpha = 1;
  }

  setBad(channels) {
    if (channels.size === this.bad.size && [...channels].every((each) => this.bad.has(each))) return;
    this.bad = channels;
    this.strip.stale = true;
  }

  show(channels) {
    this.shown = channels;
    this.fit();
    this.strip.stale = true;
  }

  setScale(scale) {
    this.scale = scale;
    this.fit();
    this.strip.stale = true;
  }

  // Return the next smaller or larger scale.
  neighbour(direction) {
    const at = STEPS.findIndex((step) => step >= this.perRow);
    return STEPS[Math.min(STEPS.length - 1, Math.max(0, at + direction))];
  }

  // Choose a scale in which four of five good channels fit into their row, with some hysteresis.
  fit() {
    if (this.scale !== "auto") { this.perRow = Number(this.scale); return; }
    const { signal } = this;
    const n = signal.nChannels;
    const spans = [];
    const last = Math.max(0, signal.nColumns - signal.nKept, signal.nColumns - Math.round((FIT_S * signal.rate_hz) / signal.perColumn));
    for (const channel of this.shown) {
      let low = Infinity, high = -Infinity;
      for (let i = last; i < signal.nColumns; i++) {
        const at = (i % signal.nKept) * 2 * n + channel;
        if (signal.columns[at] < low) low = signal.columns[at];
        if (signal.columns[at + n] > high) high = signal.columns[at + n];
      }
      if (high > low) spans.push({ isBad: this.bad.has(channel), span: 2 * Math.max(high, -low) });
    }
    const good = spans.filter(({ isBad }) => !isBad);
    const sorted = (good.length ? good : spans).map(({ span }) => span).sort((a, b) => a - b);
    if (!sorted.length) return;
    const wanted = FILLED * sorted[Math.floor(0.8 * (sorted.length - 1))];
    if (wanted > this.perRow * 1.1 || wanted < this.perRow / 3) {
      this.perRow = STEPS.find((step) => step >= wanted) ?? wanted;
      this.strip.stale = true;
    }
  }

  draw() {
    const edge = axis.edge();
    const { signal, strip } = this;
    if (edge === null || !this.shown.length) {
      strip.stale = true;
      strip.advance(0);
      return;
    }
    if (strip.isResized) strip.fit();
    signal.setResolution(strip.pxPerS / strip.ratio);
    if (signal.nColumns < this.drawn) strip.stale = true; // it was filtered again
    if (axis.held === null && Math.abs(signal.n - this.fitted) > signal.rate_hz) { this.fit(); this.fitted = signal.n; }
    const since = strip.advance(edge);
    strip.seconds(since);
    if (since === null) {
      this.drawn = Math.max(0, signal.nColumns - signal.nKept + 1);
      this.fresh = [...this.events];
    }
    this.columns(edge);
    this.lines(edge);
  }

  columns(edge) {
    const { signal, shown } = this;
    const { context: c, left, ratio, height } = this.strip;
    const { columnT, nKept } = signal;
    let to = signal.nColumns;
    while (to > this.drawn && columnT[(to - 1) % nKept] > edge) to -= 1;
    if (this.drawn >= to) return;
    const first = Math.max(this.drawn - 1, 0, signal.nColumns - nKept); // the previous column, to connect the line
    const row = height / shown.length;
    c.save();
    c.beginPath();
    c.rect(left, 0, this.strip.width - left, height);
    c.clip();
    c.lineWidth = Math.min(ratio, row / 2);
    c.lineJoin = "bevel"; // a mitred corner would leave the row
    for (const isBad of [false, true]) {
      c.beginPath();
      shown.forEach((channel, k) => {
        if (this.bad.has(channel) === isBad) this.trace(channel, k * row, row, first, to);
      });
      c.strokeStyle = colour(isBad ? "fault" : "trace");
      c.stroke();
    }
    c.restore();
    this.drawn = to;
  }

  // Add the columns of a channel to the path, clipped to its row.
  trace(channel, top, row, first, to) {
    const { signal } = this;
    const { context: c, left } = this.strip;
    const n = signal.nChannels;
    const margin = c.lineWidth / 2 + 0.5;
    const gain = row / this.perRow;
    const y = (value) => Math.min(top + row - margin, Math.max(top + margin, top + row / 2 - value * gain));
    const gap_s = Math.max(0.1, (2.5 * signal.perColumn) / signal.rate_hz);
    let pen = false;
    let before = 0;
    for (let i = first; i < to; i++) {
      const at = i % signal.nKept;
      const t = signal.columnT[at];
      const x = this.strip.x(t);
      const low = signal.columns[at * 2 * n + channel];
      const high = signal.columns[(at * 2 + 1) * n + channel];
      const isWhole = Number.isFinite(low) && Number.isFinite(high);
      if (x < left || !isWhole || t - before > gap_s) pen = false;
      before = t;
      if (x < left || !isWhole) continue;
      if (pen) c.lineTo(x, y(low));
      else c.moveTo(x, y(low));
      c.lineTo(x, y(high));
      pen = true;
    }
  }

  describe() {
    const n = this.shown.length;
    if (!n) return "Traces of the channels, none yet";
    return `Traces of ${n} channels, ${axis.seconds} seconds, ${this.perRow} ${this.unit || "units"} a row`;
  }
}
