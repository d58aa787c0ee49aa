'use strict';

// Keys: the list, one of them and what can be done with it, and those that need attention.

/** Keys, for a table. */
function keyTable(keys, names, { caption, empty, extra = null }) {
  const columns = ['Key', 'Status', 'May', 'Projects', 'Expires', 'Last used'];
  return table({
    caption,
    empty,
    columns: extra ? [...columns, extra.column] : columns,
    rows: keys.map((key) => [
      [link(`#/keys/${encodeURIComponent(key.id)}`, key.name), h('span.id', key.id)],
      statusBadge(key.status),
      scopesInShort(key.scopes),
      projectsInShort(key, names),
      expiryInShort(key),
      time(key.last_used_at, 'never used'),
      ...(extra ? [extra.cell(key)] : []),
    ]),
  });
}

function expiryInShort(key) {
  if (key.status === 'revoked') return h('span.muted', '—');
  if (key.replaced_by) return time(key.overlap_ends_at);
  return key.expires_at ? time(key.expires_at) : badge('warn', 'never');
}

/** The preset that a key's scopes are, or how many they are. */
function scopesInShort(scopes) {
  const preset = presetOf(scopes);
  return h(
    'span.whole',
    { title: scopes.join('\n') },
    preset ? plain(preset.name) : count(scopes.length, 'scope'),
  );
}

function projectsInShort({ all_projects: isAll, project_ids: ids }, names) {
  if (isAll) return 'all';
  const [first] = ids;
  if (ids.length === 1) return names.has(first) ? h('span.name', names.get(first)) : code(first);
  return h(
    'span.whole',
    { title: ids.map((id) => names.get(id) ?? id).join('\n') },
    count(ids.length, 'project'),
  );
}

/** A scope list as a grid of resources by what may be done; `cell(scope)` makes each cell. */
function scopeGrid(caption, cell) {
  const column = (name) => h('th', { scope: 'col' }, name);
  return h(
    'table.grid',
    h('caption.hidden', caption),
    h('thead', h('tr', column('Resource'), column('Read'), column('Write'))),
    h(
      'tbody',
      RESOURCES.map((resource) =>
        h(
          'tr',
          h('th', { scope: 'row' }, resource),
          ['read', 'write'].map((action) => {
            const scope = `${resource}:${action}`;
            return h(
              'td',
              SCOPES.includes(scope) ? cell(scope) : h('span.muted', { title: 'no such scope' }, '—'),
            );
          }),
        ),
      ),
    ),
  );
}

/** The grid of what a key may do; with `used`, also of what it has done. */
function grantedGrid(scopes, used = null) {
  return scopeGrid('What the key may do', (scope) => {
    if (!scopes.includes(scope)) return h('span.muted', 'no');
    if (used === null) return badge('good', 'yes');
    return used.includes(scope) ? badge('good', 'used') : badge('idle', 'not used');
  });
}

// The list

const KEY_STATUSES = ['active', 'pending', 'disabled', 'expired', 'revoked'];

async function keysView(context) {
  const { query, signal } = context;
  const filters = {
    status: query.get('status'),
    project_id: query.get('project_id'),
    expiring_within_days: query.get('expiring_within_days'),
    idle_for_days: query.get('idle_for_days'),
  };
  const [page, names] = await Promise.all([
    api.get('v1/keys', { query: { ...filters, limit: PAGE_SIZE, offset: offsetOf(query) }, signal }),
    projectNames(signal),
  ]);
  const isFiltered = Object.values(filters).some(Boolean);
  return [
    heading('Keys', {
      about: 'Who and what may call this API, each with a key of its own.',
      actions: [api.may('keys:write') && linkButton('#/keys/new', 'Create a key', 'primary')].filter(Boolean),
    }),
    keyFilters(context, filters, names),
    keyTable(page.data, names, {
      caption: 'Keys, newest first',
      empty: isFiltered ? 'No key is like that.' : 'There are no keys yet but the root key.',
    }),
    pager(context, page, 'key'),
  ];
}

