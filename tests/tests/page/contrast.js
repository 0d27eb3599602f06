// Every visible text with its contrast by WCAG 2 (1.4.3): those below what their size needs.
const parse = (color) => {
  const found = /^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/.exec(color);
  if (!found) throw new Error(`not a colour: ${color}`);
  return found.slice(1, 4).map(Number).concat(found[4] === undefined ? 1 : Number(found[4]));
};
const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((value) => value / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ratio = (a, b) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
};
const ground = (node) => {
  const layers = [];
  for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
};
const low = [];
let checked = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let text = walker.nextNode(); text; text = walker.nextNode()) {
  const node = text.parentElement;
  if (!text.textContent.trim() || !node.checkVisibility({ visibilityProperty: true }) || node.closest("noscript, .unseen, .skip, title, defs")) continue;
  const style = getComputedStyle(node);
  const isSvg = node instanceof SVGElement;
  const color = parse(isSvg ? style.fill : style.color);
  const under = ground(isSvg ? node.ownerSVGElement.parentElement : node);
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  const got = ratio(over(color, under), under);
  checked += 1;
  if (got < needed) low.push(`${got.toFixed(2)} "${text.textContent.trim().slice(0, 40)}" ${node.tagName}.${node.getAttribute("class") ?? ""}`);
}
return { checked, low };
