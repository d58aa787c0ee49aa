'use strict';

// The audit trail: who changed which key, newest first. Verifying the chain of hashes needs every entry, so the command line
// does it. The page shows the newest hash to compare.

async function auditView(context) {
  const page = await api.get('v1/audit', { query: pageQuery(context), signal: context.signal });
  return [
    heading('Audit', {
      about:
        'Every change of a key, and who made it. Each entry includes the hash of the entry before, so a removed or changed entry is found.',
    }),
    page.head &&
      h(
        'section.card',
        facts([
          ['Newest entry', `number ${page.head.sequence.toLocaleString('en')}`],
          ['Its hash', h('code.hash', page.head.hash)],
          ['Archived', page.archived && `entries up to number ${page.archived.sequence.toLocaleString('en')}`],
          ['Verify all entries', code('onerun keys audit --verify')],
        ]),
      ),
    table({
      caption: 'Changes of keys, newest first',
      empty: 'No key has been changed yet.',
      columns: ['Entry', 'Time', 'Action', 'Key', 'By key', 'From address', 'Details'],
      rows: page.data.map(auditRow),
    }),
    pager(context, page, 'entry', 'entries'),
  ];
}

function auditRow(entry) {
  const { actor } = entry;
  const toKey = (id) =>
    id === 'root' || !api.may('keys:read') ? code(id) : link(`#/keys/${encodeURIComponent(id)}`, code(id));
  return [
    `${entry.sequence}`,
    time(entry.at),
    h('span.whole', plain(entry.action)),
    toKey(entry.key_id),
    actor.key_id ? toKey(actor.key_id) : '—',
    actor.address ? code(actor.address) : '—',
    h(
      'details',
      h('summary', h('bdi', entry.details?.name ?? 'details')),
      facts([
        ...Object.entries(entry.details ?? {}).map(([name, value]) => [plain(name), String(value)]),
        ['user agent', actor.user_agent],
        ['request', actor.request_id && code(actor.request_id)],
        ['exact time', entry.at],
        ['hash', h('code.hash', entry.hash)],
        ['hash of the entry before', h('code.hash', entry.previous_hash)],
      ]),
    ),
  ];
}
