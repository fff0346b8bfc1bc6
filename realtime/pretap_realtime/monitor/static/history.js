// True markers, verdicts and probabilities, below the traces and on the same axis.

import { Strip, axis, colour } from "./axis.js";

const LANE = 24; // CSS pixels
const MAX_ITEMS = 12_000; // half a minute of verdicts and decisions, and more

export class History {
  constructor(canvas) {
    this.strip = new Strip(canvas);
    this.reset([]);
  }

  reset(classes) {
    this.classes = classes;
    this.items = []; // everything to draw: [timestamp, function, CSS pixels that it needs to the right of the timestamp]
    this.fresh = []; // items that are not drawn yet
    this.last = null; // the last decision
    this.lastVerdict = null;
    this.lettered = -Infinity; // when a verdict last got a letter
    this.strip.stale = true;
  }

  keep(timestamp, paint, space = 2) {
    const item = [timestamp, paint, space];
    this.items.push(item);
    if (this.items.length > MAX_ITEMS) this.items.splice(0, MAX_ITEMS / 4);
    this.fresh.push(item);
    if (this.fresh.length > MAX_ITEMS) this.fresh.splice(0, MAX_ITEMS / 4);
  }

  decision(row) {
    const [timestamp, p] = row;
    const before = this.last && timestamp - this.last[0] < 0.7 && timestamp > this.last[0] ? this.last : null;
    const isValid = p.some((each) => each > 0);
    this.last = isValid ? row : null;
    if (isValid) this.keep(timestamp, () => this.paintDecision(row, before));
  }

  // Two classes share one line: the second is certain at the top, the first at the bottom.
  paintDecision([timestamp, p], before) {
    const { context: c, ratio, left } = this.strip;
    const x = this.strip.x(timestamp);
    if (x < left) return;
    const shown = p.length === 2 ? [1] : p.map((_, k) => k);
    for (const k of shown) {
      const y = this.y(p[k]);
      c.strokeStyle = c.fillStyle = p.length === 2 ? colour(`c${p[1] >= 0.5 ? 1 : 0}`) : colour(`c${k}`);
      c.lineWidth = 1.5 * ratio;
      const from = before && this.strip.x(before[0]);
      if (before && from >= left) {
        c.beginPath();
        c.moveTo(from, this.y(before[1][k]));
        c.lineTo(x, y);
        c.stroke();
      }
      const size = before && timestamp - before[0] < 0.2 ? 1 : 3;
      c.fillRect(x - size * ratio, y - size * ratio, 2 * size * ratio, 2 * size * ratio);
    }
  }

  y(p) {
    const top = (2 * LANE + 10) * this.strip.ratio;
    return top + (1 - p) * (this.strip.height - top - 8 * this.strip.ratio);
  }

  // A command, which games act on, is a tick across the whole height of the lane.
  verdict(timestamp, label, command) {
    const k = this.classes.indexOf(label);
    const before = this.lastVerdict;
    const near = before && timestamp - before.timestamp < 0.3 && timestamp > before.timestamp;
    const changed = !near || before.label !== label;
    this.lastVerdict = { timestamp, label };
    this.keep(timestamp, () => {
      const { context: c, ratio, left } = this.strip;
      const x = this.strip.x(timestamp);
      const from = near ? Math.max(left, this.strip.x(before.timestamp)) : x - 8 * ratio;
      if (x < left || from < left) return;
      c.fillStyle = k < 0 ? colour("grid") : colour(`c${k}`);
      c.fillRect(Math.floor(from), (LANE + 3) * ratio, Math.ceil(x - from) + 1, (k < 0 ? 4 : LANE - 6) * ratio);
      if (command) c.fillRect(Math.floor(x), LANE * ratio, 2 * ratio, LANE * ratio);
    });
    if (!changed || k < 0 || (timestamp > this.lettered && timestamp - this.lettered < 0.3)) return;
    this.lettered = timestamp;
    this.keep(timestamp, () => this.letter(label, timestamp, 2, 1.5, colour("panel")), 14);
  }

  marker(timestamp, label, starts) {
    const k = this.classes.indexOf(label);
    this.keep(timestamp, () => {
      const { context: c, ratio, left, height } = this.strip;
      const x = Math.round(this.strip.x(timestamp));
      if (x < left) return;
      c.fillStyle = k < 0 || starts ? colour("line") : colour(`c${k}`);
      c.fillRect(x, 0, Math.max(1, ratio), starts || k < 0 ? LANE * ratio : height);
    });
    if (k >= 0 && !starts) this.keep(timestamp, () => this.letter(label, timestamp, 3, 0.5, colour(`c${k}`)), 14);
  }

  judged({ t, correct, label }) {
    const isNone = !label || label === "none";
    const sign = correct ? "✓" : isNone ? "–" : "✗";
    const kind = correct ? "good" : isNone ? "quiet" : "fault";
    this.keep(t, () => this.letter(sign, t, 14, 0.5, colour(kind)), 28);
  }

  letter(label, timestamp, dx, lane, style) {
    const { context: c, ratio, left } = this.strip;
    const x = this.strip.x(timestamp) + dx * ratio;
    if (x < left) return;
    c.fillStyle = style;
    c.font = `bold ${12 * ratio}px system-ui, sans-serif`;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText(label.slice(0, 1).toUpperCase(), x, lane * LANE * ratio);
  }

  draw() {
    const edge = axis.edge();
    if (edge === null) return;
    const since = this.strip.advance(edge);
    this.grid(since);
    const perPx = this.strip.ratio / this.strip.pxPerS;
    if (since === null) {
      this.names();
      this.fresh = [...this.items].sort((a, b) => a[0] + a[2] * perPx - (b[0] + b[2] * perPx)); // in order of arrival
    }
    this.fresh = this.fresh.filter(([timestamp, paint, space]) => {
      if (timestamp + space * perPx > edge) return true;
      paint();
      return false;
    });
  }

  grid(since) {
    const { context: c, left, ratio, width } = this.strip;
    this.strip.seconds(since);
    const x = Math.max(left, since === null ? left : this.strip.x(since) - 1);
    c.fillRect(x, this.y(0.5), width - x, ratio);
  }

  names() {
    const { context: c, ratio } = this.strip;
    c.fillStyle = colour("quiet");
    c.font = `${11 * ratio}px system-ui, sans-serif`;
    c.textAlign = "left";
    c.textBaseline = "middle";
    c.fillText("true", 0, 0.5 * LANE * ratio);
    c.fillText("verdict", 0, 1.5 * LANE * ratio);
    const [bottom, top] = this.classes.length === 2 ? this.classes : ["p = 0", "p = 1"];
    const width = this.strip.left - 3 * ratio; // a longer name is condensed
    c.fillText(top, 0, this.y(1) + 5 * ratio, width);
    c.fillText(bottom, 0, this.y(0) - 5 * ratio, width);
  }
}
