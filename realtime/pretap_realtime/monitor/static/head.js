// The head map: a view from above, with an electrode for each channel whose position is known.

import { channelsOfDecoder } from "./controls.js";

const SVG = "http://www.w3.org/2000/svg";
const SPAN = 2.32; // of the map, in units of the head's radius: see its viewBox
const MAX_RADIUS = 0.13; // of an electrode
const EQUATOR = 0.8; // where the table of positions has Fpz, T7 and Oz
const SIZE = 0.6; // of the numbers, of the size of the labels
const MIN_LETTER_PX = 7.5; // smaller labels are left out; the map can be enlarged
const MAX_NAME = 5; // characters of a channel's name on the map; of a longer one it has the electrode's
const MAX_NAMED = 12; // in the text below the map

export function shape(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

const measure = document.createElement("canvas").getContext("2d");

// Return the width of a label, of the size of its letters.
function widthOf(label) {
  measure.font = "600 100px system-ui, sans-serif";
  return measure.measureText(label).width / 100;
}

// Return the places on a head whose edge is the equator, or lower if electrodes are.
function scaled(places) {
  const outermost = Math.max(EQUATOR, ...places.filter(Boolean).map(([x, y]) => Math.hypot(x, y)));
  return places.map((place) => place && place.map((each) => (0.93 * each) / outermost));
}

// Return the radius at which electrodes do not touch. Two channels at one place do not count.
function radius(places) {
  let nearest = Infinity;
  places.forEach(([x, y], k) => {
    for (const [u, v] of places.slice(k + 1)) {
      const distance = Math.hypot(x - u, y - v);
      if (distance > 0.01) nearest = Math.min(nearest, distance);
    }
  });
  return Math.min(MAX_RADIUS, 0.47 * nearest);
}

function listed(names) {
  const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "";
  return names.slice(0, MAX_NAMED).join(", ") + more;
}

export class Head {
  constructor(svg, summary, onClick) {
    this.svg = svg;
    this.summary = summary;
    this.onClick = onClick;
    this.reset({ channels: [], places: [], electrodes: [], decoder: [] });
    new ResizeObserver(() => this.fit()).observe(svg);
  }

  reset({ channels, places, electrodes, decoder }) {
    this.checked = new Set(channelsOfDecoder({ channels, electrodes, decoder })); // the service checks no others
    this.channels = channels;
    this.electrodes = electrodes;
    this.shapes = [];
    this.svg.replaceChildren();
    shape(this.svg, "circle", { class: "outline", cx: 0, cy: 0, r: 1 });
    shape(this.svg, "path", { class: "outline", d: "M-.13 -.99 L0 -1.15 L.13 -.99" });
    shape(this.svg, "path", { class: "outline", d: "M-.99 -.16 C-1.12 -.2 -1.12 .2 -.99 .16 M.99 -.16 C1.12 -.2 1.12 .2 .99 .16" });
    this.nameless = channels.filter((_, k) => !places[k]);
    const shown = scaled(places);
    const r = radius(shown.filter(Boolean));
    const names = channels.map((name, k) => (name.length > MAX_NAME ? electrodes[k] ?? name : name));
    const widest = Math.max(0, ...names.filter((_, k) => places[k]).map(widthOf));
    this.letter = Math.min(0.9 * r, (1.75 * r) / widest);
    shown.forEach((place, k) => {
      if (!place) return;
      const [x, y] = place;
      const group = shape(this.svg, "g", { class: "electrode" });
      shape(group, "title", {}, channels[k]);
      const circle = shape(group, "circle", { class: "electrode", cx: x, cy: -y, r });
      const label = shape(group, "text", { x, y: -y, "font-size": this.letter }, names[k]);
      const size = shape(group, "text", { class: "size", x, y: -y + 0.5 * r, "font-size": SIZE * this.letter });
      group.addEventListener("click", () => this.onClick(k));
      this.shapes.push({ k, circle, label, size });
    });
    this.fit();
  }

  // Leave out the labels if they would be too small to read.
  fit() {
    const letter_px = (this.letter * Math.min(this.svg.clientWidth, this.svg.clientHeight)) / SPAN;
    this.svg.classList.toggle("unlabelled", letter_px < MIN_LETTER_PX);
    this.svg.classList.toggle("sized", SIZE * letter_px >= MIN_LETTER_PX);
    const lift = SIZE * letter_px >= MIN_LETTER_PX ? 0.3 * this.letter : 0; // room for the number
    for (const { circle, label } of this.shapes) label.setAttribute("y", Number(circle.getAttribute("cy")) - lift);
  }

  // Show how large each channel was in the last second, on an enlarged map.
  measureWith(sizeOf) {
    for (const { k, size } of this.shapes) {
      const { text } = sizeOf(k);
      if (size.textContent !== text) size.textContent = text;
    }
  }

  // Show the bad channels and return their numbers; `known` is false if no service is checking them.
  show({ bad, quality, why }, known) {
    const names = new Set(bad.map((each) => each.toUpperCase()));
    const isBad = (k) => names.has(this.channels[k].toUpperCase()) || names.has(this.electrodes[k]);
    const isGood = (k) => this.checked.has(k) && quality > 0; // 0 if the stream as a whole is bad
    for (const { k, circle, label, size } of this.shapes) {
      const kind = known ? (isBad(k) ? "bad" : isGood(k) ? "good" : "") : "";
      circle.setAttribute("class", `electrode ${kind}`);
      label.setAttribute("class", kind);
      size.setAttribute("class", `size ${kind}`);
    }
    const n = this.checked.size;
    const n_others = this.channels.length - n;
    let message = "Not known: no service is checking them.";
    if (known && !this.channels.length) message = "No channels yet.";
    else if (known && bad.length) message = `Not good: ${bad.join(", ")}.`;
    else if (known && quality === 0) message = "The signal as a whole is not good.";
    else if (known && n && quality > 0) message = n_others ? `All ${n} that the decoder uses are good.` : `All ${n} are good.`;
    if (known && why && why !== message) message += ` ${why.replace(/[^.!?]$/, "$&.")}`;
    if (this.nameless.length) message += ` Not on the map: ${listed(this.nameless)}.`;
    if (this.summary.textContent !== message) this.summary.textContent = message;
    return new Set(known ? this.channels.map((_, k) => k).filter(isBad) : []);
  }
}
