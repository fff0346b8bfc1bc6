// The traces: minimum and maximum of every hundredth of a second, without the slow offset of the channel.

import { Strip, axis, colour } from "./axis.js";

const KEPT = 2000; // columns
const BASELINE = 0.01; // weight of a column in the running mean: a time constant of a second
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000];

export class Traces {
  constructor(canvas) {
    this.strip = new Strip(canvas);
    this.canvas = canvas;
    this.scale = "auto";
    this.reset([], "");
  }

  reset(channels, unit) {
    const n = channels.length;
    this.channels = channels;
    this.unit = unit;
    this.t = new Float64Array(KEPT);
    this.values = new Float32Array(KEPT * 2 * n);
    this.mean = new Float64Array(n).fill(NaN);
    this.n = 0; // columns so far
    this.drawn = 0;
    this.perRow = 50;
    this.bad = new Set();
    this.events = [];
    this.fresh = []; // events that are not drawn yet
    this.strip.stale = true;
  }

  // Add a binary frame of the server, see traces.py.
  append(buffer) {
    const head = new Uint32Array(buffer, 0, 4);
    const [columns, n] = head;
    if (n !== this.channels.length || buffer.byteLength !== 16 + columns * 8 * (1 + n)) return;
    const timestamps = new Float64Array(buffer, 16, columns);
    const values = new Float32Array(buffer, 16 + columns * 8, columns * 2 * n);
    for (let i = 0; i < columns; i++) {
      const at = this.n % KEPT;
      this.t[at] = timestamps[i];
      for (let c = 0; c < n; c++) {
        const low = values[i * 2 * n + c];
        const high = values[i * 2 * n + n + c];
        const middle = (low + high) / 2;
        if (Number.isFinite(middle)) {
          if (Number.isNaN(this.mean[c])) this.mean[c] = middle;
          else this.mean[c] += BASELINE * (middle - this.mean[c]);
        }
        this.values[at * 2 * n + c] = low - this.mean[c];
        this.values[at * 2 * n + n + c] = high - this.mean[c];
      }
      this.n += 1;
    }
    if (columns) axis.heard(timestamps[columns - 1]);
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

  setBad(names) {
    if (names.size === this.bad.size && [...names].every((each) => this.bad.has(each))) return;
    this.bad = names;
    this.strip.stale = true;
  }

  setScale(scale) {
    this.scale = scale;
    this.strip.stale = true;
  }

  // Choose a scale in which half of the channels fill their row, with some hysteresis.
  fit() {
    if (this.scale !== "auto") { this.perRow = Number(this.scale); return; }
    const n = this.channels.length;
    const spans = [];
    for (let c = 0; c < n; c++) {
      let low = Infinity, high = -Infinity;
      for (let i = Math.max(0, this.n - 300); i < this.n; i++) {
        const at = (i % KEPT) * 2 * n + c;
        if (this.values[at] < low) low = this.values[at];
        if (this.values[at + n] > high) high = this.values[at + n];
      }
      if (high > low) spans.push(high - low);
    }
    if (!spans.length) return;
    spans.sort((a, b) => a - b);
    const wanted = spans[spans.length >> 1] * 0.7;
    if (wanted > this.perRow * 1.1 || wanted < this.perRow / 3.5) {
      this.perRow = STEPS.find((step) => step >= wanted) ?? wanted;
      this.strip.stale = true;
    }
  }

  draw() {
    const edge = axis.edge();
    const n = this.channels.length;
    if (edge === null || !n) return;
    if (this.n - this.drawn > 0 && (this.fitted ?? 0) + 100 < this.n) { this.fit(); this.fitted = this.n; }
    const strip = this.strip;
    const since = strip.advance(edge);
    if (since === null) {
      this.names();
      this.drawn = Math.max(0, this.n - KEPT + 1);
      this.seconds(edge - 11 * axis.speed, edge);
      this.columns(edge);
      this.fresh = [...this.events];
    } else {
      this.seconds(since, edge);
      this.columns(edge);
    }
    this.lines(edge);
  }

  seconds(from, to) {
    const c = this.strip.context;
    c.fillStyle = colour("grid");
    for (let s = Math.ceil(from); s <= to; s++) {
      const x = Math.round(this.strip.x(s));
      if (x >= this.strip.left) c.fillRect(x, 0, 1, this.strip.height);
    }
  }

  names() {
    const { context: c, ratio, height } = this.strip;
    const n = this.channels.length;
    const row = height / n;
    const every = Math.max(1, Math.ceil((11 * ratio) / row));
    c.font = `${11 * ratio}px system-ui, sans-serif`;
    c.textBaseline = "middle";
    c.textAlign = "left";
    this.channels.forEach((name, k) => {
      if (k % every) return;
      c.fillStyle = colour(this.bad.has(k) ? "fault" : "quiet");
      c.fillText((this.bad.has(k) ? "× " : "") + name.slice(0, 7), 0, (k + 0.5) * row);
    });
  }

  columns(edge) {
    const { context: c, left, ratio, height } = this.strip;
    const n = this.channels.length;
    const row = height / n;
    const gain = row / this.perRow;
    const from = Math.max(this.drawn, this.n - KEPT + 1);
    let to = this.n;
    while (to > from && this.t[(to - 1) % KEPT] > edge) to -= 1;
    if (from >= to) return;
    const first = Math.max(from - 1, 0, this.n - KEPT + 1); // the previous column, to connect the line
    c.lineWidth = ratio;
    c.lineJoin = "round";
    c.save();
    c.beginPath();
    c.rect(left, 0, this.strip.width - left, height);
    c.clip();
    for (const isBad of [false, true]) {
      c.beginPath();
      for (let k = 0; k < n; k++) {
        if (this.bad.has(k) !== isBad) continue;
        let pen = false;
        let before = 0;
        const middle = (k + 0.5) * row;
        for (let i = first; i < to; i++) {
          const at = i % KEPT;
          const x = this.strip.x(this.t[at]);
          const low = this.values[at * 2 * n + k];
          const high = this.values[at * 2 * n + n + k];
          const isWhole = Number.isFinite(low) && Number.isFinite(high);
          if (x < left || !isWhole || this.t[at] - before > 0.1) pen = false;
          before = this.t[at];
          if (x < left || !isWhole) continue;
          const y = Math.min(height + 9, Math.max(-9, middle - low * gain));
          const z = Math.min(height + 9, Math.max(-9, middle - high * gain));
          if (pen) c.lineTo(x, y);
          else c.moveTo(x, y);
          c.lineTo(x, z);
          pen = true;
        }
      }
      c.strokeStyle = colour(isBad ? "fault" : "trace");
      c.stroke();
    }
    c.restore();
    this.drawn = to;
  }

  describe() {
    const n = this.channels.length;
    if (!n) return "Traces of the channels, none yet";
    return `Traces of ${n} channels, ten seconds, ${this.perRow} ${this.unit || "units"} a row`;
  }
}
