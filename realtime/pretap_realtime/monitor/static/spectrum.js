// The spectrum of one channel: power from 0 to 60 Hz of the unfiltered signal.

import { shape } from "./head.js";

const SECONDS = 8; // of the newest signal
const SEGMENT_S = 2; // so that a point is half a hertz wide
const HIGHEST_HZ = 60;
const MIN_DB_SHOWN = 30;
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 8, 8, 34]; // CSS pixels around the plot

// Return the power density of samples, by Welch's method: Hann windows of two seconds that overlap by half, each without
// its mean. A window has a whole number of samples, so the frequencies are about 0.5 Hz apart. Null if there are less than
// two seconds.
export function welch(x, sfreq_hz) {
  const n = Math.round(SEGMENT_S * sfreq_hz);
  const nBins = Math.min(HIGHEST_HZ * SEGMENT_S, Math.ceil(n / 2) - 1) + 1;
  const window = Float64Array.from({ length: n }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / n));
  const weight = window.reduce((sum, each) => sum + each * each, 0);
  const cos = window.map((_, i) => Math.cos((2 * Math.PI * i) / n));
  const sin = window.map((_, i) => Math.sin((2 * Math.PI * i) / n));
  const power = new Float64Array(nBins);
  let nSegments = 0;
  for (let start = 0; start + n <= x.length; start += n >> 1) {
    let mean = 0;
    for (let i = 0; i < n; i++) mean += x[start + i] / n;
    const y = window.map((each, i) => each * (x[start + i] - mean));
    for (let k = 0; k < nBins; k++) {
      let re = 0, im = 0;
      for (let i = 0, at = 0; i < n; i++, at = (at + k) % n) {
        re += y[i] * cos[at];
        im += y[i] * sin[at];
      }
      power[k] += ((k ? 2 : 1) * (re * re + im * im)) / (weight * sfreq_hz);
    }
    nSegments += 1;
  }
  return nSegments ? { f_hz: power.map((_, k) => (k * sfreq_hz) / n), power: power.map((each) => each / nSegments) } : null;
}

export class Spectrum {
  constructor({ svg, words }) {
    this.svg = svg;
    this.words = words;
  }

  // Draw the spectrum of the newest samples of a channel.
  draw(signal, channel, unit) {
    const found = signal.hasExtremes ? null : welch(signal.newest(channel, SECONDS), signal.rate_hz);
    this.svg.replaceChildren();
    if (!found) {
      this.say(signal.hasExtremes
        ? "This stream has too many samples for the page, so it has no spectrum here."
        : "A spectrum needs two seconds without a gap or a NaN.");
      return;
    }
    const { f_hz, power } = found;
    const dB = [...power].map((each) => 10 * Math.log10(Math.max(each, 1e-12))).slice(1); // without the offset
    const top_dB = 10 * Math.ceil(Math.max(...dB) / 10);
    const bottom_dB = Math.min(top_dB - MIN_DB_SHOWN, 10 * Math.floor(Math.min(...dB) / 10));
    const { clientWidth: width, clientHeight: height } = this.svg;
    const x = (f) => LEFT + (f / HIGHEST_HZ) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((top_dB - value) / (top_dB - bottom_dB)) * (height - TOP - BOTTOM);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    for (let f = 0; f <= HIGHEST_HZ; f += 10) {
      shape(this.svg, "path", { class: "grid", d: `M${x(f)} ${TOP}V${height - BOTTOM}` });
      shape(this.svg, "text", { x: x(f), y: height - BOTTOM + 13, class: f < HIGHEST_HZ ? "middle" : "end" }, String(f));
    }
    const step_dB = top_dB - bottom_dB > 50 ? 20 : 10;
    for (let value = top_dB; value >= bottom_dB; value -= step_dB) {
      shape(this.svg, "path", { class: "grid", d: `M${LEFT} ${y(value)}H${width - RIGHT}` });
      shape(this.svg, "text", { x: LEFT - 5, y: y(value) + 4, class: "end" }, String(value));
    }
    shape(this.svg, "text", { x: (LEFT + width - RIGHT) / 2, y: height - 5, class: "middle" }, "frequency, Hz");
    const middle = TOP + (height - TOP - BOTTOM) / 2;
    shape(this.svg, "text", { x: 12, y: middle, class: "middle", transform: `rotate(-90 12 ${middle})` }, `dB re 1 ${unit || "unit"}²/Hz`);
    shape(this.svg, "path", { class: "line", d: dB.map((value, k) => `${k ? "L" : "M"}${x(f_hz[k + 1])} ${y(value)}`).join("") });
    const peak = dB.indexOf(Math.max(...dB)) + 1;
    this.say(`The unfiltered signal of the last ${SECONDS} s. Its power is highest at ${Number(f_hz[peak].toFixed(2))} Hz.`);
  }

  say(text) {
    if (this.words.textContent !== text) this.words.textContent = text;
  }
}
