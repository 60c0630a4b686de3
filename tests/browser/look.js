// What the tests ask of a page, run in it.

const rgb = (text) => {
  const found = text.match(/[\d.]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  return [found[0] * scale, found[1] * scale, found[2] * scale, found[3] ?? 1];
};

const luminance = ([r, g, b]) => {
  const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
};

const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};

const over = (top, below) => {
  const a = top[3];
  return [0, 1, 2].map((i) => top[i] * a + below[i] * (1 - a)).concat(1);
};

// What an element paints of itself.
const paint = (element) => {
  const style = getComputedStyle(element);
  if (element instanceof SVGElement) {
    if (element instanceof SVGSVGElement || element.tagName === "g" || style.fill === "none") return null;
    const colour = rgb(style.fill);
    return [...colour.slice(0, 3), colour[3] * style.fillOpacity];
  }
  return rgb(style.backgroundColor);
};

// What lies behind the middle of an element, put together from the bottom up.
const behind = (element) => {
  element.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
  const box = element.getBoundingClientRect();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const stack = document.elementsFromPoint(x, y).filter((e) => e !== element && e.tagName !== "text");
  return stack.reverse().reduce((below, e) => over(paint(e) ?? [0, 0, 0, 0], below), [255, 255, 255, 1]);
};

const shown = (element) => element.checkVisibility() && element.getBoundingClientRect().width > 1;

const words = (element) =>
  [...element.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim() !== "");

function contrasts() {
  const of = [...document.body.querySelectorAll("*")].filter(
    (e) => words(e) && e.tagName !== "title" && !e.closest(".hidden, .skip") && shown(e),
  );
  const all = of.map((e) => {
    const colour = rgb(e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color);
    const back = behind(e);
    return { text: e.textContent.trim().slice(0, 40), tag: e.tagName, back, colour, ratio: contrast(colour, back) };
  });
  all.sort((a, b) => a.ratio - b.ratio);
  return { count: all.length, least: all[0].ratio, worst: all.slice(0, 3) };
}

function charts() {
  return [...document.querySelectorAll("figure svg")].filter(shown).map((svg) => {
    const frame = svg.getBoundingClientRect();
    const card = svg.closest("figure").getBoundingClientRect();
    const marks = [...svg.querySelectorAll("path, rect, circle")].filter((e) => e.querySelector("title"));
    const surface = rgb(getComputedStyle(svg.closest("figure")).backgroundColor);
    const colour = (e) => paint(e) ?? [0, 0, 0, 0];
    const name = (e) => e.querySelector("title").textContent;
    return {
      name: svg.closest("figure").id,
      width: frame.width,
      height: frame.height,
      marks: marks.length,
      unseen: marks
        .filter((e) => {
          const box = e.getBoundingClientRect();
          return box.width <= 0 || box.height <= 0 || colour(e)[3] === 0;
        })
        .map(name),
      faint: marks.filter((e) => colour(e)[3] === 1 && contrast(colour(e), surface) < 3).map(name),
      outside: [...svg.querySelectorAll("text")]
        .filter((e) => {
          const box = e.getBoundingClientRect();
          return box.left < card.left || box.right > card.right;
        })
        .map((e) => e.textContent),
    };
  });
}

const told = (figure) =>
  [...document.querySelectorAll(`#${figure} svg`)]
    .filter(shown)
    .flatMap((svg) => [...svg.querySelectorAll("title")].map((t) => t.textContent));

const figures = (figure) =>
  [...document.querySelectorAll(`#${figure} table tr`)].map((row) =>
    [...row.children].map((cell, i) => (cell.className === "n" ? cell.textContent.replaceAll(",", "") : cell.textContent)),
  );

const focused = () => {
  const e = document.activeElement;
  return e.getAttribute("aria-label") ?? e.textContent.trim();
};
