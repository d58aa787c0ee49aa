'use strict';

// Monitors: the list of a project, and one monitor with its next times and its runs.

const monitorAddress = (project, ...ids) =>
  ['#/monitors', project, ...ids].map((id, i) => (i ? encodeURIComponent(id) : id)).join('/');

const monitorProjectsView = (context) =>
  projectsView(context, { title: 'Monitors', address: monitorAddress, show: 'Show monitors' });

const nextRun = ({ schedule }) => schedule?.next_runs[0] ?? null;

async function monitorsView(context) {
  const { params, signal } = context;
  const ask = { project_id: params.project, ...pageQuery(context) };
  const page = await api.get('v1/monitors', { query: ask, signal });
  return [
    heading('Monitors', {
      above: link('#/monitors', 'Projects'),
      about: prose('Each starts a simulation at its planned times. Create one with `onerun monitors create`.'),
    }),
    table({
      caption: 'Monitors, newest first',
      empty: 'No monitors yet.',
      columns: ['Monitor', 'State', 'Schedule', 'Next run'],
      rows: page.data.map((one) => [
        [link(monitorAddress(params.project, one.id), one.name), warnings(one)],
        statusBadge(one.state),
        one.schedule ? one.schedule.description : h('span.muted', 'on request'),
        time(nextRun(one), one.state === 'paused' ? 'paused' : 'none'),
      ]),
    }),
    pager(context, page, 'monitor'),
  ];
}

const warnings = (monitor) => monitor.warnings.map((one) => h('span.sub', badge('warn', prose(one))));

async function monitorView(context) {
  const { params, signal } = context;
  const at = path`v1/monitors/${params.monitor}`;
  const query = { project_id: params.project };
  const load = async () => {
    const [monitor, runs, latest] = await Promise.all([
      api.get(at, { query, signal }),
      api.get(`${at}/runs`, { query: { ...query, ...pageQuery(context) }, signal }),
      api.get(`${at}/runs`, { query: { ...query, limit: SERIES_RUNS }, signal }),
    ]);
    const alert = monitor.alert && (await api.get(`${at}/alert`, { query, signal }));
    return { monitor, runs, alert, series: latest.data.reverse() };
  };
  const first = await load();
  const body = h('div');
  await refreshWhile(context, body, first, {
    load,
    show: ({ monitor, runs, alert, series }) => [
      h('section.card', monitorFacts(monitor, alert)),
      seriesCard(monitor, series, alert),
      h(
        'section',
        h('h2', 'Runs'),
        h('p.about', 'Pass rates with their 95% confidence intervals.'),
        runsTable(context, runs, alert),
        pager(context, runs, 'run'),
      ),
    ],
    goesOn: ({ runs }) => runs.data.some(isRunning),
  });
  return [
    heading(first.monitor.name, {
      above: link(monitorAddress(params.project), 'Monitors'),
      actions: monitorActions(context, at, first.monitor),
    }),
    body,
  ];
}

/** Buttons that pause or resume a monitor and start a run. */
function monitorActions(context, at, monitor) {
  if (!api.may('monitors:write')) return [];
  const query = { project_id: monitor.project_id };
  const isActive = monitor.state === 'active';
  const body = { state: isActive ? 'paused' : 'active' };
  const words = isActive ? 'The monitor is paused.' : 'The monitor is active.';
  const change = action(context, words, () => api.patch(at, { query, body }));
  const key = idempotency()(null);
  const run = action(context, 'A run is started.', () => api.post(`${at}/runs`, { query, idempotencyKey: key }));
  return [button(isActive ? 'Pause' : 'Resume', change), button('Run now', run)];
}

