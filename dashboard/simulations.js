'use strict';

// Simulations: those of a project, the results of one, its conversations, and a conversation with what was said about it.

/** How long until what still changes is looked at again. */
const LOOK_AGAIN_MS = 4000;

const isRunning = (simulation) => ['pending', 'in_progress'].includes(simulation.status);

const simulationAddress = (project, ...ids) =>
  ['#/simulations', project, ...ids].map((id, i) => (i ? encodeURIComponent(id) : id)).join('/');

/** The projects that the key reaches, as far as it may know. */
async function reachableProjects(signal) {
  const names = await projectNames(signal);
  if (!api.caller.all_projects)
    for (const id of api.caller.project_ids) if (!names.has(id)) names.set(id, id);
  return names;
}

async function projectsView({ signal }) {
  const names = await reachableProjects(signal);
  if (names.size === 1) {
    const [[only]] = names;
    location.replace(simulationAddress(only));
  }
  const id = h('input', { type: 'text', spellcheck: 'false', autocomplete: 'off' });
  const go = (event) => {
    event.preventDefault();
    const given = id.value.trim();
    if (PROJECT_ID.test(given)) {
      location.hash = simulationAddress(given);
      return;
    }
    // It may be a key, which belongs neither into the address nor into the page.
    id.value = '';
    showWrong(event.currentTarget, [['project', 'an id of a project has 12 letters and digits']]);
  };
  return [
    heading('Simulations', { about: 'Choose a project.' }),
    names.size > 0
      ? h(
          'ul.links',
          Array.from(names, ([one, name]) => h('li', link(simulationAddress(one), name, h('span.id', one)))),
        )
      : api.may('projects:read')
        ? h('p.empty', 'There are no projects yet.')
        : h(
            'form.card',
            { submit: go },
            field({ label: 'Id of the project', control: id, hint: 'Your key may not list projects.', pointers: ['project'] }),
            h('div.buttons', h('button.primary', { type: 'submit' }, 'Show its simulations')),
          ),
  ];
}

// Those of a project

async function simulationsView(context) {
  const { params, query, signal } = context;
  const status = query.get('status');
  const ask = {
    project_id: params.project,
    status,
    limit: PAGE_SIZE,
    offset: offsetOf(query),
    sort_by: 'created_at',
  };
  const [page, names] = await Promise.all([
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
          empty: status ? 'None is like that.' : 'No simulation yet.',
          columns: ['Simulation', 'Status', 'Conversations', 'Passed as a whole', 'Created'],
          rows: shown.data.map((one, index) => [
            [link(simulationAddress(params.project, one.id), one.name), h('span.sub', one.agent.name)],
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
    heading('Simulations', { about: 'Progress and results, as of now.' }),
    simulationFilters(context, names),
    body,
  ];
}

/** What somebody who reads a list should know: why it failed, or what it waits for. */
function remark(simulation, { failures, personas, conversations }) {
  if (failures.last_failure_reason) return h('span.sub', prose(failures.last_failure_reason));
  if (!isRunning(simulation)) return null;
  if (personas?.pending > 0) return h('span.sub', approvals(personas));
  if (conversations.queued > 0 && simulation.agent && !simulation.agent.last_polled_at)
    return h('span.sub', 'no worker yet');
  return null;
}

const approvals = ({ pending }) =>
  pending === 1 ? '1 persona waits for approval' : `${count(pending, 'persona')} wait for approval`;

/** That personas wait, with what lets them go on: a button, and the command for whoever has no right to press it. */
function approvalNotice(simulation, { personas }, context) {
  if (!isRunning(simulation) || !(personas?.pending > 0)) return null;
  const approve = async (event) => {
    event.currentTarget.disabled = true;
    try {
      const at = path`v1/simulations/${simulation.id}/personas`;
      const query = { project_id: simulation.project_id };
      const { data } = await api.all(at, { query, signal: context.signal, most: 10_000 });
      for (const { id } of data.filter((one) => one.approval_status === 'pending'))
        await api.post(at + path`/${id}/approve`, { query });
      announce('The personas are approved.');
    } catch (error) {
      if (context.signal.aborted) return;
      if (!(error instanceof ApiError)) throw error;
      failDialog(error);
    }
    context.reload();
  };
  const may = api.may('personas:read') && api.may('personas:write');
  const command = `onerun personas approve ${simulation.id} --project ${simulation.project_id} --all`;
  return h(
    'section.card.notice',
    h('h2', approvals(personas)),
    h('p', 'Their conversations are queued once they are approved: ', code(command)),
    may && h('div.buttons', h('button.primary', { type: 'button', click: approve }, 'Approve all')),
  );
}

/** When a worker last asked for an agent's work. */
const workerFact = (agent) =>
  agent.last_polled_at
    ? ['one last asked for work ', time(agent.last_polled_at)]
    : badge('warn', 'none has asked for this agent’s work yet');

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
    { submit: apply, 'aria-label': 'Which simulations are shown' },
    h('div.filter', h('label', { for: project.id }, 'Project'), project),
    h('div.filter', h('label', { for: status.id }, 'Status'), status),
    h('div.buttons', h('button', { type: 'submit', id: 'filter-apply' }, 'Show')),
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
 * Shows something that changes by itself, and again every few seconds for as long as `goesOn` says and somebody looks. Where
 * the reader is in it, and what is open in it, stays: it is only put in place when it has become another.
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
      // What is passing passes; what is not will be said when the view is opened again.
      if (!isPassing(error)) return;
    }
    if (loaded === null || goesOn(loaded)) setTimeout(again, LOOK_AGAIN_MS);
  };
  if (goesOn(first)) setTimeout(again, LOOK_AGAIN_MS);
}

