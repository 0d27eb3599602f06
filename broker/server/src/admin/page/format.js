// Numbers, sizes and times as short text. Pure. What is not known is "–".

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const UNKNOWN = "–";

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

/** Three significant digits, without an exponent. */
function three(value) {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/** 1,234; from a million on 1.23 M. */
export function count(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value >= 1e9) return `${three(value / 1e9)} G`;
  if (value >= 1e6) return `${three(value / 1e6)} M`;
  return GROUPED.format(value);
}

/** Events per second: 0, 0.4, 12.5, 1,234, 56.7 k. */
export function rate(value) {
  if (!isKnown(value)) return UNKNOWN;
  if (value >= 1e6) return `${three(value / 1e6)} M`;
  if (value >= 1e4) return `${three(value / 1e3)} k`;
  if (value >= 100) return GROUPED.format(value);
  return value > 0 && value < 0.05 ? "<0.1" : String(Number(value.toFixed(1)));
}

/** 0 B, 1.5 KiB, 20 MiB. */
export function bytes(value) {
  if (!isKnown(value)) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${three(value)} ${units[unit]}`;
}

/** A short time from seconds: 85 µs, 1.2 ms, 3 s. */
export function latency(value) {
  if (value === Infinity) return ">10 s";
  if (!isKnown(value)) return UNKNOWN;
  if (value === 0) return "0";
  if (value < 1e-3) return `${three(value * 1e6)} µs`;
  if (value < 1) return `${three(value * 1e3)} ms`;
  return `${three(value)} s`;
}

/** A long time from seconds: 12 s, 3 min, 2 h 5 min, 4 d 3 h. */
export function duration(value) {
  if (!isKnown(value)) return UNKNOWN;
  const s = Math.floor(value);
  const pair = (a, b) => (b === "" ? a : `${a} ${b}`);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return pair(`${Math.floor(s / 3600)} h`, s % 3600 < 60 ? "" : `${Math.floor((s % 3600) / 60)} min`);
  return pair(`${Math.floor(s / 86400)} d`, s % 86400 < 3600 ? "" : `${Math.floor((s % 86400) / 3600)} h`);
}

/** The time of day, 24 hours. */
export function clock(milliseconds) {
  const date = new Date(milliseconds);
  const two = (value) => String(value).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** 1 event, 2 events. */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** At most so many characters. */
export function cut(text, most) {
  const characters = [...String(text)];
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most - 1).join("")}…`;
}
