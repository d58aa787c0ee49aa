// Every view at four widths, in light and dark: layout, policy and accessibility. The screenshots are for people to look at.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import {
  HOSTILE,
  NAMES,
  NARROW,
  Server,
  WIDE,
  eventually,
  launch,
  open,
  picture,
  require,
  signIn,
  visit,
} from './harness.mjs';

const axe = require.resolve('axe-core/axe.min.js');

let server;
let browser;
let views;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  views = await createViews();
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Creates keys and simulations in every state, and returns the views that show them. */
async function createViews() {
  const worldly = await server.worldly();
  const { project, simulation, conversation } = await server.hostile();
  const { everything, replaced, partial } = await createKeys(worldly.project);
  const monitor = await createMonitors(worldly, project);
  const batch = await createBatches(worldly, project);
  const webhook = await createWebhooks(worldly, project);
  const imported = await createImport(worldly);
  const [demo] = (await server.get(`/v1/simulations?project_id=${server.project.id}`)).data;
  const at = `/v1/simulations/${demo.id}/conversations`;
  const { data } = await server.get(`${at}?limit=100&project_id=${server.project.id}`);
  const judged = data.find((one) => one.evaluations.some(({ outcome }) => outcome === 'failed'));
  const press = (name) => async (page) => {
    await page.locator('main').getByRole('button', { name }).click();
    await page.getByRole('dialog').waitFor();
  };
  const world = (...ids) => ['#/simulations', worldly.project, ...ids].join('/');
  return [
    { name: 'keys', hash: '#/keys' },
    { name: 'keys-none', hash: '#/keys?status=expired&expiring_within_days=1' },
    { name: 'key', hash: `#/keys/${everything.id}` },
    { name: 'key-replaced', hash: `#/keys/${replaced.id}` },
    { name: 'key-partial', hash: `#/keys/${partial.id}` },
    { name: 'key-new', hash: '#/keys/new' },
    {
      name: 'key-new-wrong',
      hash: '#/keys/new',
      then: async (page) => {
        await page.getByText('Addresses, rate limit, start').click();
        await page.getByRole('button', { name: 'Create key' }).click();
        await page.locator('.wrong:visible').first().waitFor();
      },
    },
    { name: 'key-change', hash: `#/keys/${partial.id}/change` },
    { name: 'key-rotate', hash: `#/keys/${partial.id}`, then: press('Rotate') },
    { name: 'key-revoke', hash: `#/keys/${partial.id}`, then: press('Revoke') },
    { name: 'attention', hash: '#/attention' },
    { name: 'audit', hash: '#/audit', then: (page) => page.locator('td summary').first().click() },
    { name: 'me', hash: '#/me' },
    { name: 'projects', hash: '#/simulations' },
    { name: 'simulations', hash: `#/simulations/${server.project.id}` },
    { name: 'simulation', hash: `#/simulations/${server.project.id}/${demo.id}` },
    { name: 'simulation-delete', hash: `#/simulations/${server.project.id}/${demo.id}`, then: press('Delete') },
    { name: 'simulation-failed', hash: `#/simulations/${server.project.id}/${demo.id}?outcome=failed` },
    { name: 'conversation', hash: `#/simulations/${server.project.id}/${demo.id}/${judged.id}` },
    { name: 'hostile-simulations', hash: `#/simulations/${project}` },
    { name: 'hostile-simulation', hash: `#/simulations/${project}/${simulation}` },
    { name: 'hostile-conversation', hash: `#/simulations/${project}/${simulation}/${conversation}` },
    { name: 'world-simulations', hash: world() },
    { name: 'world-waiting', hash: world(worldly.waiting) },
    { name: 'world-workerless', hash: world(worldly.workerless) },
    { name: 'world-undecided', hash: world(worldly.undecided) },
    { name: 'world-failed', hash: world(worldly.failed) },
    { name: 'world-held', hash: world(worldly.failed, worldly.held) },
    { name: 'world-lost', hash: world(worldly.failed, worldly.lost) },
    { name: 'world-retried', hash: world(worldly.failed, worldly.retried) },
    { name: 'world-imported', hash: world(imported.simulation) },
    { name: 'world-imported-conversation', hash: world(imported.simulation, imported.conversation) },
    { name: 'batches', hash: `#/batches/${worldly.project}` },
    { name: 'batch', hash: `#/batches/${worldly.project}/${batch}` },
    { name: 'hostile-batches', hash: `#/batches/${project}` },
    { name: 'monitor-projects', hash: '#/monitors' },
    { name: 'monitors', hash: `#/monitors/${worldly.project}` },
    { name: 'monitor', hash: `#/monitors/${worldly.project}/${monitor}` },
    { name: 'hostile-monitors', hash: `#/monitors/${project}` },
    { name: 'webhooks', hash: `#/webhooks/${worldly.project}` },
    { name: 'webhook', hash: `#/webhooks/${worldly.project}/${webhook}` },
    { name: 'hostile-webhooks', hash: `#/webhooks/${project}` },
    { name: 'missing', hash: '#/keys/AAAAAAAAAAAA' },
  ];
}

