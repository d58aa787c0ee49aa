'use strict';

// The form that creates or changes a key.

async function createKeyView({ signal }) {
  const names = await projectNames(signal);
  const keyOf = idempotency();
  const form = keyForm({
    names,
    submit: 'Create key',
    send: async (body) => {
      const made = await api.post('v1/keys', { body, idempotencyKey: keyOf(body) });
      showSecret(made, { title: 'Your new key' });
    },
  });
  return [
    heading('Create a key', {
      above: api.may('keys:read') && link('#/keys', 'Keys'),
      about:
        'Create one key for each program, with only the scopes that it needs. Then you can revoke each alone.',
    }),
    form,
  ];
}

async function changeKeyView(context) {
  const [key, names] = await Promise.all([
    api.get(path`v1/keys/${context.params.id}`, { signal: context.signal }),
    projectNames(context.signal),
  ]);
  const address = `#/keys/${encodeURIComponent(key.id)}`;
  const form = keyForm({
    key,
    names,
    submit: 'Save',
    cancel: () => {
      location.hash = address;
    },
    send: async (body) => {
      const isChanged = Object.keys(body).length > 0;
      if (isChanged) await api.patch(path`v1/keys/${key.id}`, { body });
      announce(isChanged ? 'The key was changed.' : 'Nothing was changed.');
      location.hash = address;
    },
  });
  return [heading(`Change ${key.name}`, { above: link(address, key.name) }), form];
}

/** A form for a new key, or for changing `key`. `send` gets the body; for a change it has only the changed members. */
function keyForm({ key = null, names, submit, cancel = null, send }) {
  const name = h('input', {
    type: 'text',
    maxlength: 200,
    required: true,
    value: key?.name ?? '',
    spellcheck: 'false',
  });
  const grid = scopesGroup(key?.scopes ?? []);
  const projects = projectsGroup(key, names);
  const limits = limitFields(key);
  const read = () => ({
    name: name.value.trim(),
    scopes: grid.read(),
    ...projects.read(),
    ...readExpiry(form),
    ...limits.read(),
  });
  const form = apiForm({
    className: 'key-form',
    submit,
    cancel,
    content: [
      h(
        'section.card',
        field({
          label: 'Name',
          hint: 'Name the program that will use the key, and where it runs.',
          control: name,
          pointers: ['name'],
        }),
      ),
      h('section.card', grid.node),
      h('section.card', projects.node),
      h(
        'section.card',
        expiryGroup({ keep: key && `as it is now: ${key.expires_at ? fromNow(key.expires_at) : 'never'}` }),
      ),
      h('section.card', limits.node),
    ],
    check: () => [
      ...(name.value.trim() === '' ? [['name', 'enter a name']] : []),
      ...grid.check(),
      ...projects.check(),
      ...checkExpiry(form),
      ...limits.check(),
    ],
    send: () => send(key ? changes(original, read()) : read()),
  });
  const original = read();
  return form;
}

/** The members of `after` that differ from `before`. */
function changes(before, after) {
  const isOther = ([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]);
  return Object.fromEntries(Object.entries(after).filter(isOther));
}

/** A grid of scopes, and presets that fill it. Scopes that the key in use does not have are disabled. */
function scopesGroup(chosen) {
  const boxes = new Map();
  const grid = scopeGrid('Scopes', (scope) => {
    const own = api.may(scope);
    const box = h('input', {
      type: 'checkbox',
      checked: chosen.includes(scope),
      disabled: !own,
      'aria-label': scope,
      title: own ? scope : `${scope}: your own key does not have this scope`,
      change: () => mark(),
    });
    boxes.set(scope, box);
    return box;
  });
  const read = () => SCOPES.filter((scope) => boxes.get(scope).checked);
  const presets = PRESETS.map((preset) => {
    const isOwn = preset.scopes.every((scope) => api.may(scope));
    const set = () => {
      for (const [scope, box] of boxes) box.checked = preset.scopes.includes(scope);
      mark();
    };
    const node = h(
      'button.preset',
      { type: 'button', disabled: !isOwn, 'aria-pressed': 'false', click: set },
      h('strong', plain(preset.name)),
      h('span.small', isOwn ? preset.about : 'Your own key does not have all of its scopes'),
    );
    return { preset, node };
  });
  const summary = h('p.small.muted', { role: 'status' });
  /** Marks the preset that the grid equals. */
  function mark() {
    const scopes = read();
    const current = presetOf(scopes);
    for (const { preset, node } of presets) node.setAttribute('aria-pressed', String(preset === current));
    summary.textContent =
      scopes.length === 0 ? 'No scopes chosen.' : `${count(scopes.length, 'scope')} chosen.`;
    manages.hidden = !scopes.includes('keys:write');
  }
  const manages = warning(
    'With keys:write, the key can create other keys that have no more rights than itself.',
  );
  const node = group(
    {
      legend: 'Scopes',
      hint: 'Choose a preset, then change the grid as you need.',
      pointers: ['scopes', 'preset'],
    },
    h(
      'div.presets',
      { role: 'group', 'aria-label': 'Presets' },
      presets.map((one) => one.node),
    ),
    grid,
    summary,
    manages,
  );
  mark();
  return { node, read, check: () => (read().length > 0 ? [] : [['scopes', 'choose at least one scope']]) };
}

