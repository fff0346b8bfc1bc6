// The common time axis: maps timestamps of the stream to pixels, with the newest at the right edge.

export const SECONDS = 10;
export const GUTTER = 52; // CSS pixels on the left, for channel names

const BEHIND_S = 0.06;

export const axis = {
  speed: 1,
  offset: null, // timestamp minus the page's clock times speed

  reset() { this.offset = null; },

  // Record that a timestamp has just arrived. The edge follows smoothly, and jumps only if the timestamps do.
  heard(timestamp) {
    if (!(Math.abs(timestamp) < 1e10)) return; // NaN, or so large that a loop over seconds would hang
    const offset = timestamp - (performance.now() / 1000) * this.speed;
    if (this.offset === null || Math.abs(offset - this.offset) > 0.5 * Math.max(1, this.speed)) this.offset = offset;
    else this.offset += 0.1 * (offset - this.offset);
  },

  // Return the timestamp at the right edge, slightly behind the newest one, so that its data have arrived.
  edge() { return this.offset === null ? null : this.offset + (performance.now() / 1000 - BEHIND_S) * this.speed; },
};

// A canvas that scrolls to the left; each frame draws only what is new.
export class Strip {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.stale = true; // everything has to be redrawn
    this.edgePx = 0;
    new ResizeObserver(() => this.fit()).observe(canvas);
    this.fit();
  }

  fit() {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * this.ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * this.ratio));
    if (width === this.canvas.width && height === this.canvas.height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.stale = true;
  }

  get left() { return Math.round(GUTTER * this.ratio); }
  get width() { return this.canvas.width; }
  get height() { return this.canvas.height; }
  get pxPerS() { return (this.width - this.left) / SECONDS; }

  x(timestamp) { return this.width - (this.edgePx - timestamp * this.pxPerS); }

  // Scroll to the new edge. Return the timestamp from which the strip is empty, or null if all of it is.
  advance(edge) {
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
    return edge - shift / this.pxPerS;
  }
}

const colours = new Map(); // a cache: reading a style for each stroke took half of a frame

export function forgetColours() { colours.clear(); }

export function colour(name) {
  if (!colours.has(name)) {
    colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return colours.get(name);
}
