'use strict';

// Webhooks: the list of a project, and one webhook with its deliveries and their attempts.

const webhookAddress = (project, ...ids) =>
  ['#/webhooks', project, ...ids].map((id, i) => (i ? encodeURIComponent(id) : id)).join('/');

const webhookProjectsView = (context) =>
  projectsView(context, { title: 'Webhooks', address: webhookAddress, show: 'Show webhooks' });

async function webhooksView(context) {
  const { params, signal } = context;
  const query = { project_id: params.project, ...pageQuery(context) };
  const page = await api.get('v1/webhooks', { query, signal });
  return [
    heading('Webhooks', {
      above: link('#/webhooks', 'Projects'),
      about: prose('Each is called when something happens in the project. Create one with `onerun webhooks create`.'),
    }),
    table({
      caption: 'Webhooks, newest first',
      empty: 'No webhooks yet.',
      columns: ['URL', 'State', 'Events', 'Created'],
      rows: page.data.map((one) => [
        [link(webhookAddress(params.project, one.id), one.url), one.description && h('span.sub', one.description)],
        webhookState(one),
        eventsOf(one),
        time(one.created_at),
      ]),
    }),
    pager(context, page, 'webhook'),
  ];
}

const webhookState = (webhook) => [
  webhook.state === 'enabled' ? badge('good', 'enabled') : badge('warn', 'disabled'),
  webhook.disabled_reason && h('span.sub', sentence(webhook.disabled_reason)),
];

const eventsOf = ({ event_types: types }) => types.map((type, index) => [index > 0 && ', ', type]);

async function webhookView(context) {
  const { params, query, signal } = context;
  const at = path`v1/webhooks/${params.webhook}`;
  const ask = { project_id: params.project };
  const state = query.get('state');
  const load = async () => {
    const [webhook, deliveries] = await Promise.all([
      api.get(at, { query: ask, signal }),
      api.get(`${at}/deliveries`, { query: { ...ask, state, ...pageQuery(context) }, signal }),
    ]);
    return { webhook, deliveries };
  };
  const first = await load();
  const body = h('div');
  await refreshWhile(context, body, first, {
    load,
    show: ({ webhook, deliveries }) => [
      h('section.card', webhookFacts(webhook)),
      h(
        'section',
        h('h2', 'Deliveries'),
        h(
          'p.about',
          'Stored for 30 days. ',
          state ? link(context.address({ state: null, offset: null }), 'Show all') : failedLink(context),
        ),
        deliveriesTable(context, at, webhook, deliveries),
        pager(context, deliveries, 'delivery', 'deliveries'),
      ),
    ],
    goesOn: ({ deliveries }) => deliveries.data.some((one) => one.state === 'pending'),
  });
  return [
    heading('Webhook', {
      above: link(webhookAddress(params.project), 'Webhooks'),
      actions: webhookActions(context, at, first.webhook),
    }),
    body,
  ];
}

const failedLink = (context) => link(context.address({ state: 'failed', offset: null }), 'Show failed ones');

/** Buttons that test, disable and enable a webhook. */
function webhookActions(context, at, webhook) {
  if (!api.may('webhooks:write')) return [];
  const query = { project_id: webhook.project_id };
  const isEnabled = webhook.state === 'enabled';
  const body = { state: isEnabled ? 'disabled' : 'enabled' };
  const words = isEnabled ? 'The webhook is disabled.' : 'The webhook is enabled.';
  const change = action(context, words, () => api.patch(at, { query, body }));
  const key = idempotency()(null);
  const test = action(context, 'A test event is sent.', () => api.post(`${at}/test`, { query, idempotencyKey: key }));
  return [isEnabled && button('Send a test', test), button(isEnabled ? 'Disable' : 'Enable', change)];
}

function webhookFacts(webhook) {
  return facts(
    [
      ['URL', code(webhook.url)],
      ['State', webhookState(webhook)],
      ['Description', webhook.description],
      ['Events', eventsOf(webhook)],
      ['Format', webhook.format],
      [
        'Previous secret',
        webhook.previous_secret_expires_at && ['signs until ', fullTime(webhook.previous_secret_expires_at)],
      ],
      ['Created', fullTime(webhook.created_at)],
      ['Id', code(webhook.id)],
    ],
    { short: true },
  );
}

const DELIVERY_BADGES = { pending: 'open', delivered: 'good', failed: 'bad' };

function deliveriesTable(context, at, webhook, deliveries) {
  const mayReplay = api.may('webhooks:write') && webhook.state === 'enabled';
  const query = { project_id: webhook.project_id };
  const replay = (delivery) => {
    const key = idempotency()(null);
    const send = () => api.post(`${at}/deliveries/${delivery.id}/replay`, { query, idempotencyKey: key });
    return button('Replay', action(context, 'The delivery is sent again.', send));
  };
  return table({
    caption: 'Deliveries, newest first',
    empty: 'No deliveries yet.',
    columns: ['Event', 'State', 'Attempts', ...(mayReplay ? ['Replay'] : [])],
    rows: deliveries.data.map((one) => [
      [one.event_type, h('span.sub', fullTime(one.created_at)), payloadOf(one)],
      [
        badge(DELIVERY_BADGES[one.state] ?? 'open', one.state),
        one.error && h('span.sub', plain(one.error)),
        one.next_attempt_at && h('span.sub', 'next attempt ', time(one.next_attempt_at)),
      ],
      attemptsOf(one),
      ...(mayReplay ? [one.state === 'pending' ? h('span.muted', '—') : replay(one)] : []),
    ]),
  });
}

const payloadOf = ({ payload }) =>
  h('details', h('summary', 'Payload'), h('pre', JSON.stringify(payload, null, 2)));

function attemptsOf({ attempts }) {
  if (attempts.length === 0) return h('span.muted', 'none yet');
  return h(
    'ul.plain',
    attempts.map(({ at, status_code: status, error }) =>
      h('li', status ?? plain(error), ' ', h('span.muted', time(at))),
    ),
  );
}
