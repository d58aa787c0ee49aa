'use strict';

// The audit trail: who changed which key, newest first. That no entry was changed or taken out is for a program to check
// that has read all of them; the head that it should find is shown.

async function auditView(context) {
  const query = { limit: PAGE_SIZE, offset: offsetOf(context.query) };
  const page = await api.get('v1/audit', { query, signal: context.signal });
  return [
    heading('Audit', {
      about:
        'Every change of a key, and who made it. Entries are only ever added, each with the hash of the one before.',
    }),
    page.head &&
      h(
        'section.card',
        facts([
          ['Newest entry', `number ${page.head.sequence.toLocaleString('en')}`],
          ['Its hash', h('code.hash', page.head.hash)],
          ['Check the chain', code('onerun keys audit --verify')],
        ]),
      ),
    table({
      caption: 'Changes of keys, newest first',
      empty: 'Nothing has been changed yet.',
      columns: ['Entry', 'When', 'What', 'Key', 'By', 'From', 'Details'],
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
      h('summary', entry.details?.name ?? 'details'),
      facts([
        ...Object.entries(entry.details ?? {}).map(([name, value]) => [plain(name), String(value)]),
        ['user agent', actor.user_agent],
        ['request', actor.request_id && code(actor.request_id)],
        ['exactly at', entry.at],
        ['hash', h('code.hash', entry.hash)],
        ['hash before', h('code.hash', entry.previous_hash)],
      ]),
    ),
  ];
}
