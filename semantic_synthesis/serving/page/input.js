// Buttons, pointer and keys, connected with what they do.
import { byId, drawIcons, icon, make, roving } from "./dom.js";
import { commandOf, typing } from "./keys.js";
import { listen, wheel } from "./pointer.js";
import { TOOLS } from "./tools.js";

/** held: keys that are down. */
export class Input {
  constructor(app) {
    this.app = app;
    this.held = new Set();
    this.listen();
  }

  listen() {
    const { app } = this;
    drawIcons();
    for (const [id, name, key, text] of TOOLS) {
      const button = make(
        "button",
        { title: `${name} (${key.toUpperCase()}): ${text}`, "aria-label": name, "aria-keyshortcuts": key },
        icon(id),
        make("kbd", { textContent: key.toUpperCase(), "aria-hidden": "true" }),
      );
      button.dataset.tool = id;
      button.onclick = () => app.useTool(id);
      byId("tools").append(button);
    }
    roving(byId("tools"));
    const handlers = {
      start: (point, event) => app.hand.start(point, event),
      points: (points) => app.hand.points(points),
      end: () => app.hand.end(),
      cancel: () => app.hand.cancel(),
      hover: (point) => this.hovered(point),
      hand: () => this.held.has("Space"),
      resize: (step) => app.resizePen(step),
    };
    listen(app.mapPane, app.camera, handlers);
    this.listenPicture();
    byId("model").onchange = () => app.session.openModel(byId("model").value);
    byId("undo").onclick = () => app.hand.undo();
    byId("redo").onclick = () => app.hand.undo(true);
    byId("size").oninput = () => app.resizePen(0);
    byId("live").onchange = () => {
      byId("update").hidden = byId("live").checked;
      if (byId("live").checked) app.live.want();
    };
    byId("update").onclick = () => app.live.want();
    for (const name of ["outlines", "names"]) byId(name).onchange = () => app.screen.redraw();
    byId("palette").onchange = () => app.screen.recolor();
    byId("parts").addEventListener("change", () => app.screen.redraw());
    byId("object-mode").addEventListener("change", () => app.showObject());
    byId("fill-gaps").onclick = () => app.hand.fillGaps();
    byId("clear").onclick = () => app.hand.clear();
    byId("zoom-in").onclick = () => app.camera.zoomAt(1.5, app.camera.x, app.camera.y);
    byId("zoom-out").onclick = () => app.camera.zoomAt(1 / 1.5, app.camera.x, app.camera.y);
    byId("zoom-fit").onclick = () => app.camera.reset();
    this.listenBefore();
    addEventListener("keydown", (event) => this.pressed(event));
    addEventListener("keyup", (event) => this.released(event));
    addEventListener("blur", () => this.held.clear());
    addEventListener("resize", () => app.screen.redraw());
    addEventListener("pagehide", () => app.keeping && app.keep());
    document.addEventListener("visibilitychange", () => document.hidden && app.keeping && app.keep());
  }

  listenPicture() {
    const { app } = this;
    const pane = byId("picture");
    const at = (event) => app.picturePane.at(event).map(Math.floor);
    pane.addEventListener("pointermove", (event) => {
      app.glance = at(event);
      if (app.painting) app.screen.say(app.glance);
    });
    pane.addEventListener("pointerleave", () => (app.glance = null));
    pane.addEventListener("click", (event) => app.painting && app.hand.pickStyle(at(event)));
    const share = (event) =>
      app.picturePane.at(event).map((value, axis) => value / [app.picturePane.width, app.picturePane.height][axis]);
    wheel(pane, app.camera, share);
  }

  listenBefore() {
    const { app } = this;
    const button = byId("before");
    button.addEventListener("pointerdown", () => app.picture.compare(true));
    for (const name of ["pointerup", "pointerleave", "blur"])
      button.addEventListener(name, () => app.picture.compare(false));
    button.addEventListener("keydown", (event) => [" ", "Enter"].includes(event.key) && app.picture.compare(true));
    button.addEventListener("keyup", () => app.picture.compare(false));
  }

  hovered(point) {
    const { app } = this;
    app.hover = point;
    byId("map").classList.toggle("hand", this.held.has("Space"));
    app.screen.redraw();
  }

  pressed(event) {
    const { app } = this;
    if (app.hand.moveCursor(event)) return event.preventDefault();
    if (typing(event.target) && !(event.ctrlKey && "so".includes(event.key))) return;
    const found = commandOf(event);
    if (!found) return;
    const [command, key] = found;
    const onButton = event.target.closest?.("button, label, input") && key === "Space";
    if (onButton || (event.target.type === "range" && /^Page/.test(key))) return;
    event.preventDefault();
    this.held.add(key);
    this.command(command, key);
  }

  released(event) {
    const { app } = this;
    this.held.delete(event.key === " " ? "Space" : event.key.toLowerCase());
    byId("map").classList.toggle("hand", this.held.has("Space"));
    if (event.key.toLowerCase() === "p" && !typing(event.target)) app.picture.compare(false);
  }

  command(command, key) {
    const { app } = this;
    const [verb, object] = command.split(" ");
    const commands = {
      tool: () => app.useTool(object),
      size: () => app.resizePen(object === "+" ? 1 : -1),
      class: () => Number(key) <= app.model.classes.length && app.choose(Number(key) - 1),
      search: () => byId("search").focus(),
      surprise: () => app.style.surprise(),
      undo: () => app.hand.undo(),
      redo: () => app.hand.undo(true),
      save: () => app.files.askSave(),
      open: () => app.files.askOpen(),
      object: () => app.model.instances && app.setObjectMode("each"),
      highlight: () => app.screen.setHighlight(app.classId),
      before: () => app.picture.compare(true),
      hand: () => byId("map").classList.add("hand"),
      help: () => byId("help").click(),
      outlines: () => byId("outlines").click(),
      cancel: () => (app.hand.gesture ? app.hand.cancel() : byId("notices").replaceChildren()),
      zoom: () => byId(`zoom-${object}`).click(),
    };
    commands[verb]();
  }
}
