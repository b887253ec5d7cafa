import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Component, mounting } from "../../pages/ui/components/component.js";

class Observer {
  static all = [];
  constructor(act) {
    this.act = act;
    Observer.all.push(this);
  }
  observe(element) {
    this.element = element;
  }
  disconnect() {
    this.element = null;
  }
}

class Probe extends Component {
  updates = [];
  presses = 0;
  constructor(given) {
    super(given);
    made.push(this);
    this.listen(this.root, "keydown", () => {
      this.presses += 1;
    });
    this.watch(this.root, () => {});
  }
  update(old) {
    this.updates.push([old, this.data]);
  }
}

let made;
let mount;
let root;
const element = () => Object.assign(new EventTarget(), { style: { visibility: "hidden" } });
const page = (found) => ({ querySelector: (css) => (css === ".probe" ? found : null) });
const call = (data, more = {}) =>
  mount({ data, parentElement: page(root), setTriggerValue: () => {}, ...more });

beforeEach(() => {
  globalThis.ResizeObserver = Observer;
  Observer.all = [];
  made = [];
  root = element();
  mount = mounting("probe", Probe);
});

test("a component is made once, and updated at every call with the data before", () => {
  call("a");
  call("b");
  assert.equal(made.length, 1);
  assert.deepEqual(made[0].updates, [
    [undefined, "a"],
    ["a", "b"],
  ]);
});

test("data comes as JSON in bytes, and what is drawn can be seen from then on", () => {
  call(new TextEncoder().encode('{"token": "茶", "weight": null}'));
  assert.deepEqual(made[0].data, { token: "茶", weight: null });
  assert.equal(root.style.visibility, "");
});

test("events go to Python through the latest trigger", () => {
  const told = [];
  call("a");
  call("a", { setTriggerValue: (event, value) => told.push([event, value]) });
  made[0].trigger("query", 3);
  assert.deepEqual(told, [["query", 3]]);
});

test("nothing is made without data, or where its HTML is not", () => {
  assert.equal(call(null), undefined);
  assert.equal(call("a", { parentElement: page(null) }), undefined);
  assert.equal(made.length, 0);
});

test("listeners and observers end with the component", () => {
  const leave = call("a");
  const [probe] = made;
  const [sizes] = Observer.all;
  root.dispatchEvent(new Event("keydown"));
  assert.equal(probe.presses, 1);
  assert.equal(sizes.element, root);
  leave();
  root.dispatchEvent(new Event("keydown"));
  assert.equal(probe.presses, 1);
  assert.equal(sizes.element, null);
  assert.ok(probe.closed);
});

test("two of a kind live side by side, and one that comes back is made anew", () => {
  const leave = call("a");
  const first = root;
  root = element();
  call("b");
  assert.deepEqual(
    made.map((probe) => probe.data),
    ["a", "b"],
  );
  leave();
  assert.ok(made[0].closed && !made[1].closed);
  root = first;
  call("c");
  assert.deepEqual(made[2].updates, [[undefined, "c"]]);
});
