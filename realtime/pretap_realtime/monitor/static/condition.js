// How well things are, in one word: it colours the state, and has a sign for those who do not see colours.

const SIGNS = { good: "✓", warn: "⚠", fault: "✕", unknown: "…" };
const OF_STATE = {
  RUNNING: "good", STALE: "warn", VALIDATING: "warn", LOST: "fault", REFUSED: "fault", SILENT: "fault", OFFLINE: "fault",
};

// Return the level, its sign, and words to add to the state. `isInvalid` tells that the newest decision is, and `error`
// that the latencies cannot be true.
export function condition({ state, bad = [], isInvalid = false, invalid = "", error = "" }) {
  const level = OF_STATE[state] ?? "unknown";
  if (level !== "good") return { level, sign: SIGNS[level], words: "" };
  if (isInvalid) return { level: "warn", sign: SIGNS.warn, words: `Decisions are invalid${invalid ? `: ${invalid}` : "."}` };
  if (bad.length) {
    const n = bad.length;
    return { level: "warn", sign: SIGNS.warn, words: n === 1 ? "One electrode is bad." : `${n} electrodes are bad.` };
  }
  return { level: error ? "warn" : "good", sign: error ? SIGNS.warn : SIGNS.good, words: "" };
}
