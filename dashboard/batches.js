'use strict';

// Batches: the list of a project, and one batch with its progress and its items.

const batchAddress = (project, ...ids) =>
  ['#/batches', project, ...ids].map((id, i) => (i ? encodeURIComponent(id) : id)).join('/');

const batchProjectsView = (context) =>
  projectsView(context, { title: 'Batches', address: batchAddress, show: 'Show batches' });

const batchProgress = ({ counts }) =>
  progressBar(counts.total, [
    ['ended', counts.completed, 'completed'],
    ['failed', counts.failed + counts.expired + counts.canceled, 'not completed'],
    ['running', counts.in_progress, 'in progress'],
    ['queued', counts.queued, 'queued'],
  ]);

const isUnfinished = (batch) => batch.ended_at === null;

async function batchesView(context) {
  const { params, signal } = context;
  const load = () =>
    api.get('v1/batches', { query: { project_id: params.project, ...pageQuery(context) }, signal });
  const body = h('div');
  await refreshWhile(context, body, await load(), {
    load,
    show: (page) => [
      table({
        caption: 'Batches, newest first',
        empty: 'No batches yet.',
        columns: ['Batch', 'Status', 'Simulations', 'Created'],
        rows: page.data.map((one) => [
          link(batchAddress(params.project, one.id), one.name),
          statusBadge(one.status),
          batchProgress(one),
          time(one.created_at),
        ]),
      }),
      pager(context, page, 'batch', 'batches'),
    ],
    goesOn: (page) => page.data.some(isUnfinished),
  });
  return [
    heading('Batches', {
      above: link('#/batches', 'Projects'),
      about: prose('Each starts many simulations at once. Create one with `onerun batch`.'),
    }),
    body,
  ];
}

async function batchView(context) {
  const { params, query, signal } = context;
  const at = path`v1/batches/${params.batch}`;
  const ask = { project_id: params.project };
  const status = query.get('status');
  const load = async () => {
    const [batch, items] = await Promise.all([
      api.get(at, { query: ask, signal }),
      api.get(`${at}/items`, { query: { ...ask, status, ...pageQuery(context) }, signal }),
    ]);
    return { batch, items };
  };
  const first = await load();
  const body = h('div');
  const actions = h('div.actions');
  await refreshWhile(context, body, first, {
    load,
    show: ({ batch, items }) => {
      refill(actions, batchActions(context, at, batch));
      return [
        h('section.card', batchFacts(batch)),
        h(
          'section',
          itemsTable(context, items, status),
          pager(context, items, 'simulation'),
        ),
      ];
    },
    goesOn: ({ batch }) => isUnfinished(batch),
  });
  return [
    heading(first.batch.name, {
      above: link(batchAddress(params.project), 'Batches'),
      actions: [actions],
    }),
    itemFilter(context, status),
    body,
  ];
}

/** Buttons that cancel a batch, or run what did not complete again. */
function batchActions(context, at, batch) {
  if (!api.may('simulations:write')) return [];
  const query = { project_id: batch.project_id };
  const { failed, expired, canceled } = batch.counts;
  const key = idempotency()(null);
  const cancel = action(context, 'The batch is canceled.', () => api.post(`${at}/cancel`, { query }));
  const rerun = action(context, 'They run again.', () => api.post(`${at}/rerun`, { query, idempotencyKey: key }));
  const isStopping = batch.status === 'canceled' && isUnfinished(batch);
  return [
    batch.status === 'in_progress' && button('Cancel', cancel),
    failed + expired + canceled > 0 && !isStopping && button('Rerun what did not complete', rerun),
  ].filter(Boolean);
}

function batchFacts(batch) {
  const { counts } = batch;
  const parts = ['failed', 'expired', 'canceled'].filter((one) => counts[one] > 0);
  return facts(
    [
      ['Status', statusBadge(batch.status)],
      ['Progress', batchProgress(batch)],
      ['Not completed', parts.length > 0 ? parts.map((one) => `${counts[one]} ${one}`).join(', ') : null],
      [
        'In progress at once',
        batch.max_in_flight_per_agent === null
          ? `at most ${batch.max_in_flight}`
          : `at most ${batch.max_in_flight}, ${batch.max_in_flight_per_agent} of one agent`,
      ],
      ['Created', fullTime(batch.created_at)],
      ['Ended', fullTime(batch.ended_at, 'not yet')],
      ['Id', code(batch.id)],
    ],
    { short: true },
  );
}

const ITEM_STATUSES = ['queued', 'in_progress', 'completed', 'failed', 'canceled', 'expired'];

function itemFilter(context, chosen) {
  const option = (value, text) => h('option', { value, selected: value === (chosen ?? '') }, text);
  const words = ITEM_STATUSES.map((word) => option(word, plain(word)));
  const status = h('select', { id: 'filter-status' }, option('', 'any'), words);
  const apply = (event) => {
    event.preventDefault();
    context.go({ status: status.value, offset: null });
  };
  return h(
    'form.filters',
    { submit: apply, 'aria-label': 'Filter simulations' },
    h('div.filter', h('label', { for: status.id }, 'Status'), status),
    h('div.buttons', h('button', { type: 'submit', id: 'filter-apply' }, 'Filter')),
  );
}

function itemsTable({ params }, items, status) {
  return table({
    caption: 'Simulations in the order of the request',
    empty: status ? 'No simulations match the filter.' : 'No simulations.',
    columns: ['Simulation', 'Status', 'Agent', 'Attempt'],
    rows: items.data.map((one) => [
      one.status === 'queued'
        ? h('span.muted', `Item ${one.index}`)
        : link(simulationAddress(params.project, one.simulation_id), `Item ${one.index}`),
      [statusBadge(one.status), one.failure_reason && h('span.sub', prose(one.failure_reason))],
      code(one.agent_id),
      String(one.attempt),
    ]),
  });
}
