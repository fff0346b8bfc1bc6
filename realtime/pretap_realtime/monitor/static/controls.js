// The controls of the traces: window, scale, channels and filters. They change the picture only, never the decoder.

import { axis } from "./axis.js";

const byId = (id) => document.getElementById(id);

// Return the numbers of the channels that a text names, in the order of the stream, and the names that no channel has.
export function parseChannels(text, channels, electrodes) {
  const isNamed = (name, k) => [channels[k], electrodes[k]].some((each) => each?.toUpperCase() === name.toUpperCase());
  const isKnown = (name) => channels.some((_, k) => isNamed(name, k));
  const parts = text.split(/[,;]+/).map((part) => part.trim()).filter(Boolean);
  const wanted = parts.flatMap((part) => (isKnown(part) ? [part] : part.split(/\s+/))); // a name may have spaces
  return {
    found: channels.map((_, k) => k).filter((k) => wanted.some((name) => isNamed(name, k))),
    unknown: wanted.filter((name) => !isKnown(name)),
  };
}

// Return the numbers of the channels that the decoder uses.
export function channelsOfDecoder({ decoder, channels, electrodes }) {
  return parseChannels(decoder.join(","), channels, electrodes).found;
}

export class Controls {
  constructor({ signal, traces, rows, onChange }) {
    Object.assign(this, { signal, traces, rows, onChange });
    this.about = { channels: [], electrodes: [], decoder: [] };
    byId("seconds").addEventListener("change", () => { axis.seconds = Number(byId("seconds").value); onChange(); });
    byId("scale").addEventListener("change", () => traces.setScale(byId("scale").value));
    for (const [id, direction] of [["larger", -1], ["smaller", 1]]) byId(id).addEventListener("click", () => this.step(direction));
    for (const id of ["band", "mains"]) byId(id).addEventListener("change", () => this.filter());
    byId("which").addEventListener("change", () => {
      this.choose();
      if (byId("which").value === "chosen") byId("chosen").focus();
    });
    byId("chosen").addEventListener("input", () => this.choose());
  }

  // Show all channels of another stream. `about.decoder` names those that the decoder uses, if that is known.
  reset(about) {
    this.about = about;
    const { hasExtremes, rate_hz } = this.signal;
    for (const id of ["band", "mains"]) byId(id).disabled = hasExtremes;
    for (const option of byId("mains").options) option.disabled = Number(option.value) >= 0.45 * rate_hz;
    byId("filter-words").textContent = hasExtremes
      ? "This stream has too many samples for the page to filter."
      : "Filters change this picture only. The decoder gets the unfiltered signal.";
    this.choose();
  }

  step(direction) {
    const scale = String(this.traces.neighbour(direction));
    const select = byId("scale");
    if (![...select.options].some((option) => option.value === scale)) {
      select.add(new Option(`${scale} ${this.about.unit || ""}`, scale));
    }
    select.value = scale;
    this.traces.setScale(scale);
  }

  filter() {
    this.signal.setFilter({
      band: byId("band").value.split("-").map(Number),
      mains_hz: Number(byId("mains").value),
    });
    this.onChange();
  }

  choose() {
    const { channels, electrodes } = this.about;
    const which = byId("which");
    const ofDecoder = channelsOfDecoder(this.about);
    which.querySelector("[value=decoder]").disabled = !ofDecoder.length;
    if (which.value === "decoder" && !ofDecoder.length) which.value = "all";
    byId("chosen").hidden = which.value !== "chosen";
    const { found, unknown } = parseChannels(byId("chosen").value, channels, electrodes);
    const all = channels.map((_, k) => k);
    const shown = { all, decoder: ofDecoder, chosen: found.length ? found : all }[which.value];
    const isAsked = which.value === "chosen" && unknown.length > 0;
    byId("chosen-words").textContent = isAsked ? `No channel is called ${unknown.slice(0, 5).join(", ")}.` : "";
    this.traces.show(shown);
    this.rows.show(shown, channels);
    this.onChange();
  }

  // Add a channel to the chosen ones, or remove it.
  toggle(channel) {
    const { channels } = this.about;
    const isShown = this.traces.shown.includes(channel);
    const rest = this.traces.shown.filter((each) => each !== channel);
    const chosen = isShown ? rest : [...rest, channel];
    byId("which").value = "chosen";
    byId("chosen").value = chosen.map((each) => channels[each]).join(", ");
    this.choose();
  }
}