function keyFilters(context, filters, names) {
  const option = (value, text, chosen) => h('option', { value, selected: value === chosen }, text);
  const days = { type: 'number', min: 1, max: 3650, inputmode: 'numeric', placeholder: 'any' };
  const status = h(
    'select',
    { id: 'filter-status' },
    option('', 'any', filters.status ?? ''),
    KEY_STATUSES.map((word) => option(word, word, filters.status)),
  );
  const project = h(
    'select',
    { id: 'filter-project' },
    option('', 'any', filters.project_id ?? ''),
    Array.from(names, ([id, name]) => option(id, name, filters.project_id)),
  );
  const expiring = h('input', { id: 'filter-expiring', ...days, value: filters.expiring_within_days ?? '' });
  const idle = h('input', { id: 'filter-idle', ...days, value: filters.idle_for_days ?? '' });
  const apply = (event) => {
    event.preventDefault();
    context.go({
      status: status.value,
      project_id: project.value,
      expiring_within_days: expiring.value,
      idle_for_days: idle.value,
      offset: null,
    });
  };
  const small = (label, control) => h('div.filter', h('label', { for: control.id }, label), control);
  return h(
    'form.filters',
    { submit: apply, novalidate: true, 'aria-label': 'Which keys are shown' },
    small('Status', status),
    names.size > 0 && small('Reaches project', project),
    small('Expires within days', expiring),
    small('Idle for days', idle),
    h(
      'div.buttons',
      h('button', { type: 'submit', id: 'filter-apply' }, 'Filter'),
      Object.values(filters).some(Boolean) && linkButton('#/keys', 'Show all', 'quiet'),
    ),
  );
}

// One key

async function keyView(context) {
  const [key, names] = await Promise.all([
    api.get(path`v1/keys/${context.params.id}`, { signal: context.signal }),
    projectNames(context.signal),
  ]);
  return [
    heading(key.name, {
      above: link('#/keys', 'Keys'),
      about: [statusBadge(key.status), ' ', code(key.prefix)],
      actions: api.may('keys:write') ? keyActions(key, context) : [],
    }),
    rotationNote(key),
    h(
      'div.pair',
      h('section.card', h('h2', 'What it may do'), grantedGrid(key.scopes, key.used_scopes)),
      h('section.card', h('h2', 'Where and until when'), keyFacts(key, names)),
    ),
    h('section.card', h('h2', 'Its life'), keyLife(key)),
  ];
}

function keyActions(key, context) {
  const isOver = key.status === 'revoked' || key.status === 'expired';
  const changeable = !isOver && !key.replaced_by;
  return [
    changeable && key.status !== 'disabled' && button('Rotate', () => rotateDialog(key), 'primary'),
    changeable && linkButton(`#/keys/${encodeURIComponent(key.id)}/change`, 'Change'),
    !isOver && key.status !== 'disabled' && button('Disable', () => switchKey(key, 'disable', context)),
    !isOver && key.status === 'disabled' && button('Enable', () => switchKey(key, 'enable', context)),
    key.status !== 'revoked' && button('Revoke', () => revokeDialog(key, context), 'danger'),
  ].filter(Boolean);
}

/** What rotation has left behind: the one use of the old key that must end before it does. */
function rotationNote(key) {
  if (!key.replaced_by) return null;
  const successor = link(`#/keys/${encodeURIComponent(key.replaced_by)}`, code(key.replaced_by));
  const isUsed = key.uses_since_replaced > 0;
  const ended = new Date(key.overlap_ends_at ?? 0) <= Date.now();
  return h(
    'section.card.notice',
    h('h2', 'Replaced'),
    h(
      'p',
      'By ',
      successor,
      ' ',
      time(key.replaced_at),
      '. ',
      ended ? 'It ended ' : 'It still works, and ends ',
      time(key.overlap_ends_at),
      '.',
    ),
    h(
      'p',
      isUsed ? badge('warn', 'still in use') : badge('good', 'not used since'),
      isUsed && [
        ` ${count(key.uses_since_replaced, 'time')} since then, last `,
        time(key.last_used_since_replaced_at),
        '.',
      ],
    ),
  );
}

