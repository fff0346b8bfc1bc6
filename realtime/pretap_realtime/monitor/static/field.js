// The field of the game: a gate for each class, on an ellipse, and the ball between them.

import { colour } from "./axis.js";

const FLASH_MS = 700;
const TAU_S = 0.09; // of the ball on the screen

export class Field {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.reset([]);
  }

  // Two gates are left and right; the first of three and more is at the upper left, and the others follow clockwise.
  // Whatever the order of the classes, the gate called left is not to the right of the one called right.
  reset(classes) {
    this.classes = classes;
    this.directions = classes.map((_, k) => {
      const angle = Math.PI * (0.5 + (1 - 2 * k) / classes.length);
      return [Math.cos(angle), -Math.sin(angle)];
    });
    const [left, right] = ["left", "right"].map((name) => classes.indexOf(name));
    if (left >= 0 && right >= 0 && this.directions[left][0] > this.directions[right][0]) {
      [this.directions[left], this.directions[right]] = [this.directions[right], this.directions[left]];
    }
    this.ball = [0, 0];
    this.flashed = null; // {k, correct, until}
  }

  flash(k, correct) { this.flashed = { k, correct, until: performance.now() + FLASH_MS }; }

  // Return where probabilities push the ball: 1 is the gate of a class that is certain.
  position(p) {
    return [0, 1].map((axis) => this.directions.reduce((sum, each, k) => sum + each[axis] * (p[k] ?? 0), 0));
  }

  distance(p) { return Math.hypot(...this.position(p)); }

  draw(p, { dt_s, target, gate, big }) {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const { canvas, context: c } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((each) => Math.round(each * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const share = 1 - Math.exp(-dt_s / TAU_S);
    this.ball = this.position(p).map((each, axis) => this.ball[axis] + share * (each - this.ball[axis]));
    const centre = [width / 2, height * 0.47];
    const radius = Math.min(height * 0.055, width * 0.05);
    const halves = [Math.min(width * 0.42, 620 * ratio), height * 0.25];
    const at = ([x, y], scale) => [centre[0] + x * scale * halves[0], centre[1] + y * scale * halves[1]];
    const reach = 1 - (2.6 * radius) / halves[0];
    c.clearRect(0, 0, width, height);
    c.strokeStyle = colour("grid");
    c.lineWidth = 4 * ratio;
    for (const direction of this.directions) {
      c.beginPath();
      c.moveTo(...centre);
      c.lineTo(...at(direction, reach));
      c.stroke();
    }
    this.directions.forEach((direction, k) => this.gate(k, at(direction, 1), { radius, ratio, isTarget: target === k }));
    c.fillStyle = gate < 0 ? colour("quiet") : colour(`c${gate}`);
    this.disc(at(this.ball, reach), radius);
    c.fillStyle = "rgba(255, 255, 255, 0.28)";
    const [x, y] = at(this.ball, reach);
    this.disc([x - radius * 0.3, y - radius * 0.32], radius * 0.3);
    if (big) this.letters(String(big), centre[0], centre[1] - 3 * radius, 4 * radius);
  }

  gate(k, [x, y], { radius, ratio, isTarget }) {
    const c = this.context;
    const flash = this.flashed?.k === k && performance.now() < this.flashed.until ? this.flashed : null;
    const h = radius * (this.classes.length === 2 ? 2.6 : 1.4);
    c.fillStyle = c.strokeStyle = colour(`c${k}`);
    c.globalAlpha = flash ? (flash.correct ? 0.85 : 0.3) : isTarget ? 0.45 : 0.12;
    c.beginPath();
    c.roundRect(x - radius * 0.8, y - h, radius * 1.6, 2 * h, radius * 0.8);
    c.fill();
    c.globalAlpha = 1;
    c.lineWidth = (isTarget ? 5 : 2) * ratio;
    c.stroke();
    const { size, half } = this.fit(this.classes[k], Math.max(14 * ratio, radius * 0.5));
    this.letters(this.classes[k], Math.min(Math.max(x, half), this.canvas.width - half), y + h + size, size);
    if (flash) this.letters(flash.correct ? "✓" : "✗", x, y - h - radius * 0.5, radius * 0.7);
  }

  // Return the size of letters at which a text takes at most 40 % of the width, and half of what it takes.
  fit(text, size) {
    this.context.font = `600 ${size}px system-ui, sans-serif`;
    const width = this.context.measureText(text).width;
    const share = Math.min(1, (0.4 * this.canvas.width) / width);
    return { size: share * size, half: (share * width + size) / 2 };
  }

  letters(text, x, y, size) {
    const c = this.context;
    c.fillStyle = colour("ink");
    c.font = `600 ${size}px system-ui, sans-serif`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.fillText(text, x, y);
  }

  disc([x, y], radius) {
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 2 * Math.PI);
    this.context.fill();
  }
}
