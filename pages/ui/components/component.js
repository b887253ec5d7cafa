// What every component is: where it stands in the page, what it was told, when it comes and goes.

/**
 * @template D
 * @typedef {object} Mount what Streamlit calls a component with
 * @property {D | Uint8Array | null} [data] as given in Python, in JSON; as it is, in a notebook
 * @property {ParentNode} parentElement where the component's HTML stands
 * @property {Trigger} setTriggerValue
 */

/** @typedef {(event: string, value: unknown) => void} Trigger tells Python of an event */

/**
 * @template D
 * @typedef {{ name: string, root: HTMLElement, data: D, trigger: Trigger }} Given
 *   `name`: the class of `root`, and what those of its parts begin with
 */

/**
 * A part of the page that is drawn from data. Its listeners and observers end with it.
 *
 * @template D
 */
export class Component {
  /** @param {Given<D>} given */
  constructor({ name, root, data, trigger }) {
    this.name = name;
    this.root = root;
    this.data = data;
    this.trigger = trigger;
    this.closing = new AbortController();
  }

  /**
   * The element of class `<component>-<name>`.
   *
   * @template {Element} [T=HTMLElement]
   * @param {string} name
   * @param {new () => T} [kind]
   * @returns {T}
   */
  part(name, kind = /** @type {any} */ (HTMLElement)) {
    const found = this.root.querySelector(`.${this.name}-${name}`);
    if (!(found instanceof kind)) throw new Error(`.${this.name}-${name} is not ${kind.name}`);
    return found;
  }

  /**
   * @template {keyof HTMLElementEventMap} K
   * @param {EventTarget} target
   * @param {K} kind
   * @param {(event: HTMLElementEventMap[K]) => void} act
   * @param {AddEventListenerOptions} [options]
   */
  listen(target, kind, act, options) {
    const listener = /** @type {EventListener} */ (act);
    target.addEventListener(kind, listener, { ...options, signal: this.closing.signal });
  }

  /**
   * Calls back when the element's size changes, and once at first.
   *
   * @param {Element} element
   * @param {() => void} act
   */
  watch(element, act) {
    const sizes = new ResizeObserver(act);
    sizes.observe(element);
    this.closing.signal.addEventListener("abort", () => sizes.disconnect());
  }

  /** A style sheet of its own. */
  styled() {
    const sheet = this.root.appendChild(document.createElement("style"));
    this.closing.signal.addEventListener("abort", () => sheet.remove());
    return sheet;
  }

  get closed() {
    return this.closing.signal.aborted;
  }

  close() {
    this.closing.abort();
  }
}

/**
 * @template D
 * @typedef {Component<D> & { update(old?: D): unknown }} Drawn `old`: the data before; none at first
 */

/**
 * The function that Streamlit calls at every change of the data or the theme; what it returns is
 * called when the component leaves the page.
 *
 * @template D
 * @param {string} name class of the component's outermost element
 * @param {new (given: Given<D>) => Drawn<D>} Kind
 */
export function mounting(name, Kind) {
  /** @type {WeakMap<HTMLElement, Drawn<D>>} */
  const live = new WeakMap();
  return (/** @type {Mount<D>} */ { data: given, parentElement, setTriggerValue: trigger }) => {
    const root = /** @type {HTMLElement | null} */ (parentElement.querySelector(`.${name}`));
    if (!root || !given) return undefined;
    /** @type {D} */
    const data = given instanceof Uint8Array ? JSON.parse(new TextDecoder().decode(given)) : given;
    root.style.visibility = ""; // it was hidden as long as nothing in it had a name
    const known = live.get(root);
    const old = known?.data;
    const component = known ?? new Kind({ name, root, data, trigger });
    live.set(root, component);
    component.data = data;
    component.trigger = trigger;
    component.update(old);
    return () => {
      component.close();
      live.delete(root);
    };
  };
}
