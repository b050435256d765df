// Pointer, wheel and fingers on the map: strokes for the tool, everything else for the camera.

const PEN_ERASER = 5;

/**
 * handlers: start(point, event) -> whether a stroke began, points([[x, y, pressure], ...]), end(), cancel(),
 * hover(point or null, event), hand() -> whether the pointer moves the view now.
 */
export function listen(pane, camera, handlers) {
  const element = pane.pane;
  const fingers = new Map();
  let drawing = null;
  let panning = null;
  let pinch = null;

  const whole = (event) => pane.at(event).map(Math.floor);
  const share = (event) => {
    const [x, y] = pane.at(event);
    return [x / pane.width, y / pane.height];
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, event);
    if (fingers.size === 2) {
      if (drawing !== null) handlers.cancel();
      drawing = null;
      pinch = spread(fingers);
      return;
    }
    if (drawing !== null || panning !== null || fingers.size > 2) return;
    const pan = event.button === 1 || handlers.hand();
    if (!pan && event.button !== 0 && event.button !== PEN_ERASER) return;
    element.setPointerCapture(event.pointerId);
    element.focus({ preventScroll: true });
    if (pan) {
      panning = event;
      event.preventDefault();
    } else if (handlers.start(whole(event), event)) {
      drawing = event.pointerId;
    }
  });

  element.addEventListener("pointermove", (event) => {
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
    if (pinch && fingers.size === 2) {
      const now = spread(fingers);
      const centre = { clientX: now.x, clientY: now.y };
      camera.zoomAt(now.distance / pinch.distance, ...share(centre));
      camera.move((now.x - pinch.x) / pane.stage.offsetWidth, (now.y - pinch.y) / pane.stage.offsetHeight);
      pinch = now;
    } else if (panning) {
      const stage = pane.stage;
      camera.move(
        (event.clientX - panning.clientX) / stage.offsetWidth,
        (event.clientY - panning.clientY) / stage.offsetHeight,
      );
      panning = event;
    } else if (drawing === event.pointerId) {
      const all = event.getCoalescedEvents?.() ?? [];
      const points = (all.length ? all : [event]).map((one) => [...whole(one), one.pressure]);
      handlers.points(points, event);
    }
    handlers.hover(whole(event), event);
  });

  const up = (event, good) => {
    fingers.delete(event.pointerId);
    if (fingers.size < 2) pinch = null;
    if (panning?.pointerId === event.pointerId) panning = null;
    if (drawing !== event.pointerId) return;
    drawing = null;
    if (good) handlers.end(event);
    else handlers.cancel();
  };
  element.addEventListener("pointerup", (event) => up(event, true));
  element.addEventListener("pointercancel", (event) => up(event, false));
  element.addEventListener("pointerleave", (event) => handlers.hover(null, event));
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  wheel(element, camera, share, handlers);

  /** Whether a stroke is under way. */
  return { drawing: () => drawing !== null };
}

/** Wheel: zoom at the pointer; with Alt the size of the pen; with Shift sideways. */
export function wheel(element, camera, share, handlers = {}) {
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaY || event.deltaX;
      if (event.altKey && handlers.resize) handlers.resize(lines < 0 ? 1 : -1);
      else camera.zoomAt(Math.exp(-lines / (event.deltaMode ? 20 : 400)), ...share(event));
    },
    { passive: false },
  );
}

function spread(fingers) {
  const [a, b] = [...fingers.values()];
  return {
    x: (a.clientX + b.clientX) / 2,
    y: (a.clientY + b.clientY) / 2,
    distance: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
  };
}
