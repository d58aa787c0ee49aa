'use strict';

// Keys: the list, one key, and the key in use.

/** A table of keys; `extra` adds a column. */
function keyTable(keys, names, { caption, empty, extra = null }) {
  const columns = ['Key', 'Status', 'Scopes', 'Projects', 'Expires', 'Last used'];
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

/** The name of the preset with these scopes, or the number of scopes. */
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

/** Scopes as a grid of resources by read and write; `cell(scope)` makes each cell. */
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

/** The grid of a key's scopes; with `used`, also whether it has used each. */
function grantedGrid(scopes, used = null) {
  return scopeGrid('Scopes of the key', (scope) => {
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
    api.get('v1/keys', { query: { ...filters, ...pageQuery(context) }, signal }),
    projectNames(signal),
  ]);
  const isFiltered = Object.values(filters).some(Boolean);
  return [
    heading('Keys', {
      about: 'The keys that can call this API. Give each program its own.',
      actions: [api.may('keys:write') && linkButton('#/keys/new', 'Create a key', 'primary')].filter(Boolean),
    }),
    keyFilters(context, filters, names),
    keyTable(page.data, names, {
      caption: 'Keys, newest first',
      empty: isFiltered ? 'No keys match the filters.' : 'No keys yet, except the root key.',
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
    { submit: apply, novalidate: true, 'aria-label': 'Filter keys' },
    small('Status', status),
    names.size > 0 && small('Access to project', project),
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
      h('section.card', h('h2', 'Scopes'), grantedGrid(key.scopes, key.used_scopes)),
      h('section.card', h('h2', 'Limits'), keyFacts(key, names)),
    ),
    h('section.card', h('h2', 'History'), keyLife(key)),
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

/** After a rotation: the successor, when this key ends, and whether it is still in use. */
function rotationNote(key) {
  if (!key.replaced_by) return null;
  const successor = link(`#/keys/${encodeURIComponent(key.replaced_by)}`, code(key.replaced_by));
  const isUsed = key.uses_since_replaced > 0;
  const ended = new Date(key.overlap_ends_at ?? 0) <= Date.now();
  return h(
    'section.card.notice',
    h('h2', 'This key was replaced'),
    h(
      'p',
      'Replaced by ',
      successor,
      ' ',
      time(key.replaced_at),
      '. ',
      ended ? 'It stopped working ' : 'It still works, and stops ',
      time(key.overlap_ends_at),
      '.',
    ),
    h(
      'p',
      isUsed ? badge('warn', 'still in use') : badge('good', 'not used since then'),
      isUsed && [
        ` Used ${timesInWords(key.uses_since_replaced)} since then, last `,
        time(key.last_used_since_replaced_at),
        '.',
      ],
    ),
  );
}

function keyFacts(key, names) {
  const projects = key.all_projects
    ? 'all, including future ones'
    : h(
        'ul.plain',
        key.project_ids.map((id) => h('li', h('bdi', names.get(id) ?? ''), ' ', code(id))),
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

// The key in use

async function whoamiView({ signal }) {
  const [me, names] = await Promise.all([api.get('v1/whoami', { signal }), projectNames(signal)]);
  const limit = me.rate_limit;
  const projects = me.all_projects
    ? 'all'
    : h(
        'ul.plain',
        me.project_ids.map((id) => h('li', h('bdi', names.get(id) ?? ''), ' ', code(id))),
      );
  return [
    heading('This key', { about: 'The key that you are using here.' }),
    h(
      'div.pair',
      h('section.card', h('h2', 'Scopes'), grantedGrid(me.scopes)),
      h(
        'section.card',
        h('h2', 'Identity and limits'),
        facts([
          ['Name', me.name],
          ['Id', code(me.key_id)],
          ['Kind', me.kind],
          ['Projects', projects],
          ['Expires', me.expires_at ? fullTime(me.expires_at) : badge('warn', 'never')],
          ['Last used', me.last_used_at === undefined ? null : fullTime(me.last_used_at, 'unknown')],
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
            'Requests left',
            api.usage
              ? `${api.usage.left.toLocaleString('en')}, all again in ${duration(api.usage.resetSeconds)}`
              : null,
          ],
        ]),
      ),
    ),
  ];
}