function keyFacts(key, names) {
  const projects = key.all_projects
    ? 'all, those to come included'
    : h(
        'ul.plain',
        key.project_ids.map((id) => h('li', names.get(id) ?? '', ' ', code(id))),
      );
  const limit = key.rate_limit;
  return facts([
    ['Projects', projects],
    ['Valid from', key.not_before && fullTime(key.not_before)],
    ['Expires', key.expires_at ? fullTime(key.expires_at) : badge('warn', 'never')],
    [
      'Addresses',
      key.allowed_cidrs
        ? h(
            'ul.plain',
            key.allowed_cidrs.map((range) => h('li', code(range))),
          )
        : 'any',
    ],
    [
      'Rate limit',
      limit ? `${count(limit.requests, 'request')} in ${duration(limit.window_seconds)}` : 'none',
    ],
    ['Last used', fullTime(key.last_used_at, 'never')],
    [
      'Metadata',
      Object.keys(key.metadata ?? {}).length > 0 ? h('pre', JSON.stringify(key.metadata, null, 2)) : null,
    ],
  ]);
}

function keyLife(key) {
  const toKey = (id) => id && (id === 'root' ? code(id) : link(`#/keys/${encodeURIComponent(id)}`, code(id)));
  return facts(
    [
      ['Created', [fullTime(key.created_at), ' by ', toKey(key.created_by)]],
      ['Changed', key.updated_at === key.created_at ? null : fullTime(key.updated_at)],
      ['Disabled', key.disabled_at && fullTime(key.disabled_at)],
      ['Revoked', key.revoked_at && fullTime(key.revoked_at)],
      ['Replaces', toKey(key.replaces)],
      ['Replaced by', toKey(key.replaced_by)],
    ],
    { short: true },
  );
}

/** A warning for whoever is about to take away the ground that they stand on. */
const ownKeyWarning = (key) =>
  key.id === api.caller.key_id &&
  warning('This is the key that you are using here. You will be asked for another one.');

async function switchKey(key, action, context) {
  try {
    await api.post(path`v1/keys/${key.id}/` + action);
  } catch (error) {
    failDialog(error);
    return;
  }
  announce(`The key ${key.name} is ${action}d.`);
  context.reload();
}

/** Where there is no form that could show what went wrong. */
function failDialog(error) {
  // A refused key has led to the question for another one already.
  if (error.status === 401) return;
  const dialog = openDialog({
    title: 'That was not done',
    content: [
      problem(error),
      h(
        'div.buttons',
        button('Close', () => dialog.close()),
      ),
    ],
  });
}

function revokeDialog(key, context) {
  const typed = h('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', autofocus: true });
  const form = apiForm({
    danger: true,
    submit: 'Revoke for good',
    cancel: () => dialog.close(),
    content: [
      h(
        'p',
        'Everything that uses ',
        h('strong', key.name),
        ' is refused within seconds. This cannot be undone.',
      ),
      ownKeyWarning(key),
      field({
        label: 'The key’s name or id, to confirm',
        control: typed,
        hint: [code(key.id)],
        pointers: ['confirm'],
      }),
    ],
    check: () => {
      const given = typed.value.trim();
      return given === key.name.trim() || given === key.id
        ? []
        : [['confirm', 'this is neither its name nor its id']];
    },
    send: async () => {
      await api.post(path`v1/keys/${key.id}/revoke`);
      dialog.close();
      announce(`The key ${key.name} is revoked.`);
      context.reload();
    },
  });
  const dialog = openDialog({ title: 'Revoke this key?', content: form });
}

const OVERLAPS = [
  [0, 'Not at all: it ends at once'],
  [3600, '1 hour'],
  [86_400, '24 hours'],
  [604_800, '7 days'],
];

