// The names of the channels to the left of their traces, and the size of each to the right.

import { axis } from "./axis.js";

const LINE = 12; // CSS pixels of a line of text
const SIZE = 34; // CSS pixels of a number to the right
const MAX_ASIDE = 2; // names beside each other, if the rows are lower than a line
const MAX_SHARE = 0.36; // of the width, for the names
const MIN_LETTER = 6; // CSS pixels; a name of 40 characters on a phone
const MIN_LEFT = 52; // for the names of the lanes below

export class Rows {
  constructor(list, onClick) {
    this.list = list;
    this.onClick = onClick;
    this.measure = document.createElement("canvas").getContext("2d");
    this.items = new Map(); // by channel
    this.layout = "";
    new ResizeObserver(() => this.place()).observe(list);
  }

  // Show the names of these channels, from top to bottom.
  show(channels, names) {
    this.channels = channels;
    this.names = names;
    this.items.clear();
    this.list.replaceChildren(...channels.map((channel) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const size = document.createElement("span");
      button.type = "button";
      button.textContent = names[channel];
      button.title = `Spectrum of ${names[channel]}`;
      button.addEventListener("click", () => this.onClick(channel));
      item.append(button, size);
      this.items.set(channel, { item, button, size });
      return item;
    }));
    this.layout = "";
    this.place();
  }

  // Place the names so that none covers another, and make room for them: `axis.left` changes.
  place() {
    const { clientWidth: width, clientHeight: height } = this.list;
    if (!this.channels?.length || !width) return;
    const row = height / this.channels.length;
    const aside = Math.min(MAX_ASIDE, Math.max(1, Math.ceil(LINE / row)));
    const every = Math.max(1, Math.ceil(LINE / (row * aside)));
    this.measure.font = "11px system-ui, sans-serif";
    const widths = this.channels.map((channel) => this.measure.measureText(`× ${this.names[channel]}`).width);
    const room = (width * MAX_SHARE) / aside - 4;
    const column = Math.ceil(Math.min(Math.max(...widths), room)) + 4;
    const left = Math.max(MIN_LEFT, aside * column + 4);
    const layout = [width, height, aside, every, column].join();
    axis.left = left;
    if (layout === this.layout) return;
    this.layout = layout;
    this.channels.forEach((channel, k) => {
      const { item, button, size } = this.items.get(channel);
      const at = Math.floor(k / every);
      item.hidden = k % every > 0;
      item.style.top = `${(k + 0.5) * row}px`;
      button.style.fontSize = `${Math.max(MIN_LETTER, 11 * Math.min(1, room / widths[k]))}px`;
      button.style.left = `${(at % aside) * column}px`;
      size.style.right = `${(at % aside) * SIZE}px`;
    });
    this.list.closest("section").style.setProperty("--right", `${aside * SIZE + 4}px`); // of all that is on the axis
  }

  // Mark the bad channels and the one whose spectrum is shown.
  mark(bad, selected) {
    for (const [channel, { button }] of this.items) {
      const name = (bad.has(channel) ? "× " : "") + this.names[channel];
      if (button.textContent !== name) button.textContent = name;
      button.classList.toggle("bad", bad.has(channel));
      button.setAttribute("aria-pressed", String(channel === selected));
    }
  }

  // Show how large each channel was in the last second.
  measureWith(sizeOf) {
    for (const [channel, { size }] of this.items) {
      const { text, words } = sizeOf(channel);
      if (size.textContent === text) continue;
      size.textContent = text;
      size.title = `${this.names[channel]}: ${words}`;
    }
  }
}