/** Creates monitors with and without a schedule, and runs one. Returns its id. */
async function createMonitors({ project, agent }, hostileProject) {
  const { data: objectives } = await server.get(`/v1/objectives?project_id=${project}`);
  const objective = objectives.find(({ criteria }) => criteria.startsWith('check:'));
  const create = (name, more, of = project, agentId = agent) =>
    server.post(`/v1/monitors?project_id=${of}`, {
      name,
      simulation: {
        name,
        agent_id: agentId,
        scenario: `A customer of ${NAMES.japanese} wants a refund. ${NAMES.emoji}`,
        target_conversations: 2,
        target_personas: 2,
        auto_approve: true,
        // A gate needs one.
        objective_ids: of === project ? [objective.id] : [],
      },
      ...more,
    });
  const daily = { expression: 'cron(30 9 ? * MON-FRI *)', timezone: 'Europe/Berlin' };
  const { id } = await create(NAMES.arabic, {
    schedule: daily,
    gate: { min_pass_rate: 0.6, on: 'rate' },
    alert: { expected_pass_rate: 0.9, low_pass_rate: 0.7 },
  });
  await create(NAMES.long, { schedule: { expression: 'rate(1 hour)' }, state: 'paused' });
  await create(NAMES.chinese, {});
  const [{ id: agentId }] = (await server.get(`/v1/agents?project_id=${hostileProject}`)).data;
  await create(HOSTILE, { schedule: daily }, hostileProject, agentId);
  const runs = `/v1/monitors/${id}/runs?project_id=${project}`;
  await holdRun(project, runs);
  await server.post(runs, {});
  const started = async () => (await server.get(runs)).data.every((run) => run.simulation_id !== null);
  await eventually(started, 'the runs have simulations');
  const [{ simulation_id: simulation }] = (await server.get(runs)).data;
  await server.post(`/v1/simulations/${simulation}/cancel?project_id=${project}`, {});
  await eventually(async () => (await server.get(runs)).data[0].verdict === 'infra', 'the run has a verdict');
  return id;
}

/** Creates webhooks in several states, and a delivery that this deployment refuses. Returns the id of one. */
async function createWebhooks({ project }, hostileProject) {
  const create = (body, of = project) => server.post(`/v1/webhooks?project_id=${of}`, body);
  const slack = `https://localhost:8443/${'a'.repeat(300)}`;
  await create({ url: slack, description: NAMES.long, format: 'slack', state: 'disabled' });
  const { id } = await create({ url: 'https://localhost:8443/hooks', description: NAMES.arabic });
  await create({ url: 'https://localhost:8443/hooks', description: HOSTILE }, hostileProject);
  const at = `/v1/webhooks/${id}`;
  const { id: delivery } = await server.post(`${at}/test?project_id=${project}`, {});
  const attempts = async () =>
    (await server.get(`${at}/deliveries/${delivery}?project_id=${project}`)).attempts.length > 0;
  await eventually(attempts, 'the delivery was attempted');
  await server.post(`${at}/rotate_secret?project_id=${project}`, {});
  return id;
}

/** Starts a run of a monitor and holds its conversations. */
async function holdRun(project, runs) {
  await server.post(runs, {});
  const simulation = await eventually(
    async () => (await server.get(runs)).data[0].simulation_id,
    'the run has a simulation',
  );
  const conversations = async () => {
    const { data } = await server.get(`/v1/simulations/${simulation}/conversations?project_id=${project}`);
    return data.length === 2 && data;
  };
  for (const { id } of await eventually(conversations, 'conversations are queued'))
    await server.hold(project, simulation, id);
  await eventually(async () => (await server.get(runs)).data[0].outcomes, 'the run has results');
}

/** Creates a batch with simulations in several states. Returns its id. */
async function createBatches({ project, agent }, hostileProject) {
  const create = (name, count, of = project, agentId = agent) =>
    server.post(`/v1/simulations/batch?project_id=${of}`, {
      name,
      defaults: {
        agent_id: agentId,
        scenario: `A customer of ${NAMES.japanese} wants a refund. ${NAMES.emoji}`,
        target_conversations: 1,
        target_personas: 1,
        // Workers would hold them otherwise.
        auto_approve: false,
      },
      items: Array.from({ length: count }, () => ({})),
      max_in_flight: 20,
    });
  await create(NAMES.long, 3);
  const { id, simulation_ids: simulations } = await create(NAMES.arabic, 40);
  const [{ id: agentId }] = (await server.get(`/v1/agents?project_id=${hostileProject}`)).data;
  await create(HOSTILE, 2, hostileProject, agentId);
  const counts = async () => (await server.get(`/v1/batches/${id}?project_id=${project}`)).counts;
  await eventually(async () => (await counts()).in_progress === 20, 'the batch has started');
  for (const simulation of simulations.slice(0, 3)) {
    await server.post(`/v1/simulations/${simulation}/cancel?project_id=${project}`, {});
  }
  await eventually(async () => (await counts()).canceled === 3, 'three simulations are canceled');
  return id;
}

