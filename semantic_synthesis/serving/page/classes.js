// The list of classes: names first, search, lock, highlight.
import { byId, icon, make, swatch } from "./dom.js";

/** handlers: select(classId), lock(classId) -> whether locked now, highlight(classId) -> whether highlighted now. */
export class ClassList {
  constructor(handlers) {
    this.handlers = handlers;
    this.rows = [];
    byId("search").addEventListener("input", () => this.filter());
    byId("search").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.takeFirst();
      if (event.key === "Escape") this.endSearch();
    });
  }

  /** classes: of the model; colors: as displayed; chosen: class id; locked: Set. */
  show(classes, colors, chosen, locked) {
    const list = byId("classes");
    for (const row of this.rows) row.remove();
    this.rows = classes.map((one, id) => this.row(one, id, colors[id], locked.has(id)));
    list.append(...this.rows);
    byId("class-title").textContent = classes.length > 1 ? `${classes.length} classes` : "Class";
    this.mark(chosen);
    this.filter();
  }

  row(one, id, color, locked) {
    const radio = make("input", { type: "radio", name: "class", value: String(id) });
    radio.addEventListener("change", () => this.handlers.select(id));
    const label = make(
      "label",
      {},
      radio,
      swatch(color),
      make("span", { className: "name", textContent: one.name, title: one.name }),
    );
    if (id < 9) label.append(make("kbd", { textContent: String(id + 1), "aria-hidden": "true" }));
    const find = this.toggle("find", `Highlight ${one.name}`, () => this.handlers.highlight(id));
    const lock = this.toggle("lock", `Lock ${one.name}: nothing paints over it`, () => this.handlers.lock(id));
    lock.setAttribute("aria-pressed", String(locked));
    const row = make("div", { className: "class" }, label, find, lock);
    row.dataset.name = one.name.toLowerCase();
    return row;
  }

  toggle(name, title, act) {
    const button = make(
      "button",
      { className: "icon", title, "aria-label": title, "aria-pressed": "false" },
      icon(name),
    );
    button.addEventListener("click", () => button.setAttribute("aria-pressed", String(act())));
    return button;
  }

  /** Marks the class that is painted with. */
  mark(id) {
    const radio = this.rows[id]?.querySelector("input");
    if (radio) radio.checked = true;
    const row = this.rows[id];
    const list = byId("classes"); // scrollIntoView would move the whole page as well
    if (row && list.scrollHeight > list.clientHeight) {
      const top = row.offsetTop - list.offsetTop;
      if (top < list.scrollTop) list.scrollTop = top;
      else if (top + row.offsetHeight > list.scrollTop + list.clientHeight)
        list.scrollTop = top + row.offsetHeight - list.clientHeight;
    }
  }

  /** Only one class is highlighted at a time. */
  markHighlight(id) {
    this.rows.forEach((row, at) => row.querySelector("button").setAttribute("aria-pressed", String(at === id)));
  }

  filter() {
    const text = byId("search").value.trim().toLowerCase();
    for (const row of this.rows) row.hidden = !row.dataset.name.includes(text);
  }

  takeFirst() {
    const row = this.rows.find((one) => !one.hidden);
    if (!row) return;
    row.querySelector("input").click();
    this.endSearch();
    byId("map").focus();
  }

  endSearch() {
    byId("search").value = "";
    this.filter();
    byId("search").blur();
  }
}