// One of them

async function simulationView(context) {
  const { params, signal } = context;
  const ask = { query: { project_id: params.project }, signal };
  const load = async () => {
    const simulation = await api.get(path`v1/simulations/${params.simulation}`, ask);
    return { simulation, results: await resultsOf(simulation, signal) };
  };
  const [first, conversations] = await Promise.all([load(), conversationList(context)]);
  const body = h('div');
  await refreshWhile(context, body, first, {
    load,
    show: ({ simulation, results }) => [
      approvalNotice(simulation, results, context),
      h('section.card', simulationFacts(simulation, results)),
      h('section', h('h2', 'Results'), resultsTable(results)),
    ],
    goesOn: ({ simulation }) => isRunning(simulation),
  });
  return [
    heading(first.simulation.name, {
      above: link(simulationAddress(params.project), 'Simulations'),
      about: first.simulation.scenario,
    }),
    body,
    conversations,
  ];
}

function simulationFacts(simulation, results) {
  const { failures, endings } = results;
  const troubles = [
    failures.lease_expired > 0 &&
      `${count(failures.lease_expired, 'conversation')} given up because workers were silent`,
    failures.stopped > 0 &&
      `${count(failures.stopped, 'conversation')} stopped because the simulation was over`,
    failures.evaluations > 0 && `${count(failures.evaluations, 'conversation')} could not be judged`,
    results.conversations.retried > 0 &&
      `${count(results.conversations.retried, 'conversation')} needed more than one attempt`,
  ].filter(Boolean);
  return [
    conversationProgress(results.conversations),
    facts(
      [
        ['Status', statusBadge(simulation.status)],
        ['Worker', isRunning(simulation) ? workerFact(simulation.agent) : null],
        ['Why', failures.last_failure_reason && prose(failures.last_failure_reason)],
        [
          'Ended by',
          `persona ${endings.persona_ended}, agent ${endings.agent_ended}, turn limit ${endings.turn_limit}`,
        ],
        ['Judged', `${results.evaluations.completed} of ${results.conversations.target}`],
        [
          'Troubles',
          troubles.length > 0
            ? h(
                'ul.plain',
                troubles.map((one) => h('li', one)),
              )
            : null,
        ],
        ['Agent', simulation.agent.name],
        ['Personas', `${simulation.target_personas}, seed ${simulation.seed}`],
        ['Created', fullTime(simulation.created_at)],
        ['Id', code(simulation.id)],
      ],
      { short: true },
    ),
  ];
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
    caption: 'Verdicts by objective',
    columns: ['Objective', 'Pass rate, 95% interval', 'Passed', 'Failed', 'Inconclusive', 'Mean score'],
    rows: [
      ...objectives.map((one) => row([one.name, h('span.sub', `version ${one.version}`)], one)),
      row('Each conversation as a whole', overall),
    ],
    empty: 'No objectives.',
  });
}

async function conversationList(context) {
  if (!api.may('conversations:read')) return h('p.empty', 'Your key may not read conversations.');
  const { params, query, signal } = context;
  const ask = { project_id: params.project, limit: PAGE_SIZE, offset: offsetOf(query) };
  const page = await api.get(path`v1/simulations/${params.simulation}/conversations`, { query: ask, signal });
  return h(
    'section',
    h('h2', 'Conversations'),
    table({
      caption: 'Conversations, newest first',
      empty: 'No conversation yet.',
      columns: ['Persona', 'Status', 'Messages', 'Verdicts'],
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
        verdictsInShort(one),
      ]),
    }),
    pager(context, page, 'conversation'),
  );
}

/** How an attempt ended, in words that say what it means. */
const howItEnded = (reason) =>
  reason === 'lease_expired' ? 'lease expired: the worker went silent' : plain(reason);

