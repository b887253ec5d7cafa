// What a picture minds of the notebook that it stands in: its theme, its shortcuts, when it is seen.

const SETTLING = 300; // ms until a theme's colours are there

/**
 * The colour behind an element, also outside of the shadow tree that it may stand in.
 *
 * @param {Element | null} element
 */
export function behind(element) {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  for (let one = element; one && paint; one = outer(one)) {
    paint.clearRect(0, 0, 1, 1);
    paint.fillStyle = "transparent";
    paint.fillStyle = getComputedStyle(one).backgroundColor; // in any of CSS's colour spaces
    paint.fillRect(0, 0, 1, 1);
    const [r, g, b, opacity] = paint.getImageData(0, 0, 1, 1).data;
    if (opacity > 127) return `#${[r, g, b].map((x) => x.toString(16).padStart(2, "0")).join("")}`;
  }
  return "#ffffff";
}

/**
 * Whether a key is one by which people run cells, save or leave.
 *
 * @param {KeyboardEvent} event
 */
const forNotebook = ({ key, shiftKey, altKey, ctrlKey, metaKey }) =>
  altKey || ctrlKey || metaKey || (shiftKey && key === "Enter");

/** @param {Element} one */
function outer(one) {
  const root = one.getRootNode();
  return one.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
}

/**
 * Keeps the keys that are meant for an element from the notebook, which takes single letters and
 * arrows for its own: JupyterLab's shortcuts, which hear of a key first, heed the attribute.
 *
 * @param {HTMLElement} root
 * @param {AbortSignal} signal
 */
export function keepKeys(root, signal) {
  window.addEventListener(
    "keydown",
    (event) => root.toggleAttribute("data-lm-suppress-shortcuts", !forNotebook(event)),
    { capture: true, signal },
  );
  root.addEventListener("keydown", (event) => {
    if (!forNotebook(event)) event.stopPropagation();
  });
}

/**
 * Calls back when the page may have another theme.
 *
 * @param {AbortSignal} signal
 * @param {() => void} act
 */
export function onLooks(signal, act) {
  const looks = new MutationObserver(() => setTimeout(act, SETTLING));
  for (const one of [document.documentElement, document.body])
    looks.observe(one, { attributes: true });
  signal.addEventListener("abort", () => looks.disconnect());
}

/**
 * Calls back once the element has a width: it may be made before it stands in the page.
 *
 * @param {Element} root
 * @param {AbortSignal} signal
 * @param {() => void} act
 */
export function whenSeen(root, signal, act) {
  const sizes = new ResizeObserver(() => {
    if (!root.clientWidth) return;
    sizes.disconnect();
    act();
  });
  sizes.observe(root);
  signal.addEventListener("abort", () => sizes.disconnect());
}
