'use strict';

// Keys that need attention.

const SOON_DAYS = 14;
const IDLE_DAYS = 30;

async function attentionView({ signal }) {
  const [names, expiring, idle, active] = await Promise.all([
    projectNames(signal),
    api.all('v1/keys', { query: { status: 'active', expiring_within_days: SOON_DAYS }, signal }),
    api.all('v1/keys', { query: { idle_for_days: IDLE_DAYS }, signal }),
    api.all('v1/keys', { query: { status: 'active' }, signal }),
  ]);
  // A replaced key ends without a revocation. Its successor is listed instead.
  const current = ({ data }) => data.filter((key) => !key.replaced_by);
  const unused = (key) => key.scopes.filter((scope) => !key.used_scopes.includes(scope));
  const sections = [
    {
      id: 'expiring',
      title: `Expire within ${SOON_DAYS} days`,
      about: 'Rotate them now: both keys work for a while, and no program is refused.',
      keys: current(expiring),
    },
    {
      id: 'idle',
      title: `Idle for ${IDLE_DAYS} days or more`,
      about: 'Disable them. You can enable a key again if somebody needs it.',
      keys: current(idle),
    },
    {
      id: 'forever',
      title: 'Never expire',
      about: 'A leaked key works until somebody notices and revokes it.',
      keys: current(active).filter((key) => !key.expires_at),
    },
    {
      id: 'unused',
      title: 'Have unused scopes',
      about: 'Give each key only the scopes that it needs.',
      keys: current(active).filter((key) => unused(key).length > 0),
      extra: {
        column: 'Unused scopes',
        cell: (key) => {
          const scopes = unused(key);
          return h(
            'span',
            { title: scopes.join('\n') },
            scopes.length === key.scopes.length ? 'all' : scopes.join(', '),
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
    heading('Attention', { about: 'Active keys that you should check.' }),
    ![expiring, idle, active].every((list) => list.isAll) &&
      warning('There are too many keys to check all of them here. Older keys are not listed.'),
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
