// The keyboard in one table. Keys go by what they write or, on layouts without it, by where they are.

/** [keys, what it does, command] for the help; keys with Ctrl also go with Cmd. */
export const KEYS = [
  [["b"], "Brush", "tool brush"],
  [["e"], "Eraser", "tool eraser"],
  [["g"], "Fill", "tool fill"],
  [["l"], "Line", "tool line"],
  [["r"], "Rectangle", "tool rectangle"],
  [["i"], "Pick class and object (or hold Alt)", "tool pick"],
  [["v"], "Move; with Alt a copy", "tool move"],
  [["[", "-"], "Smaller pen (or Alt+wheel)", "size -"],
  [["]", "+"], "Larger pen", "size +"],
  [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "Class 1 to 9", "class"],
  [["/"], "Search classes", "search"],
  [["n"], "Surprise me: another style", "surprise"],
  [["o"], "New object", "object"],
  [["Arrow keys"], "On the map: move the pen, with Shift by eight", ""],
  [["Enter"], "On the map: paint; for lines, rectangles and moves at both ends", ""],
  [["h"], "Highlight the class", "highlight"],
  [["p"], "Picture before the last change (hold)", "before"],
  [["u"], "Outlines", "outlines"],
  [["Ctrl+z"], "Undo", "undo"],
  [["Ctrl+Shift+z", "Ctrl+y"], "Redo", "redo"],
  [["Ctrl+s"], "Save", "save"],
  [["Ctrl+o"], "Open", "open"],
  [["Space"], "Hold and drag: move the view (or wheel, two fingers)", "hand"],
  [["PageUp"], "Zoom in (or wheel)", "zoom in"],
  [["PageDown"], "Zoom out", "zoom out"],
  [["0"], "Whole map", "zoom fit"],
  [["Escape"], "Give the stroke up, close messages", "cancel"],
  [["?"], "This help", "help"],
];
const CODES = {
  BracketLeft: "[",
  BracketRight: "]",
  Minus: "-",
  Equal: "+",
  Slash: "/",
  NumpadAdd: "+",
  NumpadSubtract: "-",
};

/** The command of a keydown: [command, key], or null. */
export function commandOf(event) {
  const control = event.ctrlKey || event.metaKey;
  if (event.altKey && !control) return null;
  const plain = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const names = [plain];
  if (!control && CODES[event.code] && !event.shiftKey && !isLetterOrSign(plain)) names.push(CODES[event.code]);
  for (const name of names) {
    const pressed = `${control ? "Ctrl+" : ""}${control && event.shiftKey ? "Shift+" : ""}${name}`;
    const found = KEYS.find(([keys]) => keys.includes(pressed));
    if (found?.[2]) return [found[2], name];
  }
  return null;
}

const isLetterOrSign = (key) => KEYS.some(([keys]) => keys.includes(key));

/** Whether keys belong to a field that somebody types in. */
export function typing(target) {
  if (target.closest?.("dialog")) return true;
  if (target.tagName === "TEXTAREA" || target.tagName === "SELECT") return true;
  return target.tagName === "INPUT" && !["checkbox", "radio", "range"].includes(target.type);
}