/** A choice of all projects or some. If the key in use cannot list projects, their ids are typed. */
function projectsGroup(key, names) {
  const mayAll = api.caller.all_projects;
  const chosen = new Set(key?.project_ids ?? []);
  const isAll = key ? key.all_projects : false;
  // Projects without a known name stay in the list, or another change of the key would remove them.
  const known = new Map([...names, ...Array.from(chosen, (id) => [id, names.get(id) ?? id])]);
  if (!mayAll) for (const id of api.caller.project_ids) known.set(id, names.get(id) ?? id);
  const boxes = Array.from(known, ([id, name]) => {
    const box = h('input', {
      type: 'checkbox',
      id: freshId('project'),
      value: id,
      checked: chosen.has(id),
      change: () => some(),
    });
    return h(
      'div.choice',
      { 'data-name': `${name} ${id}`.toLowerCase() },
      box,
      h('label', { for: box.id }, h('bdi', name), ' ', code(id)),
    );
  });
  const typed = h('input', { type: 'text', id: freshId('ids'), spellcheck: 'false', input: () => some() });
  const find = h('input', {
    type: 'search',
    'aria-label': 'Find a project',
    placeholder: 'Find a project',
    input: () => {
      const wanted = find.value.trim().toLowerCase();
      for (const box of boxes) box.hidden = !box.dataset.name.includes(wanted);
    },
  });
  const list =
    boxes.length > 0
      ? h(
          'div.project-list',
          boxes.length > 8 && find,
          h('div.scroll', { role: 'group', 'aria-label': 'Projects' }, boxes),
        )
      : h('div.project-list', h('label', { for: typed.id }, 'Project ids, separated by spaces'), typed);
  const node = group(
    { legend: 'Projects', pointers: ['project_ids', 'all_projects'] },
    choice('projects', 'some', 'These projects', { checked: !isAll }),
    list,
    choice('projects', 'all', 'All projects, including future ones', {
      checked: isAll,
      disabled: !mayAll,
      hint: mayAll ? null : 'Your own key is limited to some projects.',
    }),
  );
  function some() {
    node.querySelector('input[value=some]').checked = true;
  }
  const ids = () => {
    if (boxes.length === 0) return typed.value.split(/[\s,]+/).filter(Boolean);
    return boxes
      .map((box) => box.firstChild)
      .filter((box) => box.checked)
      .map((box) => box.value);
  };
  const all = () => node.querySelector('input[value=all]').checked;
  return {
    node,
    read: () => (all() ? { all_projects: true } : { project_ids: ids() }),
    check: () =>
      all() || ids().length > 0 ? [] : [['project_ids', 'choose at least one project, or all projects']],
  };
}

const DEFAULT_DAYS = 90;