/** Imports conversations in several scripts, and waits until they are judged. Returns the ids that views need. */
async function createImport({ project, agent }) {
  const [objective] = (await server.get(`/v1/objectives?project_id=${project}`)).data;
  const message = (role, content) => ({ role, content });
  const { id: simulation } = await server.post(`/v1/simulations/import?project_id=${project}`, {
    agent_id: agent,
    name: NAMES.hebrew,
    objective_ids: [objective.id],
    conversations: [NAMES.japanese, NAMES.long, NAMES.emoji].map((name) => ({
      messages: [message('system', name), message('user', `${name}?`), message('assistant', name)],
      case: name,
    })),
  });
  const at = `/v1/simulations/${simulation}`;
  const isDone = async () => (await server.get(`${at}?project_id=${project}`)).status === 'completed';
  await eventually(isDone, 'the import is judged');
  const { data } = await server.get(`${at}/conversations?project_id=${project}`);
  return { simulation, conversation: data[0].id };
}

/** Creates keys in every state and with names in several scripts. */
async function createKeys(project) {
  const everywhere = { all_projects: true };
  const make = (body) => server.post('/v1/keys', body);
  const act = (key, action, body) => server.post(`/v1/keys/${key.id}/${action}`, body);
  const everything = await make({
    name: 'Monitor of the order desk, every night at three',
    preset: 'monitor',
    ...everywhere,
    allowed_cidrs: ['10.0.0.0/8', '127.0.0.0/8', '2001:db8::/32'],
    rate_limit: { requests: 100, window_seconds: 60 },
    metadata: { team: 'search', ticket: 'OPS-4711' },
  });
  const replaced = await make({
    name: 'Worker in the checkout’s pipeline',
    preset: 'worker',
    project_ids: [server.project.id],
  });
  await act(replaced, 'rotate', { overlap_seconds: 3600 });
  await server.call('GET', `/v1/agents?project_id=${server.project.id}`, { key: replaced.key });
  await act(await make({ name: 'Laptop of last year', preset: 'ci', ...everywhere }), 'revoke');
  await act(await make({ name: 'Batch of the archive', preset: 'read_only', ...everywhere }), 'disable');
  await make({
    name: 'Next quarter',
    preset: 'worker',
    ...everywhere,
    not_before: new Date(Date.now() + 6e8).toISOString(),
  });
  await make({ name: 'Made by hand', preset: 'admin', ...everywhere, never_expires: true });
  await make({ name: 'Trial', scopes: ['agents:read', 'agents:write'], ...everywhere, expires_in_days: 3 });
  await make({ name: HOSTILE, preset: 'worker', ...everywhere });
  await make({ name: 'narrow caller', preset: 'admin', ...everywhere, expires_in_days: 20 });
  for (const name of [NAMES.long, NAMES.chinese, NAMES.japanese, NAMES.arabic, NAMES.hebrew])
    await make({ name, preset: 'worker', project_ids: [project] });
  const partial = await make({ name: NAMES.emoji, preset: 'ci', project_ids: [project, server.project.id] });
  for (const path of ['/v1/projects', `/v1/agents?project_id=${project}`])
    await server.call('GET', path, { key: partial.key });
  const used = async (key) => (await server.get(`/v1/keys/${key.id}`)).used_scopes.length;
  await eventually(async () => (await used(partial)) === 2 && (await used(replaced)) === 1, 'uses are noted');
  return { everything, replaced, partial };
}

/** Signs in and calls `look` for each view, the sign-in form and the dialog of a new key. */
async function eachView(options, look) {
  const page = await open(browser, server, options);
  await look(page, 'sign-in');
  await signIn(page, server.key);
  for (const { name, hash, then } of views) {
    // The next view may have the same address, and must start without the dialog of this one.
    await visit(page, '#/me');
    await visit(page, hash);
    await then?.(page);
    await look(page, name);
  }
  await visit(page, '#/keys/new');
  await page.getByLabel('Name').fill('shown');
  await page.getByRole('button', { name: /^worker/ }).click();
  await page.getByRole('radio', { name: /^All projects/ }).check();
  await page.getByRole('button', { name: 'Create key' }).click();
  await page.getByRole('dialog').waitFor();
  await look(page, 'secret');
  await page.getByRole('button', { name: 'I have stored it' }).click();
  return page;
}

