'use strict';

// Simulations: the list of a project, and one simulation with its results and conversations.

/** How often a view of running simulations is refreshed. */
const LOOK_AGAIN_MS = 4000;

const isRunning = (simulation) => ['pending', 'in_progress'].includes(simulation.status);

const simulationAddress = (project, ...ids) =>
  ['#/simulations', project, ...ids].map((id, i) => (i ? encodeURIComponent(id) : id)).join('/');

/** Lets the user choose a project. */
async function projectsView(
  { signal },
  { title = 'Simulations', address = simulationAddress, show = 'Show simulations' } = {},
) {
  const { names, isAll } = await reachableProjects(signal);
  const mayList = api.may('projects:read');
  if (names.size === 1 && isAll) {
    const [[only]] = names;
    location.replace(address(only));
  }
  const id = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const go = (event) => {
    event.preventDefault();
    const given = id.value.trim();
    if (PROJECT_ID.test(given)) {
      location.hash = address(given);
      return;
    }
    // Somebody may have pasted a key, which must not stay in the page or get into the address.
    id.value = '';
    showWrong(event.currentTarget, [['project', 'a project id has 12 letters and digits']]);
  };
  return [
    heading(title, { about: 'Choose a project.' }),
    names.size > 0 &&
      h(
        'ul.links',
        Array.from(names, ([one, name]) => h('li', link(address(one), name, h('span.id', one)))),
      ),
    names.size === 0 && isAll && h('p.empty', 'No projects yet.'),
    !isAll &&
      h(
        'form.card',
        { submit: go },
        field({
          label: 'Project id',
          control: id,
          hint: mayList
            ? `The list has the newest ${count(names.size, 'project')}. Enter the id of another one.`
            : 'Your key cannot list projects.',
          pointers: ['project'],
        }),
        h('div.buttons', h('button.primary', { type: 'submit' }, show)),
      ),
  ];
}

// The list of a project

async function simulationsView(context) {
  const { params, query, signal } = context;
  const status = query.get('status');
  const ask = {
    project_id: params.project,
    status,
    ...pageQuery(context),
    sort_by: 'created_at',
  };
  const [page, { names }] = await Promise.all([
    api.get('v1/simulations', { query: ask, signal }),
    reachableProjects(signal),
  ]);
  const body = h('div');
  await refreshWhile(context, body, page, {
    load: () => api.get('v1/simulations', { query: ask, signal }),
    show: async (shown) => {
      const counts = await Promise.all(shown.data.map((one) => resultsOf(one, signal)));
      return [
        table({
          caption: 'Simulations, newest first',
          empty: status ? 'No simulations match the filter.' : 'No simulations yet.',
          columns: ['Simulation', 'Status', 'Progress', 'Result', 'Created'],
          rows: shown.data.map((one, index) => [
            [link(simulationAddress(params.project, one.id), one.name), h('span.sub', originOf(one) + one.agent.name)],
            [statusBadge(one.status), remark(one, counts[index])],
            conversationProgress(counts[index].conversations),
            intervalPlot(counts[index].overall, one.status),
            time(one.created_at),
          ]),
        }),
        pager(context, shown, 'simulation'),
      ];
    },
    goesOn: (shown) => shown.data.some(isRunning),
  });
  return [
    heading('Simulations', {
      about: 'Status, progress and result of each. Running ones are refreshed every few seconds.',
    }),
    simulationFilters(context, names),
    body,
  ];
}

/** A word before the agent's name if the conversations were held elsewhere. */
const originOf = (simulation) => (simulation.import ? 'imported · ' : '');

/** A note below the status: why the simulation failed, or what it waits for. */
function remark(simulation, { failures, personas, conversations }) {
  if (failures.last_failure_reason) return h('span.sub', prose(failures.last_failure_reason));
  if (!isRunning(simulation)) return null;
  if (personas?.pending > 0) return h('span.sub', approvals(personas));
  if (conversations.queued > 0 && simulation.agent && !simulation.agent.last_polled_at)
    return h('span.sub', 'waits for a worker');
  return null;
}

const approvals = ({ pending }) =>
  pending === 1 ? '1 persona waits for approval' : `${count(pending, 'persona')} wait for approval`;

/** A notice that personas wait for approval, with a button and the command that approve them. */
function approvalNotice(simulation, { personas }, context) {
  if (!isRunning(simulation) || !(personas?.pending > 0)) return null;
  const approve = action(context, 'All personas are approved.', async () => {
    const at = path`v1/simulations/${simulation.id}/personas`;
    const query = { project_id: simulation.project_id };
    const next = api.pages(at, { query, signal: context.signal });
    for (let isLast = false; !isLast;) {
      const page = await next();
      for (const { id } of page.data.filter((one) => one.approval_status === 'pending'))
        await api.post(at + path`/${id}/approve`, { query });
      ({ isLast } = page);
    }
  });
  const may = api.may('personas:read') && api.may('personas:write');
  const command = `onerun personas approve ${simulation.id} --project ${simulation.project_id} --all`;
  return h(
    'section.card.notice',
    h('h2', approvals(personas)),
    h('p', 'Their conversations start after approval. On the command line: ', code(command)),
    may && h('div.buttons', h('button.primary', { type: 'button', click: approve }, 'Approve all')),
  );
}

