'use strict';

// Elements, made without markup. Names, messages and everything else that the API says is text that anybody may have
// written; it reaches the page only as text nodes and attribute values, so it can never be a tag or a script.

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
  else node.setAttribute(name, value === true ? '' : value);
}

/** Puts children into an element, after those that it has. */
function fill(node, ...children) {
  node.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
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
    status.textContent = text;
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
