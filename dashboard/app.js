'use strict';

// Routing. The part of the address after `#` names the view; browsers do not send it to the server. The key is never in it:
// an address whose parts do not look like ids is replaced, because a key may have been pasted into it.

const VIEWS = [
  { pattern: /^#\/me$/, view: whoamiView, nav: 'me' },
  { pattern: /^#\/keys$/, view: keysView, nav: 'keys', scope: 'keys:read' },
  { pattern: /^#\/keys\/new$/, view: createKeyView, nav: 'keys', scope: 'keys:write' },
  { pattern: /^#\/keys\/(?<id>[\w-]{12})$/, view: keyView, nav: 'keys', scope: 'keys:read' },
  { pattern: /^#\/keys\/(?<id>[\w-]{12})\/change$/, view: changeKeyView, nav: 'keys', scope: 'keys:write' },
  { pattern: /^#\/attention$/, view: attentionView, nav: 'attention', scope: 'keys:read' },
  { pattern: /^#\/audit$/, view: auditView, nav: 'audit', scope: 'audit:read' },
  { pattern: /^#\/simulations$/, view: projectsView, nav: 'simulations', scope: 'simulations:read' },
  {
    pattern: /^#\/simulations\/(?<project>[A-Za-z0-9]{12})$/,
    view: simulationsView,
    nav: 'simulations',
    scope: 'simulations:read',
  },
  {
    pattern: /^#\/simulations\/(?<project>[A-Za-z0-9]{12})\/(?<simulation>[A-Za-z0-9]{21})$/,
    view: simulationView,
    nav: 'simulations',
    scope: 'simulations:read',
  },
  {
    pattern:
      /^#\/simulations\/(?<project>[A-Za-z0-9]{12})\/(?<simulation>[A-Za-z0-9]{21})\/(?<conversation>[A-Za-z0-9]{21})$/,
    view: conversationView,
    nav: 'simulations',
    scope: 'conversations:read',
  },
  { pattern: /^#\/batches$/, view: batchProjectsView, nav: 'batches', scope: 'simulations:read' },
  {
    pattern: /^#\/batches\/(?<project>[A-Za-z0-9]{12})$/,
    view: batchesView,
    nav: 'batches',
    scope: 'simulations:read',
  },
  {
    pattern: /^#\/batches\/(?<project>[A-Za-z0-9]{12})\/(?<batch>[A-Za-z0-9]{12})$/,
    view: batchView,
    nav: 'batches',
    scope: 'simulations:read',
  },
  { pattern: /^#\/monitors$/, view: monitorProjectsView, nav: 'monitors', scope: 'monitors:read' },
  {
    pattern: /^#\/monitors\/(?<project>[A-Za-z0-9]{12})$/,
    view: monitorsView,
    nav: 'monitors',
    scope: 'monitors:read',
  },
  {
    pattern: /^#\/monitors\/(?<project>[A-Za-z0-9]{12})\/(?<monitor>[A-Za-z0-9]{12})$/,
    view: monitorView,
    nav: 'monitors',
    scope: 'monitors:read',
  },
  { pattern: /^#\/webhooks$/, view: webhookProjectsView, nav: 'webhooks', scope: 'webhooks:read' },
  {
    pattern: /^#\/webhooks\/(?<project>[A-Za-z0-9]{12})$/,
    view: webhooksView,
    nav: 'webhooks',
    scope: 'webhooks:read',
  },
  {
    pattern: /^#\/webhooks\/(?<project>[A-Za-z0-9]{12})\/(?<webhook>[A-Za-z0-9]{12})$/,
    view: webhookView,
    nav: 'webhooks',
    scope: 'webhooks:read',
  },
];

/** A parameter of an address: an id, a word or a number. A key is longer. */
const SHORT = /^[\w-]{0,21}$/;

/** The entries of the navigation that the key has scopes for. */
function navigation() {
  const mayAudit = api.may('audit:read') && api.caller.all_projects;
  return [
    api.may('keys:read') && ['keys', '#/keys', 'Keys'],
    !api.may('keys:read') && api.may('keys:write') && ['keys', '#/keys/new', 'Create a key'],
    api.may('keys:read') && ['attention', '#/attention', 'Attention'],
    mayAudit && ['audit', '#/audit', 'Audit'],
    api.may('simulations:read') && ['simulations', '#/simulations', 'Simulations'],
    api.may('simulations:read') && ['batches', '#/batches', 'Batches'],
    api.may('monitors:read') && ['monitors', '#/monitors', 'Monitors'],
    api.may('webhooks:read') && ['webhooks', '#/webhooks', 'Webhooks'],
  ].filter(Boolean);
}

const main = document.getElementById('main');
const header = document.getElementById('header');

/** Cancels the calls of the current view. */
let leaving = new AbortController();
let shownPath = null;

/** Shows the view of the address. */
async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  if (!api.caller) {
    showSignIn();
    return;
  }
  const [hash, search = ''] = location.hash.split('?');
  if (!Array.from(new URLSearchParams(search)).every(([, value]) => SHORT.test(value))) {
    location.replace(hash);
    return;
  }
  const found = VIEWS.map((one) => [one, one.pattern.exec(hash)]).find(([, match]) => match);
  if (!found) {
    location.replace(navigation()[0]?.[1] ?? '#/me');
    return;
  }
  const [{ view, nav, scope }, match] = found;
  const context = makeContext(hash, search, match.groups ?? {}, signal);
  markNavigation(nav);
  // The old view stays until the new one is ready, or until loading is slow.
  const slow = setTimeout(() => refill(main, h('p.loading', 'Loading…')), 400);
  main.setAttribute('aria-busy', 'true');
  let nodes;
  try {
    if (scope && !api.may(scope)) throw missingScope(scope);
    nodes = await view(context);
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    nodes = [heading('This page cannot be shown'), problem(error, route)];
  } finally {
    clearTimeout(slow);
  }
  if (signal.aborted) return;
  put(nodes, hash);
}

function makeContext(hash, search, groups, signal) {
  const query = new URLSearchParams(search);
  const address = (changes) => {
    const next = new URLSearchParams(query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === '') next.delete(name);
      else next.set(name, value);
    }
    const text = next.toString();
    return text === '' ? hash : `${hash}?${text}`;
  };
  return {
    params: Object.fromEntries(Object.entries(groups).map(([name, value]) => [name, decoded(value)])),
    query,
    signal,
    /** The address of this view with other parameters. */
    address,
    go: (changes) => goTo(address(changes)),
    reload: route,
  };
}

/** Goes to an address. Reloads the view if it is the current one. */
function goTo(address) {
  if (address === location.hash) route();
  else location.hash = address;
}

/** Decodes a part of an address, or returns it as it is if its escapes are broken. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const missingScope = (scope) =>
  new ApiError({
    status: 403,
    code: 'insufficient_scope',
    message: `the key does not have the scope \`${scope}\``,
  });

/** Shows a view. The focus goes to its title, or stays on the control that was used. */
function put(nodes, hash) {
  const held = hash === shownPath && main.contains(document.activeElement) ? document.activeElement.id : '';
  shownPath = hash;
  refill(main, nodes);
  main.removeAttribute('aria-busy');
  const title = main.querySelector('h1');
  document.title = title ? `${title.textContent} · OneRun` : 'OneRun';
  const control = held === '' ? null : document.getElementById(held);
  if (!control) scrollTo(0, 0);
  focusOn(control ?? title);
}

function markNavigation(current) {
  header.hidden = false;
  const item = ([name, href, text]) =>
    h('li', h('a', { href, 'aria-current': name === current && 'page' }, text));
  refill(document.getElementById('nav'), h('ul', navigation().map(item)));
  const { name, key_id: id } = api.caller;
  refill(
    document.getElementById('identity'),
    h(
      'a.identity-name',
      { href: '#/me', title: id, 'aria-current': current === 'me' && 'page' },
      h('span.hidden', 'Key in use: '),
      name ?? id,
    ),
    button('Sign out', () => signOut('You are signed out. The page no longer has the key.'), 'quiet'),
  );
}

// Signing in and out

function signOut(words = null, error = null) {
  closeDialogs({ all: true });
  api.forget();
  cursors.clear();
  shownPath = null;
  leaving.abort();
  showSignIn(error);
  if (words) announce(words);
}

function showSignIn(error = null) {
  header.hidden = true;
  refill(document.getElementById('nav'));
  refill(document.getElementById('identity'));
  const key = h('input', {
    type: 'password',
    id: 'key',
    required: true,
    autocomplete: 'off',
    autocapitalize: 'off',
    spellcheck: 'false',
    // Keeps password managers away.
    'data-1p-ignore': true,
    'data-lpignore': 'true',
  });
  const form = apiForm({
    className: 'card',
    submit: 'Sign in',
    content: [field({ label: 'API key', control: key, pointers: ['key'] }), error && problem(error)],
    check: () => {
      const text = key.value.trim();
      if (text === '') return [['key', 'paste an API key']];
      // Other characters cannot be in a header.
      return /^[\x21-\x7e]+$/.test(text)
        ? []
        : [['key', 'a key has only ASCII letters, digits and symbols, and no spaces']];
    },
    send: async () => {
      const text = key.value.trim();
      key.value = '';
      await api.signIn(text);
      await route();
    },
  });
  const place = h(
    'div.sign-in',
    h('p.brand', document.querySelector('.brand-mark').cloneNode(true), 'OneRun'),
    h('h1', 'Dashboard'),
    h(
      'p.about',
      'Manage API keys and read the results of simulations. You see what your key has scopes for.',
    ),
    form,
    h(
      'p.small.muted',
      'The key stays in the memory of this page only. Reloading or closing the page signs you out.',
    ),
  );
  refill(main, place);
  main.removeAttribute('aria-busy');
  document.title = 'OneRun';
  key.focus();
}

api.whenRefused((error) => signOut(null, error));

document.getElementById('skip').addEventListener('click', (event) => {
  // A normal jump would change the address, which names the view.
  event.preventDefault();
  focusOn(main.querySelector('h1') ?? main);
});

addEventListener('hashchange', () => {
  closeDialogs();
  route();
});
addEventListener('beforeunload', (event) => {
  if (isHeld()) event.preventDefault();
});
// Browsers may keep this page in memory for their back button. It must not keep the key.
addEventListener('pagehide', () => signOut());

route();