function monitorFacts(monitor, alert) {
  const { schedule, gate, simulation } = monitor;
  const on = gate?.on === 'lower_bound' ? 'Lower bound of the pass rate' : 'Pass rate';
  return facts(
    [
      ['State', statusBadge(monitor.state)],
      ['Warnings', monitor.warnings.length > 0 ? warnings(monitor) : null],
      ['Schedule', schedule ? [schedule.description, ' ', code(schedule.expression)] : 'On request'],
      [
        'Next runs',
        schedule?.next_runs.length > 0
          ? h(
              'ul.plain',
              schedule.next_runs.map((one) => h('li', fullTime(one))),
            )
          : null,
      ],
      ['Gate', gate ? `${on} of at least ${percent(gate.min_pass_rate)}` : 'None'],
      ['Alert', alert ? alertFacts(alert) : 'None'],
      [
        'Each run',
        `${count(simulation.target_conversations, 'conversation')} with ${count(simulation.target_personas, 'persona')}`,
      ],
      ['Scenario', simulation.scenario],
      ['Created', fullTime(monitor.created_at)],
      ['Id', code(monitor.id)],
    ],
    { short: true },
  );
}

/** Whether an alert is open, and how far the evidence of its next change has come. */
function alertFacts(alert) {
  const isOpen = alert.state === 'alerting';
  const share = Math.min(alert.score / alert.threshold, 1);
  const next = isOpen ? 'recovery' : 'a drop';
  return [
    isOpen ? badge('bad', 'alerting') : badge('good', 'ok'),
    alert.since && [' since ', fullTime(alert.since)],
    h(
      'span.sub',
      `Drop from ${percent(alert.expected_pass_rate)} to ${percent(alert.low_pass_rate)}: evidence of ${next} ${percent(share)}, `,
      `after ${count(alert.runs, 'run')}`,
    ),
  ];
}

/** The number of runs that the chart shows: more would not be told apart on a narrow screen. */
const SERIES_RUNS = 60;

/** The pass rate of a run, if a conversation passed or failed. Without one, nothing was judged. */
const rateOf = ({ outcomes }) => (outcomes?.passed + outcomes?.failed > 0 ? outcomes.pass_rate : null);

/** A chart of the pass rates of runs, oldest first, if one of them has a rate. */
function seriesCard(monitor, runs, alert) {
  if (!runs.some((run) => rateOf(run) !== null)) return null;
  const spans = alertSpans(runs, alert?.events ?? []);
  const gate = monitor.gate?.min_pass_rate ?? null;
  const key = (mark, text) => h('span.key', svg('svg', { viewBox: '0 0 14 14', 'aria-hidden': 'true' }, mark), text);
  const dot = (kind) => svg(`circle.${kind}`, { cx: 7, cy: 7, r: 4 });
  const has = (kind) => runs.some((run) => rateOf(run) !== null && runKind(run) === kind);
  return h(
    'section',
    h('h2', 'Pass rate over time'),
    h(
      'figure.card.series',
      seriesPlot(runs, spans, gate),
      h(
        'div.ends',
        h('span', fullTime(runs[0].planned_at)),
        runs.length > 1 && h('span', fullTime(runs.at(-1).planned_at)),
      ),
      h(
        'figcaption',
        has('good') && key(dot('good'), 'pass'),
        has('bad') && key(dot('bad'), 'fail'),
        has('open') && key(dot('open'), monitor.gate ? 'no pass or fail' : 'pass rate'),
        key(svg('line.range', { x1: 7, x2: 7, y1: 0, y2: 14 }), '95% confidence interval'),
        runs.some((run) => rateOf(run) === null) &&
          key(svg('line.missing', { x1: 7, x2: 7, y1: 4, y2: 10 }), 'no pass rate'),
        gate !== null && key(svg('line.gate', { x1: 0, x2: 14, y1: 7, y2: 7 }), `gate at ${percent(gate)}`),
        spans.length > 0 && key(svg('rect.alerting', { width: 14, height: 14 }), 'alert open'),
      ),
    ),
  );
}

const runKind = ({ verdict }) => ({ pass: 'good', fail: 'bad' })[verdict] ?? 'open';

