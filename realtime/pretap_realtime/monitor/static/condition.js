// How well things are, in one word: it colours the state, and has a sign for those who do not see colours.

const SIGNS = { good: "✓", warn: "⚠", fault: "✕", unknown: "…" };
const OF_STATE = {
  RUNNING: "good", STALE: "warn", VALIDATING: "warn", LOST: "fault", REFUSED: "fault", SILENT: "fault", OFFLINE: "fault",
};

// Return the level, its sign, and words to add to the state. `isInvalid` tells that the newest decision is, and `error`
// that the latencies cannot be true. `quality` is the share of good electrodes, 0 if the stream as a whole is bad.
export function condition({ state, bad = [], quality = null, isInvalid = false, invalid = "", error = "" }) {
  const level = OF_STATE[state] ?? "unknown";
  if (level !== "good") return { level, sign: SIGNS[level], words: "" };
  if (isInvalid) return { level: "warn", sign: SIGNS.warn, words: `Decisions are invalid${invalid ? `: ${invalid}` : "."}` };
  if (bad.length) {
    const n = bad.length;
    return { level: "warn", sign: SIGNS.warn, words: n === 1 ? "One electrode is bad." : `${n} electrodes are bad.` };
  }
  if (quality !== null && quality < 1) return { level: "warn", sign: SIGNS.warn, words: "The signal is bad." };
  return { level: error ? "warn" : "good", sign: error ? SIGNS.warn : SIGNS.good, words: "" };
}