/** A choice of when a key expires: in some days or never. With `keep`, that text describes the default choice. */
function expiryGroup({ keep = null } = {}) {
  const ends = api.caller.expires_at && Math.floor((new Date(api.caller.expires_at) - Date.now()) / DAY_MS);
  const most = Math.min(ends ?? 3650, 3650);
  const days = h('input.short', {
    type: 'number',
    min: 1,
    max: 3650,
    inputmode: 'numeric',
    name: 'days',
    value: Math.max(1, Math.min(DEFAULT_DAYS, most)),
    'aria-label': 'Days until it expires',
  });
  const until = h('span.muted', { role: 'status' });
  const say = () => {
    const when = isWhole(days.value, 1, 3650) && DATE.format(Date.now() + Number(days.value) * DAY_MS);
    until.textContent = when ? `days, on ${when}` : 'days';
  };
  const care = warning('A key that never expires works until somebody revokes it. Remember to rotate it.');
  const node = group(
    {
      legend: 'Expiry',
      hint: ends !== null && `Not later than your own key, which expires ${fromNow(api.caller.expires_at)}.`,
      pointers: ['expires_in_days', 'never_expires'],
    },
    keep && choice('expiry', 'keep', sentence(keep), { checked: true }),
    h('div.choice-line', choice('expiry', 'days', 'In', { checked: !keep }), days, until),
    choice('expiry', 'never', 'Never', { disabled: ends !== null }),
    care,
  );
  const mark = () => {
    care.hidden = !node.querySelector('input[value=never]').checked;
  };
  days.addEventListener('input', () => {
    node.querySelector('input[value=days]').checked = true;
    say();
    mark();
  });
  node.addEventListener('change', mark);
  say();
  mark();
  return node;
}

const expiryChoice = (form) => form.querySelector('input[name=expiry]:checked').value;

function checkExpiry(form) {
  const isRight =
    expiryChoice(form) !== 'days' || isWhole(form.querySelector('input[name=days]').value, 1, 3650);
  return isRight ? [] : [['expires_in_days', 'must be 1 to 3,650 days']];
}

function readExpiry(form) {
  switch (expiryChoice(form)) {
    case 'days':
      return { expires_in_days: Number(form.querySelector('input[name=days]').value) };
    case 'never':
      return { never_expires: true };
    default:
      return {};
  }
}

const WINDOWS = [
  [1, 'a second'],
  [60, 'a minute'],
  [3600, 'an hour'],
  [86_400, 'a day'],
];

/** Optional limits: addresses, a rate limit, and a start. */
function limitFields(key) {
  const ranges = h('textarea', {
    rows: 3,
    spellcheck: 'false',
    value: (key?.allowed_cidrs ?? []).join('\n'),
  });
  const requests = h('input.short', {
    type: 'number',
    min: 1,
    max: 1_000_000,
    inputmode: 'numeric',
    placeholder: 'no limit',
    'aria-label': 'Requests',
    value: key?.rate_limit?.requests ?? '',
  });
  const current = key?.rate_limit?.window_seconds ?? 60;
  const choices = WINDOWS.some(([seconds]) => seconds === current)
    ? WINDOWS
    : [...WINDOWS, [current, duration(current)]];
  const per = h(
    'select',
    { 'aria-label': 'Window of the rate limit' },
    choices.map(([seconds, words]) => h('option', { value: seconds, selected: seconds === current }, words)),
  );
  const begins = h('input', { type: 'datetime-local' });
  const isNarrowed = Boolean(key?.allowed_cidrs || key?.rate_limit);
  const node = h(
    'details',
    { open: isNarrowed },
    h('summary', 'Addresses, rate limit', !key && ', start'),
    field({
      label: 'Allowed addresses',
      hint: [
        'One range per line, such as ',
        code('10.0.0.0/8'),
        ' or ',
        code('2001:db8::/32'),
        '. Leave it empty to allow any address.',
      ],
      control: ranges,
      pointers: ['allowed_cidrs', 'any_address'],
    }),
    group(
      { legend: 'Rate limit', pointers: ['rate_limit', 'no_rate_limit'] },
      h('div.choice-line', requests, h('span', 'requests in'), per),
    ),
    !key &&
      field({
        label: 'Not valid before',
        hint: 'In your own time zone. Leave it empty for a key that works at once.',
        control: begins,
        pointers: ['not_before'],
      }),
  );
  const lines = () => ranges.value.split(/[\s,]+/).filter(Boolean);
  return {
    node,
    check: () => {
      const isRight =
        requests.value.trim() === '' ? !requests.validity.badInput : isWhole(requests.value, 1, 1_000_000);
      return isRight ? [] : [['rate_limit', 'must be 1 to 1,000,000 requests']];
    },
    read: () => {
      const read = {};
      if (lines().length > 0) read.allowed_cidrs = lines();
      else if (key) read.any_address = true;
      if (requests.value)
        read.rate_limit = { requests: Number(requests.value), window_seconds: Number(per.value) };
      else if (key) read.no_rate_limit = true;
      if (begins.value) read.not_before = new Date(begins.value).toISOString();
      return read;
    },
  };
}
