// The signal: the samples of the last minute, and the filtered columns (lowest and highest value) that are drawn.

import { axis } from "./axis.js";
import { Chain, design } from "./filters.js";

const KEPT_S = 61; // half a minute is shown, and a frozen picture can be drawn again for as long
const SILENT_MS = 1500;
const NO_FILTER = { band: [0, 0], mains_hz: 0 };

export class Signal {
  constructor() {
    this.filter = NO_FILTER;
    this.columnsPerS = 100;
    this.reset(0, 0);
  }

  // Start with no samples. `rate_hz` is that of the frames: of samples, or of columns if `hasExtremes`.
  reset(nChannels, sfreq_hz, rate_hz = sfreq_hz) {
    this.nChannels = nChannels;
    this.rate_hz = rate_hz > 0 ? rate_hz : 100;
    this.hasExtremes = rate_hz < sfreq_hz; // too many samples for a page: it gets their extremes
    this.perSample = nChannels * (this.hasExtremes ? 2 : 1);
    this.size = Math.ceil(KEPT_S * this.rate_hz);
    this.t = new Float64Array(this.size);
    this.values = new Float32Array(this.size * this.perSample);
    this.n = 0; // samples so far
    this.restart();
  }

  // Add a binary frame of the server, see traces.py.
  append(buffer) {
    const [nSamples, nChannels, , perValue] = new Uint32Array(buffer, 0, 4);
    const width = nChannels * perValue;
    if (width !== this.perSample || buffer.byteLength !== 16 + nSamples * (8 + 4 * width)) return;
    const timestamps = new Float64Array(buffer, 16, nSamples);
    const values = new Float32Array(buffer, 16 + nSamples * 8, nSamples * width);
    for (let i = 0; i < nSamples; i++) {
      const at = this.n % this.size;
      this.t[at] = timestamps[i];
      this.values.set(values.subarray(i * width, (i + 1) * width), at * width);
      this.n += 1;
      this.process(at);
    }
    if (!nSamples) return;
    axis.heard(timestamps[nSamples - 1]);
    this.heard_ms = performance.now();
  }

  // Whether samples have stopped coming.
  get isSilent() { return this.n > 0 && performance.now() - this.heard_ms > SILENT_MS; }

  // Filter the kept samples again, with another filter or into columns of another width.
  restart() {
    const n = this.nChannels;
    this.chain = new Chain(design(this.hasExtremes ? NO_FILTER : this.filter, this.rate_hz), n);
    this.perColumn = Math.max(1, Math.floor(this.rate_hz / this.columnsPerS));
    this.nKept = Math.ceil(this.size / this.perColumn) + 1;
    this.columnT = new Float64Array(this.nKept);
    this.columns = new Float32Array(this.nKept * 2 * n); // for each column the lows, then the highs
    this.nColumns = 0; // so far
    this.inColumn = 0; // samples in the column that is not complete yet
    this.low = new Float64Array(n).fill(Infinity);
    this.high = new Float64Array(n).fill(-Infinity);
    this.second = new Second(n);
    this.lastSecond = null;
    for (let i = Math.max(0, this.n - this.size); i < this.n; i++) this.process(i % this.size);
  }

  setFilter(filter) {
    this.filter = filter;
    this.restart();
  }

  // Choose the width of the columns, about a pixel.
  setResolution(columnsPerS) {
    this.columnsPerS = columnsPerS;
    if (Math.max(1, Math.floor(this.rate_hz / columnsPerS)) !== this.perColumn) this.restart();
  }

  process(at) {
    const n = this.nChannels;
    for (let c = 0; c < n; c++) {
      const x = this.values[at * this.perSample + c];
      let low = NaN;
      let high = NaN;
      if (this.hasExtremes) {
        const z = this.values[at * this.perSample + n + c];
        const middle = (x + z) / 2;
        const offset = middle - this.chain.step(c, middle);
        low = x - offset;
        high = z - offset;
      } else low = high = this.chain.step(c, x);
      if (low < this.low[c] || Number.isNaN(low)) this.low[c] = low; // a column with a NaN stays NaN
      if (high > this.high[c] || Number.isNaN(high)) this.high[c] = high;
      this.second.add(c, low, high);
    }
    this.inColumn += 1;
    if (this.inColumn === this.perColumn) this.endColumn(this.t[at]);
    if (this.second.end() >= this.rate_hz) {
      this.lastSecond = this.second;
      this.second = new Second(n);
    }
  }

  endColumn(t) {
    const at = this.nColumns % this.nKept;
    this.columnT[at] = t;
    this.columns.set(this.low, at * 2 * this.nChannels);
    this.columns.set(this.high, (at * 2 + 1) * this.nChannels);
    this.low.fill(Infinity);
    this.high.fill(-Infinity);
    this.inColumn = 0;
    this.nColumns += 1;
  }

  // Return the newest samples of a channel as they came, at most `seconds` of them, up to the last gap or NaN.
  newest(channel, seconds) {
    const n = Math.min(this.n, this.size, Math.round(seconds * this.rate_hz));
    const x = [];
    for (let i = this.n - 1; i >= this.n - n; i--) {
      const value = this.values[(i % this.size) * this.perSample + channel];
      const isApart = x.length && this.t[(i + 1) % this.size] - this.t[i % this.size] > 2.5 / this.rate_hz + 0.02;
      if (!Number.isFinite(value) || isApart) break;
      x.push(value);
    }
    return x.reverse();
  }
}

// How large each channel is in a second.
class Second {
  constructor(nChannels) {
    this.n = 0;
    this.sum = new Float64Array(nChannels);
    this.squares = new Float64Array(nChannels);
    this.low = new Float64Array(nChannels).fill(Infinity);
    this.high = new Float64Array(nChannels).fill(-Infinity);
  }

  add(channel, low, high) {
    this.sum[channel] += low;
    this.squares[channel] += low * low;
    if (low < this.low[channel] || Number.isNaN(low)) this.low[channel] = low;
    if (high > this.high[channel] || Number.isNaN(high)) this.high[channel] = high;
  }

  // Count a sample of all channels, and return how many there are.
  end() { return (this.n += 1); }

  rms(channel) {
    const mean = this.sum[channel] / this.n;
    return Math.sqrt(Math.max(0, this.squares[channel] / this.n - mean * mean));
  }

  peakToPeak(channel) { return this.high[channel] - this.low[channel]; }
}