function rotateDialog(key) {
  const own = h('input.short', {
    type: 'number',
    min: 0,
    max: 604_800,
    inputmode: 'numeric',
    'aria-label': 'Seconds of overlap',
  });
  const content = [
    h(
      'p',
      'A new key is made that may do the same. The old one goes on working for a while, so that nothing that uses it fails before you have changed it over.',
    ),
    ownKeyWarning(key),
    group(
      { legend: 'How long the old key goes on working', pointers: ['overlap_seconds'] },
      OVERLAPS.map(([seconds, label]) => choice('overlap', seconds, label, { checked: seconds === 86_400 })),
      h(
        'div.choice-line',
        choice('overlap', 'own', 'Another time:'),
        own,
        h('span.muted', 'seconds, 7 days at most'),
      ),
      key.expires_at && h('p.hint', 'It never outlives its own expiry, ', fromNow(key.expires_at), '.'),
    ),
    expiryGroup({ keep: 'as long a life as the old one was made with' }),
  ];
  own.addEventListener('input', () => {
    form.querySelector('input[name=overlap][value=own]').checked = true;
  });
  const chosen = () => form.querySelector('input[name=overlap]:checked').value;
  const keyOf = idempotency();
  const form = apiForm({
    submit: 'Rotate',
    cancel: () => dialog.close(),
    content,
    check: () => [
      ...(chosen() === 'own' && !isWhole(own.value, 0, 604_800)
        ? [['overlap_seconds', 'must be 0 to 604,800 seconds']]
        : []),
      ...checkExpiry(form),
    ],
    send: async () => {
      const body = {
        overlap_seconds: Number(chosen() === 'own' ? own.value : chosen()),
        ...readExpiry(form),
      };
      const made = await api.post(path`v1/keys/${key.id}/rotate`, { body, idempotencyKey: keyOf(body) });
      dialog.close();
      const left =
        body.overlap_seconds > 0
          ? `The old key works for another ${duration(body.overlap_seconds)} at most.`
          : 'The old key has ended.';
      showSecret(made, { title: 'Your new key', remark: left });
    },
  });
  const dialog = openDialog({ title: `Rotate ${key.name}`, content: form });
}

/** A whole number within bounds, as text. */
const isWhole = (text, least, most) =>
  /^\d+$/.test(text.trim()) && Number(text) >= least && Number(text) <= most;

/** Shows a new key, this once: with the dialog, every trace of it in the page goes. */
function showSecret(made, { title, remark = null }) {
  const leave = () => {
    // Not if the key in use was refused meanwhile.
    if (api.caller) goTo(api.may('keys:read') ? `#/keys/${encodeURIComponent(made.id)}` : '#/keys/new');
  };
  // The same request as one whose answer was lost: made, but its secret was in that answer.
  if (!made.key) {
    const lost = openDialog({
      title: 'The key was made before',
      content: [
        warning(
          'An earlier try made this key, and its answer, the only one with the secret, was lost. Revoke it and create another.',
        ),
        h('div.buttons', h('button.primary', { type: 'button', click: () => lost.close() }, 'Go to the key')),
      ],
      closed: leave,
    });
    return;
  }
  const secret = h('output.secret', made.key);
  const outcome = h('p.small', { role: 'status' });
  const copyIt = async () => {
    if (await copy(secret.textContent)) {
      outcome.textContent = 'Copied. It is in the clipboard until something else is.';
    } else {
      getSelection().selectAllChildren(secret);
      outcome.textContent =
        'The browser does not let this page copy. It is selected: press Ctrl+C, or Cmd+C on a Mac.';
    }
  };
  const dialog = openDialog({
    title,
    stays: true,
    content: [
      h('p', h('strong', made.name)),
      warning('This is the only time that it is shown. Nobody can show it again, the server keeps no copy.'),
      secret,
      outcome,
      remark && h('p', remark),
      h(
        'p.small.muted',
        'Keep it where your program reads its secrets, such as ',
        code('ONERUN_API_KEY'),
        ', and in no repository.',
      ),
      h(
        'div.buttons',
        h('button.primary', { type: 'button', autofocus: true, click: copyIt }, 'Copy'),
        button('I have stored it', () => dialog.close()),
      ),
    ],
    closed: () => {
      secret.textContent = '';
      made.key = null;
      leave();
    },
  });
}

// What needs attention

const SOON_DAYS = 14;
const IDLE_DAYS = 30;