/** The first and last index of each stretch of runs at which the alert was open. */
function alertSpans(runs, events) {
  const changes = new Map(events.map((event) => [event.run_id, event.change]));
  // Events come latest first. The last one before the first run tells the state at the start.
  const before = events.find((event) => event.planned_at < runs[0].planned_at);
  const spans = [];
  let isOpen = before?.change === 'opened';
  if (isOpen) spans.push([0, 0]);
  for (const [index, { id }] of runs.entries()) {
    if (changes.get(id) === 'opened') spans.push([index, index]);
    else if (isOpen) spans.at(-1)[1] = index;
    isOpen = changes.has(id) ? changes.get(id) === 'opened' : isOpen;
  }
  return spans;
}

function seriesPlot(runs, spans, gate) {
  const rates = runs.map(rateOf).filter((rate) => rate !== null);
  const range = `from ${percent(Math.min(...rates))} to ${percent(Math.max(...rates))}`;
  const alerts = spans.length > 0 ? `; ${count(spans.length, 'alert')}` : '';
  const label = `Pass rates of the latest ${count(rates.length, 'run')} with results: ${range}, at last ${percent(rates.at(-1))}${alerts}`;
  const width = 100 / runs.length;
  const x = (index) => `${((index + 0.5) * width).toFixed(3)}%`;
  const y = (share) => `${((1 - share) * 100).toFixed(2)}%`;
  const across = (kind, share) => svg(`line.${kind}`, { x1: '0%', x2: '100%', y1: y(share), y2: y(share) });
  return svg(
    'svg',
    { role: 'img', 'aria-label': label },
    spans.map(([first, last]) =>
      svg('rect.alerting', {
        x: `${first * width}%`,
        width: `${(last - first + 1) * width}%`,
        height: '100%',
      }),
    ),
    [0, 0.5, 1].map((share) => [
      across('track', share),
      svg('text', { x: '-8', y: y(share), dy: '0.35em', 'text-anchor': 'end' }, percent(share)),
    ]),
    gate !== null && across('gate', gate),
    runs.map((run, index) => {
      const rate = rateOf(run);
      const at = x(index);
      if (rate === null) return svg('line.missing', { x1: at, x2: at, y1: '97%', y2: '103%' });
      const { low, high } = run.outcomes.pass_rate_interval;
      return [
        svg('line.range', { x1: at, x2: at, y1: y(low), y2: y(high) }),
        svg(`circle.${runKind(run)}`, { cx: at, cy: y(rate), r: 4 }),
      ];
    }),
  );
}

const ALERT_BADGES = { opened: ['bad', 'alert opened'], recovered: ['good', 'recovered'] };

const VERDICT_BADGES = { pass: 'good', fail: 'bad', inconclusive: 'unsure', infra: 'warn', config: 'warn' };

function runsTable({ params }, runs, alert) {
  const changes = new Map((alert?.events ?? []).map((event) => [event.run_id, ALERT_BADGES[event.change]]));
  return table({
    caption: 'Runs by planned time, last first',
    empty: 'No runs yet.',
    columns: ['Planned', 'Status', 'Verdict', 'Result', 'Simulation'],
    rows: runs.data.map((one) => [
      [fullTime(one.planned_at), one.trigger === 'request' && h('span.sub', 'on request')],
      [statusBadge(one.status), one.failure_reason && h('span.sub', prose(one.failure_reason))],
      [
        one.verdict ? badge(VERDICT_BADGES[one.verdict] ?? 'open', one.verdict) : h('span.muted', '—'),
        changes.has(one.id) && h('span.sub', badge(...changes.get(one.id))),
        one.reasons.map((reason) => h('span.sub', reason)),
      ],
      runResult(one),
      one.simulation_id && api.may('simulations:read')
        ? link(simulationAddress(params.project, one.simulation_id), 'Open')
        : h('span.muted', '—'),
    ]),
  });
}

function runResult({ outcomes, status }) {
  if (!outcomes) return h('span.muted', isRunning({ status }) ? 'no results yet' : 'no results');
  const evaluated = outcomes.passed + outcomes.failed + outcomes.inconclusive;
  return [
    intervalPlot({ ...outcomes, evaluated }, status),
    outcomes.infra > 0 && h('span.sub', `${count(outcomes.infra, 'conversation')} not held or not judged`),
  ];
}
