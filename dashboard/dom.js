'use strict';

// Elements, made without markup. Names, messages and everything else that the API says is text that anybody may have
// written; it reaches the page only as text nodes and attribute values, so it can never be a tag or a script.

/**
 * What is not seen or turns the direction of writing: controls but line breaks and tabs, formats, fillers, spaces that are
 * none, tags and variation selectors. The command line has the same list.
 */
const HIDDEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]/gu;

/** A text in which every character is seen, so that two names that differ look different: `\\u{200B}` for what has no shape. */
function visible(text) {
  return text.replace(HIDDEN, (hidden, at) => {
    const before = text.slice(Math.max(0, at - 2), at);
    const after = text.slice(at + 1, at + 3);
    // An emoji that is made of several stays one.
    if (hidden === '\ufe0f' && /\p{Extended_Pictographic}$/u.test(before)) return hidden;
    // Not one class: in one, Chromium does not find what the property has.
    const joins = /(?:\p{Extended_Pictographic}|[\u{1f3fb}-\u{1f3ff}]|\ufe0f)$/u.test(before);
    if (hidden === '\u200d' && joins && /^\p{Extended_Pictographic}/u.test(after)) return hidden;
    return `\\u{${hidden.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}}`;
  });
}

/**
 * An element: `h('p.note', { id: 'x', click: handler }, 'text', child, …)`. The tag may carry classes. The properties may be
 * left out; those that are functions listen to the event of their name, `true` is an attribute without a value, and what is
 * null or false is not set. Children may be nested in arrays; null and false are passed over.
 */
function h(tag, ...rest) {
  const [name, ...classes] = tag.split('.');
  return furnish(document.createElement(name), classes, rest);
}

/** The same for SVG. */
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
  // None of these is used, so a name that comes to be one by mistake is stopped here and not by the browser's policy alone.
  const isLink = name === 'href' && !String(value).startsWith('#');
  if (isLink || /^(on|style$|src|action|formaction)/.test(name)) throw new Error(`no ${name} in this page`);
  if (name === 'value' || name === 'checked') node[name] = value;
  else node.setAttribute(name, value === true ? '' : visible(String(value)));
}

/** Puts children into an element, after those that it has. Text among them shows what it would hide. */
function fill(node, ...children) {
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  node.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
}

/** Has an element contain these children and no others. */
function refill(node, ...children) {
  node.replaceChildren();
  fill(node, ...children);
}

let lastId = 0;

/** An id that no other element has. */
function freshId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

/** Says an outcome: shown for a while, and read out by screen readers. */
function announce(text) {
  const status = document.getElementById('status');
  clearTimeout(announce.timer);
  // Emptied first, so that the same words are read out again.
  status.textContent = '';
  requestAnimationFrame(() => {
    status.textContent = visible(text);
  });
  announce.timer = setTimeout(() => {
    status.textContent = '';
  }, 8000);
}

/** Moves the keyboard to an element that is no control, such as a heading. */
function focusOn(element) {
  if (!element) return;
  if (!element.matches('a, button, input, select, textarea')) element.tabIndex = -1;
  element.focus();
}

/**
 * Opens a modal dialog; `content` is what is in it below its title. It is taken away when it closes, and `closed` is called
 * then. One that `stays` is closed by its own buttons alone: not by Escape, nor by the way back.
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
    // The control that opened it may be gone with the view that it was in.
    if (document.activeElement === document.body) focusOn(document.querySelector('main h1'));
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Closes the dialogs that are open; those that stay only if it must be. */
function closeDialogs({ all = false } = {}) {
  for (const dialog of document.querySelectorAll(all ? 'dialog' : 'dialog:not([closedby=none])'))
    dialog.close();
}

/** Whether there is something in the page that leaving it would lose. */
const isHeld = () => document.querySelector('dialog[closedby=none]') !== null;