/** When a worker last polled for conversations of an agent. */
const workerFact = (agent) =>
  agent.last_polled_at
    ? ['last polled ', time(agent.last_polled_at)]
    : badge('warn', 'no worker has polled yet');

function simulationFilters(context, names) {
  const { params, query } = context;
  const option = (value, text, chosen) => h('option', { value, selected: value === chosen }, text);
  const known = new Map(names.has(params.project) ? names : [[params.project, params.project], ...names]);
  const project = h(
    'select',
    { id: 'filter-project' },
    Array.from(known, ([id, name]) => option(id, name, params.project)),
  );
  const statuses = ['pending', 'in_progress', 'completed', 'failed', 'canceled', 'expired'];
  const status = h(
    'select',
    { id: 'filter-status' },
    option('', 'any', query.get('status') ?? ''),
    statuses.map((word) => option(word, plain(word), query.get('status'))),
  );
  const apply = (event) => {
    event.preventDefault();
    const search = status.value === '' ? '' : `?status=${status.value}`;
    location.hash = simulationAddress(project.value) + search;
  };
  return h(
    'form.filters',
    { submit: apply, 'aria-label': 'Filter simulations' },
    h('div.filter', h('label', { for: project.id }, 'Project'), project),
    h('div.filter', h('label', { for: status.id }, 'Status'), status),
    h('div.buttons', h('button', { type: 'submit', id: 'filter-apply' }, 'Filter')),
  );
}

const resultsOf = (simulation, signal) =>
  api.get(path`v1/simulations/${simulation.id}/results`, {
    query: { project_id: simulation.project_id },
    signal,
  });

function conversationProgress(counts) {
  return progressBar(counts.target, [
    ['ended', counts.ended, 'ended'],
    ['failed', counts.failed, 'failed'],
    ['running', counts.in_progress, 'in progress'],
    ['queued', counts.queued, 'queued'],
  ]);
}

/**
 * Shows `first`, then loads and shows again every few seconds while `goesOn` returns true and the page is visible. It does
 * not touch the page if no text has changed or the focus is inside, so the reader keeps their place.
 */