function verdictsInShort({ evaluations, evaluation_status: status }) {
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

// A conversation

async function conversationView(context) {
  const { params, query, signal } = context;
  const at = path`v1/simulations/${params.simulation}/conversations/${params.conversation}`;
  const ask = { project_id: params.project };
  const [conversation, items] = await Promise.all([
    api.get(at, { query: ask, signal }),
    api.get(`${at}/items`, { query: { ...ask, attempt: query.get('attempt'), limit: 1000 }, signal }),
  ]);
  const { persona, evaluations } = conversation;
  const up = simulationAddress(params.project, params.simulation);
  return [
    heading(`Conversation ${conversation.seq_id}`, { above: link(up, 'Simulation'), about: persona.summary }),
    h('section.card', h('h2', 'Persona'), personaFacts(conversation)),
    h(
      'div.columns',
      h(
        'section',
        h('h2', 'Transcript'),
        attemptLinks(context, conversation),
        transcript(items.data, evaluations),
      ),
      h('section', h('h2', 'Verdicts'), verdicts(conversation)),
    ),
  ];
}

/** Attempts that did not come to their end, and why. */
function lostAttempts(ended = []) {
  const lost = ended.filter((one) => one.end_reason === 'lease_expired' || one.failure_reason);
  if (lost.length === 0) return null;
  return h(
    'ul.plain',
    lost.map((one) =>
      h(
        'li',
        `Attempt ${one.attempt}: ${howItEnded(one.end_reason)}, `,
        time(one.ended_at),
        '. ',
        one.failure_reason ? `The worker says: ${one.failure_reason}` : 'It gave no reason.',
      ),
    ),
  );
}

function personaFacts({ persona, status, end_reason: reason, ended_attempts: ended }) {
  const attributes = Object.entries(persona.attributes).filter(([, value]) => value !== '');
  return [
    facts([
      ['Status', [statusBadge(status), reason && ` ${howItEnded(reason)}`]],
      ['Attempts', lostAttempts(ended)],
      ['Story', persona.story],
      ['Purpose', persona.purpose],
    ]),
    attributes.length > 0 &&
      h(
        'details',
        h('summary', 'Attributes'),
        facts(attributes.map(([name, value]) => [plain(name), value])),
      ),
  ];
}

function attemptLinks(context, { attempt }) {
  if (attempt < 2) return null;
  const shown = Number(context.query.get('attempt') ?? attempt);
  const numbers = Array.from({ length: attempt }, (_, index) => index + 1);
  const to = (one) =>
    h('a', { href: context.address({ attempt: one }), 'aria-current': one === shown && 'true' }, String(one));
  return h(
    'p.small',
    'Attempt: ',
    numbers.map((one) => [to(one), ' ']),
  );
}

/** What was said, with the words marked that verdicts rest on. */
function transcript(items, evaluations) {
  if (items.length === 0) return h('p.empty', 'Nothing has been said.');
  const quotes = evaluations.flatMap((evaluation) => evaluation.quotes);
  return h(
    'ol.transcript',
    items.map((item) => {
      const text = item.content.map((part) => part.text).join('\n');
      const own = quotes.filter((quote) => quote.item_id === item.id).map((quote) => quote.text);
      const who = item.role === 'user' ? 'Persona' : 'Agent';
      return h(
        'li.message',
        { id: `item-${item.id}`, 'data-role': item.role },
        h('p.speaker', who),
        h('p.words', marked(text, own)),
      );
    }),
  );
}

/** A text in which each occurrence of each quote is marked. */
function marked(text, quotes) {
  const ranges = [];
  for (const quote of quotes) {
    if (quote === '') continue;
    for (let from = text.indexOf(quote); from >= 0; from = text.indexOf(quote, from + quote.length)) {
      ranges.push([from, from + quote.length]);
    }
  }
  ranges.sort(([one], [other]) => one - other);
  const nodes = [];
  let done = 0;
  for (const [from, to] of ranges) {
    if (to <= done) continue;
    const start = Math.max(from, done);
    nodes.push(text.slice(done, start), h('mark', text.slice(start, to)));
    done = to;
  }
  nodes.push(text.slice(done));
  return nodes;
}

function verdicts({ evaluations, evaluation_status: status }) {
  if (evaluations.length === 0) return h('p.empty', `No verdicts: ${plain(status)}.`);
  return h('ul.verdicts', evaluations.map(verdict));
}

function verdict({ objective, objective_version: version, outcome, score, reason, quotes, judge }) {
  return h(
    'li.card',
    h('h3', objective.name),
    h(
      'p',
      statusBadge(outcome),
      ' ',
      h('span.muted', score === null ? 'no score' : `score ${score.toFixed(2)}`),
    ),
    reason && h('p', prose(reason)),
    quotes.length > 0 &&
      h(
        'ul.quotes',
        quotes.map((quote) =>
          h(
            'li',
            h(
              'button.quote',
              { type: 'button', title: 'Show it in the transcript', click: () => showQuote(quote) },
              `“${quote.text}”`,
            ),
          ),
        ),
      ),
    h('p.small.muted', `judged by ${judge}, version ${version} of the objective`),
    h('details', h('summary', 'Criteria'), h('pre', objective.criteria)),
  );
}

function showQuote(quote) {
  const message = document.getElementById(`item-${quote.item_id}`);
  if (!message) {
    announce('The message is not in the attempt that is shown.');
    return;
  }
  focusOn(message);
}
