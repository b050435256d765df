// Colours for display only; files hold ids.

/** Colours that people with any colour vision tell apart as well as so many can be: by hue and, in turns, lightness. */
export function distinctColors(count) {
  const known = [
    [0, 114, 178],
    [230, 159, 0],
    [240, 228, 66],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [213, 94, 0],
    [245, 245, 245],
    [20, 20, 20],
    [136, 136, 136],
    [90, 40, 120],
    [170, 240, 200],
    [110, 60, 20],
    [250, 190, 200],
  ];
  const found = known.slice(0, count);
  for (let i = found.length; i < count; i++) {
    const hue = (i * 137.508) % 360;
    const light = [0.35, 0.6, 0.82][i % 3];
    const chroma = 0.62 * (1 - Math.abs(2 * light - 1));
    const channel = (n) => {
      const k = (n + hue / 30) % 12;
      return Math.round(255 * (light - (chroma / 2) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    };
    found.push([channel(0), channel(8), channel(4)]);
  }
  return found;
}
