'use strict';

// Makes elements without HTML strings. Anybody may have written the names and messages that the API returns. They reach the
// page only as text nodes and attribute values, so they can never become a tag or a script.

/**
 * Characters that are invisible or change the direction of writing: controls except line breaks and tabs, formats,
 * fillers, unusual spaces, tags and variation selectors. The command line has the same list (`cli/src/text.rs`).
 */
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;

/** Replaces invisible characters by their code, such as `\\u{200B}`, so two different names never look the same. */
function visible(text) {
  return text.replace(HIDDEN, (hidden, at) => {
    const before = text.slice(Math.max(0, at - 2), at);
    const after = text.slice(at + 1, at + 3);
    // Variation selectors and joiners stay inside an emoji, or it would fall apart.
    if (hidden === '\ufe0f' && /\p{Extended_Pictographic}$/u.test(before)) return hidden;
    // Three alternatives, because Chromium does not match the property inside one character class.
    const joins = /(?:\p{Extended_Pictographic}|[\u{1f3fb}-\u{1f3ff}]|\ufe0f)$/u.test(before);
    if (hidden === '\u200d' && joins && /^\p{Extended_Pictographic}/u.test(after)) return hidden;
    return `\\u{${hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}}`;
  });
}

/**
 * Makes an element: `h('p.note', { id: 'x', click: handler }, 'text', child, …)`. The tag may name classes. Properties are
 * optional: a function becomes a listener for the event of that name, `true` an attribute without a value, and null or
 * false is skipped. Children may be nested in arrays; null and false are skipped.
 */
function h(tag, ...rest) {
  const [name, ...classes] = tag.split('.');
  return furnish(document.createElement(name), classes, rest);
}

/** Makes an SVG element, like `h`. */
function svg(tag, ...rest) {
  const [name, ...classes] = tag.split('.');
  return furnish(document.createElementNS('http://www.w3.org/2000/svg', name), classes, rest);
}

function furnish(node, classes, rest) {
  if (classes.length > 0) node.classList.add(...classes);
  const isProperties = rest[0] instanceof Object && Object.getPrototypeOf(rest[0]) === Object.prototype;
  const properties = isProperties ? rest[0] : {};
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) setAttribute(node, name, value);
  }
  fill(node, ...(isProperties ? rest.slice(1) : rest));
  return node;
}

function setAttribute(node, name, value) {
  // The page uses none of these. This check backs up the Content-Security-Policy.
  const isLink = name === 'href' && !String(value).startsWith('#');
  if (isLink || /^(on|style$|src|action|formaction)/.test(name)) throw new Error(`this page sets no ${name}`);
  if (name === 'value' || name === 'checked') node[name] = value;
  else node.setAttribute(name, value === true ? '' : visible(String(value)));
}

/** Appends children to an element. Invisible characters in texts become visible. */
function fill(node, ...children) {
  const shown = children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
}

/** Replaces the children of an element. */
function refill(node, ...children) {
  node.replaceChildren();
  fill(node, ...children);
}

let lastId = 0;

/** Makes an id that no other element has. */
function freshId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

/** Shows a message for eight seconds. Screen readers read it out. */
function announce(text) {
  const status = document.getElementById('status');
  clearTimeout(announce.timer);
  // Screen readers ignore a text that does not change, so it is emptied first.
  status.textContent = '';
  requestAnimationFrame(() => {
    status.textContent = visible(text);
  });
  announce.timer = setTimeout(() => {
    status.textContent = '';
  }, 8000);
}

/** Moves the focus to an element, also to one that does not take it by itself, such as a heading. */
function focusOn(element) {
  if (!element) return;
  if (!element.matches('a, button, input, select, textarea')) element.tabIndex = -1;
  element.focus();
}

/**
 * Opens a modal dialog with `content` below its title. On close, the dialog is removed and `closed` is called. If `stays`,
 * only its own buttons close it: not Escape, and not the browser's back button.
 */
function openDialog({ title, content, stays = false, closed = () => {} }) {
  const id = freshId('title');
  const closedby = stays ? 'none' : 'closerequest';
  const dialog = h('dialog', { 'aria-labelledby': id, closedby }, h('h2', { id }, title), content);
  dialog.addEventListener('cancel', (event) => {
    if (stays) event.preventDefault();
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    closed();
    // The view may have changed, and the control that opened the dialog may be gone.
    if (document.activeElement === document.body) focusOn(document.querySelector('main h1'));
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Closes open dialogs; those that stay only with `all`. */
function closeDialogs({ all = false } = {}) {
  for (const dialog of document.querySelectorAll(all ? 'dialog' : 'dialog:not([closedby=none])'))
    dialog.close();
}

/** Whether leaving the page would lose something, such as a new key that is shown once. */
const isHeld = () => document.querySelector('dialog[closedby=none]') !== null;
