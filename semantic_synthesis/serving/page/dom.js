// Small helpers for the page's elements. Text goes in as text, never as markup.

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** The first element of a selector. @param {string} selector @returns {any} */
export const first = (selector) => document.querySelector(selector);

/** An element with properties, attributes (names with a dash), listeners ("onclick") and children. */
export function make(name, properties = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(name));
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

const ICONS = {
  brush: "M20 4 10 14M9 14c-3 0-4 2-4 4 0 1-1 2-2 2 1 1 3 1 4 1 3 0 5-2 5-4 0-2-1-3-3-3z",
  eraser: "m14 5 6 6-9 9H7l-4-4zM9 10l6 6M11 20h9",
  fill: "m11 4 8 8-7 7a2 2 0 0 1-3 0l-5-5a2 2 0 0 1 0-3zM4 12h14M20 16c1 2 2 3 2 4a2 2 0 0 1-4 0c0-1 1-2 2-4z",
  line: "M5 19 19 5M4 20h2v-2H4zM18 6h2V4h-2z",
  rectangle: "M4 6h16v12H4z",
  pick: "m14 6 4 4M16 4l4 4-3 3-5-5zM13 8l-8 8-1 4 4-1 8-8",
  move: "M12 3v18M3 12h18M12 3 9 6M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3",
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  redo: "m15 14 5-5-5-5M20 9H10a6 6 0 0 0 0 12h3",
  help: "M9 9a3 3 0 1 1 4 3c-1 .5-1 1-1 2M12 17.5v.1M12 2a10 10 0 1 0 0 20 10 10 0 0 0 0-20z",
  close: "M6 6l12 12M18 6 6 18",
  dice: "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM8.5 8.5v.1M15.5 8.5v.1M12 12v.1M8.5 15.5v.1M15.5 15.5v.1",
  lock: "M6 11h12v9H6zM8 11V8a4 4 0 0 1 8 0v3",
  find: "M10 4a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15 15l5 5",
  photo: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 8.5v.1",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawn = document.createElementNS(space, "svg");
  drawn.setAttribute("viewBox", "0 0 24 24");
  drawn.setAttribute("class", "drawn");
  drawn.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  drawn.append(path);
  return drawn;
}

/** Draws the icons that the markup asks for. */
export function drawIcons() {
  const asked = /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-icon]"));
  for (const element of asked) element.prepend(icon(element.dataset.icon));
}

/** A canvas of one colour. */
export function swatch([r, g, b]) {
  const canvas = make("canvas", { width: 1, height: 1, "aria-hidden": "true" });
  canvas.getContext("2d").fillStyle = `rgb(${r} ${g} ${b})`;
  canvas.getContext("2d").fillRect(0, 0, 1, 1);
  return canvas;
}

/** An image of bytes. */
export function image(bytes, alt) {
  const found = make("img", { alt, src: URL.createObjectURL(new Blob([bytes])) });
  const done = () => URL.revokeObjectURL(found.src);
  found.addEventListener("load", done);
  found.addEventListener("error", done);
  return found;
}

const MOST_NOTICES = 2;

/** Says something at the bottom of the page; what is wrong stays until it is closed. */
export function notify(text, wrong = false) {
  const box = byId("notices");
  for (const old of [...box.children]) if (/** @type {any} */ (old).dataset.text === text) old.remove();
  const notice = make("div", { className: wrong ? "notice wrong" : "notice" }, make("span", { textContent: text }));
  notice.dataset.text = text;
  const close = make(
    "button",
    { className: "icon", "aria-label": "Close", onclick: () => notice.remove() },
    icon("close"),
  );
  notice.append(close);
  box.append(notice);
  if (!wrong) setTimeout(() => notice.remove(), 5000);
  while (box.children.length > MOST_NOTICES) box.firstChild.remove();
}

/** Which button of a dialog is pressed: its value, "" where it is closed. */
export function answer(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }),
  );
}

/** Buttons of a toolbar: one tab stop, arrow keys inside. */
export function roving(toolbar) {
  toolbar.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = [...toolbar.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    buttons[(at + step + buttons.length) % buttons.length].focus();
    event.preventDefault();
    event.stopPropagation();
  });
}
