// The common time axis: maps timestamps of the stream to pixels, with the newest at the right edge.

const BEHIND_S = 0.06;

export const axis = {
  speed: 1,
  seconds: 10, // shown
  left: 52, // CSS pixels, for the names of channels and lanes
  offset: null, // timestamp minus the page's clock times speed
  held: null, // the edge of a frozen picture

  reset() { this.offset = this.held = null; },

  // Hold the edge where it is, or let it go on.
  hold(isHeld) { this.held = isHeld ? this.edge() : null; },

  // Record that a timestamp has just arrived. The edge follows smoothly, and jumps only if the timestamps do.
  heard(timestamp) {
    if (!(Math.abs(timestamp) < 1e10)) return; // NaN, or so large that a loop over seconds would hang
    const offset = timestamp - (performance.now() / 1000) * this.speed;
    if (this.offset === null || Math.abs(offset - this.offset) > 0.5 * Math.max(1, this.speed)) this.offset = offset;
    else this.offset += 0.1 * (offset - this.offset);
  },

  // Return the timestamp at the right edge, slightly behind the newest one, so that its data have arrived.
  edge() {
    if (this.held !== null || this.offset === null) return this.held;
    return this.offset + (performance.now() / 1000 - BEHIND_S) * this.speed;
  },
};

// A canvas that scrolls to the left; each frame draws only what is new.
export class Strip {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.stale = true; // everything has to be redrawn
    this.edgePx = 0;
    this.isResized = true;
    new ResizeObserver(() => { this.isResized = true; }).observe(canvas);
    this.fit();
  }

  // Adopt a new size. This erases the canvas, so it is done when the next frame is drawn.
  fit() {
    this.isResized = false;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.stale = true;
  }

  get left() { return Math.round(axis.left * this.ratio); }
  get width() { return this.canvas.width; }
  get height() { return this.canvas.height; }
  get pxPerS() { return (this.width - this.left) / axis.seconds; }

  x(timestamp) { return this.width - (this.edgePx - timestamp * this.pxPerS); }

  // Scroll to the new edge. Return the timestamp from which the strip is empty, or null if all of it is.
  advance(edge) {
    if (this.isResized) this.fit();
    const target = Math.floor(edge * this.pxPerS);
    const shift = target - this.edgePx;
    const plot = this.width - this.left;
    if (this.stale || shift < 0 || shift >= plot) {
      this.edgePx = target;
      this.stale = false;
      this.context.clearRect(0, 0, this.width, this.height);
      return null;
    }
    if (shift > 0) {
      const c = this.context;
      c.globalCompositeOperation = "copy"; // replaces the old pixels instead of blending
      c.save();
      c.beginPath();
      c.rect(this.left, 0, plot, this.height);
      c.clip();
      c.drawImage(this.canvas, this.left + shift, 0, plot - shift, this.height, this.left, 0, plot - shift, this.height);
      c.restore();
      c.globalCompositeOperation = "source-over";
      c.clearRect(this.width - shift, 0, shift, this.height);
    }
    this.edgePx = target;
    return (target - shift) / this.pxPerS;
  }

  // Draw a line at each whole second after `since`, null for all of the strip.
  seconds(since) {
    const c = this.context;
    const to = this.edgePx / this.pxPerS;
    c.fillStyle = colour("grid");
    for (let s = Math.floor(since ?? to - axis.seconds) + 1; s <= to; s++) {
      const x = Math.ceil(this.x(s)) - 1; // the last pixel for the edge itself
      if (x >= this.left) c.fillRect(x, 0, 1, this.height);
    }
  }
}

const SPACE = 64; // CSS pixels from one label of the time axis to the next
const STEPS_S = [0.2, 0.5, 1, 2, 5, 10, 20];

// The labels below the traces: seconds on the stream's clock, as the list of events has them.
export class TimeAxis {
  constructor(canvas) { this.strip = new Strip(canvas); }

  draw() {
    const edge = axis.edge();
    if (edge === null) return;
    const { strip } = this;
    const { context: c, ratio } = strip;
    strip.stale = true; // a few labels are cheaper to draw than to scroll
    strip.advance(edge);
    c.font = `${11 * ratio}px system-ui, sans-serif`;
    c.textBaseline = "middle";
    c.fillStyle = colour("quiet");
    const y = strip.height / 2 + 2 * ratio;
    c.textAlign = "left";
    c.fillText("time, s", 0, y);
    c.textAlign = "center";
    const step = STEPS_S.find((each) => each * strip.pxPerS >= SPACE * ratio) ?? 30;
    const digits = step < 1 ? 1 : 0;
    const words = `Seconds ${Math.ceil(edge - axis.seconds)} to ${Math.floor(edge)} on the stream's clock`;
    if (strip.canvas.getAttribute("aria-label") !== words) strip.canvas.setAttribute("aria-label", words);
    for (let n = Math.ceil((edge - axis.seconds) / step); n * step <= edge; n++) {
      const label = (n * step).toFixed(digits);
      const half = c.measureText(label).width / 2;
      const x = strip.x(n * step);
      if (x - half < strip.left || x + half > strip.width - 10 * ratio) continue;
      c.fillRect(Math.round(x), 0, Math.max(1, Math.round(ratio)), 4 * ratio);
      c.fillText(label, x, y);
    }
  }
}

const COLOURS = 8; // of classes
const colours = new Map(); // a cache: reading a style for each stroke took half of a frame

export function forgetColours() { colours.clear(); }

export function classColour(k) { return k % COLOURS; }

export function colour(name) {
  if (!colours.has(name)) {
    const variable = /^c\d+$/.test(name) ? `c${classColour(Number(name.slice(1)))}` : name;
    colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim());
  }
  return colours.get(name);
}