async function refreshWhile({ signal }, place, first, { load, show, goesOn }) {
  let last = '';
  const put = async (loaded) => {
    const nodes = h('div', await show(loaded));
    const text = nodes.textContent;
    if (text === last || place.contains(document.activeElement)) return;
    last = text;
    refill(place, nodes);
  };
  await put(first);
  const again = async () => {
    if (signal.aborted) return;
    let loaded = null;
    try {
      if (document.visibilityState === 'visible') {
        loaded = await load();
        await put(loaded);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      // A temporary error may pass. Another one ends the refresh; opening the view again shows it.
      if (!isPassing(error)) return;
    }
    if (loaded === null || goesOn(loaded)) setTimeout(again, LOOK_AGAIN_MS);
  };
  if (goesOn(first)) setTimeout(again, LOOK_AGAIN_MS);
}

// One simulation

async function simulationView(context) {
  const { params, signal } = context;
  const ask = { query: { project_id: params.project }, signal };
  const load = async () => {
    const simulation = await api.get(path`v1/simulations/${params.simulation}`, ask);
    return { simulation, results: await resultsOf(simulation, signal) };
  };
  const first = await load();
  const conversations = await conversationList(context, first.results.objectives);
  const body = h('div');
  const deletion = h('div.actions');
  await refreshWhile(context, body, first, {
    load,
    show: ({ simulation, results }) => {
      if (!isRunning(simulation) && deletion.childElementCount === 0) fill(deletion, deleteButton(simulation));
      return [
        approvalNotice(simulation, results, context),
        h('section.card', simulationFacts(simulation, results)),
        h(
          'section',
          h('h2', 'Results'),
          h('p.about', 'Pass rates with their 95% confidence intervals.'),
          resultsTable(results),
        ),
      ];
    },
    goesOn: ({ simulation }) => isRunning(simulation),
  });
  return [
    heading(first.simulation.name, {
      above: link(simulationAddress(params.project), 'Simulations'),
      actions: [
        api.may('conversations:read') && button('Download report', () => downloadReport(context)),
        deletion,
      ].filter(Boolean),
      about: first.simulation.scenario,
    }),
    body,
    conversations,
  ];
}

const deleteButton = (simulation) =>
  api.may('simulations:write') && button('Delete', () => deleteDialog(simulation));

function deleteDialog(simulation) {
  const form = apiForm({
    danger: true,
    submit: 'Delete permanently',
    cancel: () => dialog.close(),
    content: h(
      'p',
      h('strong', simulation.name),
      ' is deleted with its conversations, personas, evaluations and labels. You cannot undo this.',
    ),
    send: async () => {
      const query = { project_id: simulation.project_id };
      await api.delete(path`v1/simulations/${simulation.id}`, { query });
      dialog.close();
      announce(`Simulation ${simulation.name} is deleted.`);
      location.hash = simulationAddress(simulation.project_id);
    },
  });
  const dialog = openDialog({ title: 'Delete this simulation?', content: form });
}

function simulationFacts(simulation, results) {
  const { failures, endings } = results;
  const troubles = [
    failures.lease_expired > 0 &&
      `${count(failures.lease_expired, 'conversation')} failed: the lease of each attempt expired`,
    failures.reply_late > 0 &&
      `${count(failures.reply_late, 'conversation')} failed: replies came late in every attempt`,
    failures.agent_failed > 0 &&
      `${count(failures.agent_failed, 'conversation')} failed: the agent failed in the last attempt`,
    failures.stopped > 0 && `${count(failures.stopped, 'conversation')} stopped when the simulation ended`,
    failures.evaluations > 0 && `${count(failures.evaluations, 'conversation')} could not be judged`,
    results.conversations.retried > 0 &&
      `${count(results.conversations.retried, 'conversation')} needed more than one attempt`,
    results.persona_faults.critical > 0 &&
      `${count(results.persona_faults.critical, 'conversation')} left out of the results: a fault of the persona decided them`,
  ].filter(Boolean);
  return [
    conversationProgress(results.conversations),
    facts(
      [
        ['Status', statusBadge(simulation.status)],
        ['Origin', importFact(simulation)],
        ['Worker', isRunning(simulation) && !simulation.import ? workerFact(simulation.agent) : null],
        ['Reason', failures.last_failure_reason && prose(failures.last_failure_reason)],
        [
          'Ended by',
          `persona ${endings.persona_ended}, agent ${endings.agent_ended}, turn limit ${endings.turn_limit}`,
        ],
        ['Judged', `${results.evaluations.completed} of ${results.conversations.target}`],
        ['Model calls', usageWords(results.usage)],
        [
          'Problems',
          troubles.length > 0
            ? h(
                'ul.plain',
                troubles.map((one) => h('li', one)),
              )
            : null,
        ],
        ['Agent', simulation.agent.name],
        ['Personas', simulation.import ? null : `${simulation.target_personas}, seed ${simulation.seed}`],
        ['Models', simulation.import ? `Judged by ${simulation.models.judge}` : modelsFact(simulation.models)],
        ['Created', fullTime(simulation.created_at)],
        ['Transcripts deleted', simulation.transcripts_deleted_at && fullTime(simulation.transcripts_deleted_at)],
        ['Id', code(simulation.id)],
      ],
      { short: true },
    ),
  ];
}

/** Where the conversations of an import come from, and which messages were left out. */
function importFact({ import: imported }) {
  if (!imported) return null;
  const { system, tool } = imported.left_out;
  const left = [system > 0 && count(system, 'system message'), tool > 0 && count(tool, 'tool message')].filter(Boolean);
  return `Imported: the conversations were held elsewhere.${left.length > 0 ? ` Left out: ${left.join(', ')}.` : ''}`;
}

function modelsFact({ persona, reply, judge }) {
  if (reply === 'offline') {
    return [
      `Scripted personas (offline)${judge === 'offline' ? '' : `, judged by ${judge}`}. To configure a language model, start the server with `,
      code('ONERUN_MODEL=provider:model'),
      '; see docs/models.md.',
    ];
  }
  return persona === reply && reply === judge
    ? reply
    : `Personas by ${persona}, their messages by ${reply}, judged by ${judge}`;
}

// The calls to models and their cost; null if there were none.
function usageWords({ total, models }) {
  if (total.calls === 0) return null;
  const read = total.input_tokens + total.cached_input_tokens + total.cache_write_tokens;
  const dollars = total.cost_usd < 0.01 ? total.cost_usd.toPrecision(2) : total.cost_usd.toFixed(2);
  const cost = total.unpriced_calls > 0 ? `$${dollars} and ${total.unpriced_calls} of unknown cost` : `$${dollars}`;
  const failed = total.failed_calls > 0 ? `, ${total.failed_calls} failed` : '';
  return h('div', [
    h('div', `${count(total.calls, 'call')}, ${read} tokens in, ${total.output_tokens} out, ${cost}${failed}`),
    h(
      'ul.plain',
      models.map((one) => h('li', `${one.purpose}: ${one.model}, ${count(one.calls, 'call')}`)),
    ),
  ]);
}

function resultsTable({ objectives, overall, status }) {
  const row = (name, scores) => [
    name,
    intervalPlot(scores, status),
    String(scores.passed),
    String(scores.failed),
    String(scores.inconclusive),
    scores.mean_score === null ? '—' : scores.mean_score.toFixed(2),
  ];
  return table({
    caption: 'Evaluations by objective',
    columns: ['Objective', 'Result', 'Passed', 'Failed', 'Inconclusive', 'Mean score'],
    rows: [
      ...objectives.map((one) => row([one.name, h('span.sub', `version ${one.version}`)], one)),
      row('Each conversation as a whole', overall),
    ],
    empty: 'The simulation has no objectives.',
  });
}

/** Saves the report as one page, which shows the worst conversations with the words that decided. */
async function downloadReport({ params, signal }) {
  const query = { project_id: params.project, format: 'html' };
  try {
    const page = await api.text(path`v1/simulations/${params.simulation}/report`, { query, signal });
    const address = URL.createObjectURL(new Blob([page], { type: 'text/html' }));
    // The only link beside those within the page: to what the page itself has made.
    Object.assign(document.createElement('a'), {
      href: address,
      download: `report-${params.simulation}.html`,
    }).click();
    // The browser reads it after the click.
    setTimeout(() => URL.revokeObjectURL(address), LOOK_AGAIN_MS);
    announce('The report is saved.');
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    failDialog(error);
  }
}

function conversationFilters(context, filters, objectives) {
  const { params } = context;
  const option = (value, text, chosen) => h('option', { value, selected: value === chosen }, text);
  const outcome = h(
    'select',
    { id: 'filter-outcome' },
    option('', 'any', filters.outcome ?? ''),
    ['passed', 'failed', 'inconclusive'].map((word) => option(word, word, filters.outcome)),
  );
  const objective = h(
    'select',
    { id: 'filter-objective' },
    option('', 'whole conversation', filters.objective_id ?? ''),
    objectives.map((one) => option(one.objective_id, one.name, filters.objective_id)),
  );
  const here = simulationAddress(params.project, params.simulation);
  const apply = (event) => {
    event.preventDefault();
    const search = new URLSearchParams();
    if (outcome.value !== '') search.set('outcome', outcome.value);
    if (outcome.value !== '' && objective.value !== '') search.set('objective_id', objective.value);
    goTo(search.size === 0 ? here : `${here}?${search}`);
  };
  return h(
    'form.filters',
    { submit: apply, 'aria-label': 'Filter conversations' },
    h('div.filter', h('label', { for: outcome.id }, 'Outcome'), outcome),
    h('div.filter', h('label', { for: objective.id }, 'Of'), objective),
    h(
      'div.buttons',
      h('button', { type: 'submit', id: 'filter-apply' }, 'Filter'),
      filters.outcome && linkButton(here, 'Show all', 'quiet'),
    ),
  );
}

async function conversationList(context, objectives) {
  if (!api.may('conversations:read'))
    return h('p.empty', prose('Your key does not have the scope `conversations:read`.'));
  const { params, query, signal } = context;
  const filters = { outcome: query.get('outcome'), objective_id: query.get('objective_id') };
  const ask = { project_id: params.project, ...filters, ...pageQuery(context) };
  const page = await api.get(path`v1/simulations/${params.simulation}/conversations`, { query: ask, signal });
  return h(
    'section',
    h('h2', 'Conversations'),
    conversationFilters(context, filters, objectives),
    table({
      caption: 'Conversations, newest first',
      empty: filters.outcome ? 'No conversations match the filter.' : 'No conversations yet.',
      columns: ['Persona', 'Status', 'Messages', 'Evaluations'],
      rows: page.data.map((one) => [
        [
          link(simulationAddress(params.project, params.simulation, one.id), one.persona.summary),
          h('span.sub', `conversation ${one.seq_id}`),
        ],
        [
          statusBadge(one.status),
          one.end_reason && h('span.sub', howItEnded(one.end_reason)),
          one.attempt > 1 && h('span.sub', `attempt ${one.attempt}`),
        ],
        String(one.item_count),
        evaluationsInShort(one),
      ]),
    }),
    pager(context, page, 'conversation'),
  );
}

function evaluationsInShort({ evaluations, evaluation_status: status }) {
  if (evaluations.length === 0) return h('span.muted', plain(status));
  const outcomes = ['passed', 'failed', 'inconclusive'];
  const counts = outcomes.map((outcome) => [
    outcome,
    evaluations.filter((one) => one.outcome === outcome).length,
  ]);
  return h(
    'span.badges',
    counts.filter(([, n]) => n > 0).map(([outcome, n]) => badge(BADGES[outcome], `${n} ${outcome}`)),
  );
}