async function attentionView({ signal }) {
  const [names, expiring, idle, active] = await Promise.all([
    projectNames(signal),
    api.all('v1/keys', { query: { status: 'active', expiring_within_days: SOON_DAYS }, signal }),
    api.all('v1/keys', { query: { idle_for_days: IDLE_DAYS }, signal }),
    api.all('v1/keys', { query: { status: 'active' }, signal }),
  ]);
  // A replaced key ends by itself, and what is wrong with it is wrong with its successor.
  const current = ({ data }) => data.filter((key) => !key.replaced_by);
  const unused = (key) => key.scopes.filter((scope) => !key.used_scopes.includes(scope));
  const sections = [
    {
      id: 'expiring',
      title: `Expire within ${SOON_DAYS} days`,
      about: 'Rotate them while both keys work, before what uses them is refused.',
      keys: current(expiring),
    },
    {
      id: 'idle',
      title: `Idle for ${IDLE_DAYS} days or more`,
      about: 'Disable them: that can be undone if somebody misses them.',
      keys: current(idle),
    },
    {
      id: 'forever',
      title: 'Never expire',
      about: 'If one leaks unnoticed, it leaks for ever.',
      keys: current(active).filter((key) => !key.expires_at),
    },
    {
      id: 'unused',
      title: 'Hold scopes that they have not used',
      about: 'Give each key only what it needs.',
      keys: current(active).filter((key) => unused(key).length > 0),
      extra: {
        column: 'Not used',
        cell: (key) => {
          const scopes = unused(key);
          return h(
            'span',
            { title: scopes.join('\n') },
            scopes.length === key.scopes.length ? 'all of them' : scopes.join(', '),
          );
        },
      },
    },
  ];
  const summary = h(
    'ul.tiles',
    sections.map(({ id, title, keys }) =>
      h(
        'li',
        h(
          'button.tile',
          { type: 'button', click: () => focusOn(document.getElementById(id)) },
          h(
            `span.tile-number${keys.length > 0 ? '.some' : ''}`,
            icon(keys.length > 0 ? 'warn' : 'good'),
            String(keys.length),
          ),
          h('span', title.charAt(0).toLowerCase() + title.slice(1)),
        ),
      ),
    ),
  );
  return [
    heading('Attention', { about: 'Active keys that are worth a look.' }),
    ![expiring, idle, active].every((list) => list.isAll) &&
      warning('There are more keys than are looked through here: these are the newest.'),
    summary,
    sections.map(({ id, title, about, keys, extra }) =>
      h(
        'section',
        h('h2', { id }, title),
        h('p.about', about),
        keyTable(keys, names, { caption: title, empty: 'None.', extra }),
      ),
    ),
  ];
}

// The caller's own key

async function whoamiView({ signal }) {
  const [me, names] = await Promise.all([api.get('v1/whoami', { signal }), projectNames(signal)]);
  const limit = me.rate_limit;
  const projects = me.all_projects
    ? 'all'
    : h(
        'ul.plain',
        me.project_ids.map((id) => h('li', names.get(id) ?? '', ' ', code(id))),
      );
  return [
    heading('This key', { about: 'What the API says about the key that you have pasted.' }),
    h(
      'div.pair',
      h('section.card', h('h2', 'What it may do'), grantedGrid(me.scopes)),
      h(
        'section.card',
        h('h2', 'Who it is'),
        facts([
          ['Name', me.name],
          ['Id', code(me.key_id)],
          ['Kind', me.kind],
          ['Projects', projects],
          ['Expires', me.expires_at ? fullTime(me.expires_at) : badge('warn', 'never')],
          ['Last used', me.last_used_at === undefined ? null : fullTime(me.last_used_at, 'not noted')],
          [
            'Addresses',
            me.allowed_cidrs
              ? h(
                  'ul.plain',
                  me.allowed_cidrs.map((range) => h('li', code(range))),
                )
              : null,
          ],
          [
            'Rate limit',
            limit ? `${count(limit.requests, 'request')} in ${duration(limit.window_seconds)}` : null,
          ],
          [
            'Left of it',
            api.usage
              ? `${count(api.usage.left, 'request')}, full again in ${duration(api.usage.resetSeconds)}`
              : null,
          ],
        ]),
      ),
    ),
  ];
}
