// Filters of the display. They run on the page only: the decoder gets the signal as the amplifier sends it.
//
// Second-order sections from Robert Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients"
// (w3.org/TR/audio-eq-cookbook). A section is [b0, b1, b2, a1, a2], with a0 = 1.

const BUTTERWORTH = [0.541196100146197, 1.3065629648763766]; // Q of the two sections of a filter of fourth order
const NOTCH_Q = 30; // 1.7 Hz wide at 50 Hz
const OFFSET_HZ = 0.16; // a time constant of a second
const HIGHEST = 0.45; // of the sampling rate: what lies above cannot be filtered

function section(f_hz, sfreq_hz, alphaOf, numerator) {
  const w = (2 * Math.PI * f_hz) / sfreq_hz;
  const cos = Math.cos(w);
  const alpha = alphaOf(w);
  const a0 = 1 + alpha;
  return [...numerator(cos).map((b) => b / a0), (-2 * cos) / a0, (1 - alpha) / a0];
}

const butterworth = (f_hz, sfreq_hz, numerator) => BUTTERWORTH.map((q) =>
  section(f_hz, sfreq_hz, (w) => Math.sin(w) / (2 * q), numerator));
const low = (f_hz, sfreq_hz) => butterworth(f_hz, sfreq_hz, (cos) => [(1 - cos) / 2, 1 - cos, (1 - cos) / 2]);
const high = (f_hz, sfreq_hz) => butterworth(f_hz, sfreq_hz, (cos) => [(1 + cos) / 2, -1 - cos, (1 + cos) / 2]);
// As wide at any sampling rate; the cookbook's alpha, without the tangent, makes it narrower near half of the rate.
const notch = (f_hz, sfreq_hz) =>
  section(f_hz, sfreq_hz, (w) => Math.tan(w / (2 * NOTCH_Q)), (cos) => [1, -2 * cos, 1]);

// The first-order high-pass that removes the offset of a channel.
function offset(sfreq_hz) {
  const k = Math.tan((Math.PI * OFFSET_HZ) / sfreq_hz);
  return [1 / (1 + k), -1 / (1 + k), 0, (k - 1) / (k + 1), 0];
}

// Return the sections for a band [low edge, high edge] and a mains frequency, 0 for none of each.
export function design({ band, mains_hz }, sfreq_hz) {
  const [from_hz, to_hz] = band;
  const sections = from_hz ? high(from_hz, sfreq_hz) : [offset(sfreq_hz)];
  if (to_hz && to_hz < HIGHEST * sfreq_hz) sections.push(...low(to_hz, sfreq_hz));
  if (mains_hz && mains_hz < HIGHEST * sfreq_hz) sections.push(notch(mains_hz, sfreq_hz));
  return sections;
}

// The sections one after another, for channels that are filtered sample by sample.
export class Chain {
  constructor(sections, nChannels) {
    this.sections = sections;
    this.state = Array.from({ length: nChannels }, () => new Float64Array(2 * sections.length));
    this.isRunning = new Uint8Array(nChannels);
  }

  // Filter the next sample of a channel. After a NaN and at its start a channel begins as if its value had been constant.
  step(channel, x) {
    const z = this.state[channel];
    if (!Number.isFinite(x)) {
      this.isRunning[channel] = 0;
      return NaN;
    }
    if (!this.isRunning[channel]) this.settle(z, x);
    this.isRunning[channel] = 1;
    for (let k = 0; k < this.sections.length; k++) {
      const [b0, b1, b2, a1, a2] = this.sections[k];
      const y = b0 * x + z[2 * k];
      z[2 * k] = b1 * x - a1 * y + z[2 * k + 1];
      z[2 * k + 1] = b2 * x - a2 * y;
      x = y;
    }
    return x;
  }

  settle(z, x) {
    this.sections.forEach(([b0, b1, b2, a1, a2], k) => {
      const y = (x * (b0 + b1 + b2)) / (1 + a1 + a2);
      z[2 * k] = y - b0 * x;
      z[2 * k + 1] = b2 * x - a2 * y;
      x = y;
    });
  }
}