/** Returns layout errors of the page: anything too wide, cut off or squeezed. Runs in the browser. */
function layoutErrors() {
  const errors = [];
  const root = document.documentElement;
  const name = (one) => `${one.tagName.toLowerCase()}.${one.className} "${one.textContent.slice(0, 30)}"`;
  if (root.scrollWidth > root.clientWidth) errors.push(`page: ${root.scrollWidth} of ${root.clientWidth} px`);
  // Elements for screen readers alone are one pixel wide, and the page scrolls to the skip link.
  const isForReaders = (one) => one.closest('.hidden, .skip, noscript, svg, thead') !== null;
  for (const one of document.querySelectorAll('body *')) {
    const box = one.getBoundingClientRect();
    const style = getComputedStyle(one);
    if (box.width === 0 || isForReaders(one)) continue;
    if (box.left < -0.5 || box.right > root.clientWidth + 0.5) errors.push(`outside the page: ${name(one)}`);
    const isBox = style.display !== 'inline' && style.overflowX === 'visible';
    if (isBox && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
      errors.push(`wider than its box by ${one.scrollWidth - one.clientWidth} px: ${name(one)}`);
  }
  for (const table of document.querySelectorAll('table[role]')) {
    const isCards = getComputedStyle(table).display !== 'table';
    for (const cell of table.querySelectorAll('tbody :is(th, td)')) {
      const { width } = cell.getBoundingClientRect();
      const least = cell.matches('th:has(a, .sub)') ? 190 : isCards ? 180 : 60;
      if (width < least) errors.push(`column of ${width} px: ${name(cell)}`);
    }
  }
  // A text of several lines needs room for about two words in each.
  for (const one of document.querySelectorAll('td > div, th > div, dd, .sub, li, p')) {
    const { width, height } = one.getBoundingClientRect();
    if (width > 0 && width < 100 && height > 80 && !isForReaders(one)) errors.push(`squeezed: ${name(one)}`);
  }
  return errors;
}

for (const width of [360, 768, 1280, 1920]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px, ${colorScheme}: layout holds and no policy is violated`, async () => {
      const found = [];
      const viewport = { width, height: width < 500 ? 740 : 860 };
      const page = await eachView({ viewport, colorScheme }, async (page, name) => {
        for (const error of await page.evaluate(layoutErrors)) found.push(`${name}: ${error}`);
        await picture(page, `${name}-${width}-${colorScheme}`);
      });
      assert.deepEqual(found, []);
      assert.deepEqual(page.troubles, []);
      const brightness = await page.evaluate(() => {
        const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
        return (red + green + blue) / 3;
      });
      assert.ok(colorScheme === 'light' ? brightness > 200 : brightness < 60, `${brightness}`);
    });
  }
}

for (const [width, viewport] of Object.entries({ wide: WIDE, narrow: NARROW })) {
  for (const colorScheme of ['light', 'dark']) {
    // Without the policy, which would block the script of axe.
    test(`${width}, ${colorScheme}: axe finds no accessibility errors`, async () => {
      const found = [];
      await eachView({ viewport, colorScheme, bypassCSP: true }, async (page, name) => {
        if (!(await page.evaluate(() => 'axe' in window))) await page.addScriptTag({ path: axe });
        const { violations, passes } = await page.evaluate(() => axe.run(document));
        assert.ok(passes.length > 10, `${name}: axe ran`);
        for (const { id, help, nodes } of violations) found.push(`${name}: ${id}, ${help}: ${nodes[0].html}`);
      });
      assert.deepEqual(found, []);
    });
  }
}

test('reduced motion: nothing moves', async () => {
  const page = await open(browser, server, { reducedMotion: 'reduce' });
  const durations = await page.evaluate(() =>
    Array.from(document.querySelectorAll('*'), (one) => getComputedStyle(one)).map((style) => [
      style.transitionDuration,
      style.animationName,
    ]),
  );
  assert.ok(durations.every(([transition, animation]) => transition === '0s' && animation === 'none'));
});

test('a view focuses its title, and the skip link works', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  for (const [link, title] of [
    ['Attention', 'Attention'],
    ['Audit', 'Audit'],
    ['Keys', 'Keys'],
  ]) {
    await page.getByRole('navigation', { name: 'Views' }).getByRole('link', { name: link }).click();
    await page.getByRole('heading', { level: 1, name: title }).waitFor();
    assert.equal(await page.locator(':focus').innerText(), title);
    assert.equal(await page.title(), `${title} · OneRun`);
    assert.equal(await page.locator('nav [aria-current=page]').innerText(), link);
  }
  await page.getByRole('link', { name: 'Skip to content' }).focus();
  await page.keyboard.press('Enter');
  assert.equal(await page.locator(':focus').innerText(), 'Keys');
});
