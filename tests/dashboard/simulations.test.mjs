// Simulations: what is shown is what the API says.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Server, eventually, launch, open, settled, signIn, visit } from './harness.mjs';

let server;
let browser;
let simulation;
before(async () => {
  [server, browser] = await Promise.all([Server.start(), launch()]);
  [simulation] = (await server.get(`/v1/simulations?project_id=${server.project.id}`)).data;
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const percent = (share) => `${Math.round(share * 100)}%`;

test('the only project is gone into at once, and its simulation is shown with its progress', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await page.getByRole('link', { name: 'Simulations' }).click();
  await page.getByRole('link', { name: simulation.name }).waitFor();
  const row = page.getByRole('row', { name: simulation.name });
  assert.match(await row.innerText(), /completed/);
  assert.match(await row.innerText(), /24 ended of 24/);
  assert.deepEqual(page.troubles, []);
});

test('each objective has its counts, its pass rate and the interval, drawn where it lies', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  const results = await server.get(
    `/v1/simulations/${simulation.id}/results?project_id=${server.project.id}`,
  );
  assert.equal(results.objectives.length, 3);
  for (const one of results.objectives) {
    const row = page.getByRole('row', { name: one.name });
    const cells = await row.getByRole('cell').allInnerTexts();
    assert.deepEqual(cells.slice(1, 4), [one.passed, one.failed, one.inconclusive].map(String), one.name);
    const { low, high } = one.pass_rate_interval;
    assert.ok(cells[0].includes(`${percent(one.pass_rate)} (${percent(low)} to ${percent(high)})`), cells[0]);
    const image = row.getByRole('img', { name: new RegExp(`^${percent(one.pass_rate)} passed`) });
    const [track, range, dot] = await Promise.all(
      ['.track', '.range', '.rate'].map((part) => image.locator(part).boundingBox()),
    );
    const at = (x) => (x - track.x) / track.width;
    for (const [drawn, share] of [
      [at(range.x), low],
      [at(range.x + range.width), high],
      [at(dot.x + dot.width / 2), one.pass_rate],
    ]) {
      assert.ok(Math.abs(drawn - share) < 0.02, `${one.name}: ${drawn} for ${share}`);
    }
  }
  assert.deepEqual(page.troubles, []);
});

test('conversations come in pages', async () => {
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}`);
  const conversations = page.getByRole('table', { name: 'Conversations' }).getByRole('rowheader');
  assert.equal(await conversations.count(), 20);
  await page.getByRole('link', { name: 'Next' }).click();
  await page.getByText('21 to 24').waitFor();
  assert.equal(await conversations.count(), 4);
  await page.getByRole('link', { name: 'Previous' }).click();
  await page.getByText('1 to 20').waitFor();
});

test('a conversation has its words in order, and verdicts whose quotes are marked where they were said', async () => {
  const at = `/v1/simulations/${simulation.id}/conversations`;
  const project = `project_id=${server.project.id}`;
  const { data } = await server.get(`${at}?limit=100&${project}`);
  const conversation = data.find((one) => one.evaluations.some(({ outcome }) => outcome === 'failed'));
  const items = (await server.get(`${at}/${conversation.id}/items?${project}`)).data;
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${server.project.id}/${simulation.id}/${conversation.id}`);

  assert.deepEqual(
    await page.locator('.words').allTextContents(),
    items.map((item) => item.content.map((part) => part.text).join('\n')),
  );
  for (const { objective, outcome, reason, quotes } of conversation.evaluations) {
    const verdict = page
      .getByRole('listitem')
      .filter({ has: page.getByRole('heading', { name: objective.name }) });
    const text = await verdict.innerText();
    assert.ok(text.includes(outcome) && text.includes(reason.replaceAll('`', '')), text);
    for (const quote of quotes) {
      await verdict.getByRole('button', { name: quote.text }).first().click();
      const focused = page.locator(':focus');
      assert.equal(await focused.getAttribute('id'), `item-${quote.item_id}`);
      assert.ok(
        (await focused.locator('mark').allTextContents()).some((mark) => mark.includes(quote.text)),
        quote.text,
      );
    }
  }
  await page.goBack();
  await settled(page);
  assert.deepEqual(page.troubles, []);
});

test('what changes is shown anew by itself', async () => {
  const { id: project } = await server.post('/v1/projects', { name: 'Running' });
  const at = (path) => `${path}?project_id=${project}`;
  const agent = await server.post(at('/v1/agents'), { name: 'Desk' });
  const objective = await server.post(at('/v1/objectives'), {
    name: 'Greets',
    criteria: 'check: agent says /hello/i',
  });
  const running = await server.post(at('/v1/simulations'), {
    name: 'Now',
    scenario: 'A customer asks for the time.',
    agent_id: agent.id,
    objective_ids: [objective.id],
    target_conversations: 1,
    target_personas: 1,
    auto_approve: true,
  });
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${project}/${running.id}`);
  await page.getByText('1 queued of 1').waitFor();
  await server.post(at(`/v1/simulations/${running.id}/cancel`));
  await page.getByText('canceled').first().waitFor();
  await page.getByText('1 failed of 1').waitFor();
});

/** A project with an agent, and a simulation whose personas wait. */
async function waiting(name, changes = {}) {
  const { id: project } = await server.post('/v1/projects', { name });
  const at = (path) => `${path}?project_id=${project}`;
  const agent = await server.post(at('/v1/agents'), { name });
  const simulation = await server.post(at('/v1/simulations'), {
    name,
    scenario: 'A customer asks for the time.',
    agent_id: agent.id,
    target_conversations: 4,
    target_personas: 4,
    ...changes,
  });
  return { project, simulation: simulation.id, agent: agent.id, at };
}

test('personas that wait for approval are told and approved by a button', async () => {
  const { project, simulation, at } = await waiting('Slow');
  const results = () => server.get(at(`/v1/simulations/${simulation}/results`));
  await eventually(async () => (await results()).personas.pending === 4, 'there are personas');
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${project}`);
  await page.getByText('4 personas wait for approval').waitFor();
  await visit(page, `#/simulations/${project}/${simulation}`);
  await page.getByText(`onerun personas approve ${simulation} --project ${project} --all`).waitFor();
  await page.getByText('none has asked for this agent’s work yet').waitFor();
  await page.getByRole('button', { name: 'Approve all' }).click();
  await eventually(async () => (await results()).personas.approved === 4, 'they are approved');
  await page.getByRole('button', { name: 'Approve all' }).waitFor({ state: 'detached' });
  assert.deepEqual(page.troubles, []);
});

test('when a worker last asked for work is shown', async () => {
  const { project, simulation, agent } = await waiting('Asked', { auto_approve: true });
  const ask = `/v1/simulations?project_id=${project}&agent_id=${agent}&status=in_progress`;
  await server.get(ask);
  const seen = () => server.get(`/v1/agents/${agent}?project_id=${project}`);
  await eventually(async () => (await seen()).last_polled_at, 'the poll is noted');
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, `#/simulations/${project}/${simulation}`);
  await page.getByText('one last asked for work just now').waitFor();
});

test('what was not decided is not judged, and no pass rate', async () => {
  const page = await open(browser, server);
  const scores = { evaluated: 6, passed: 0, failed: 0, inconclusive: 6, pass_rate: 0 };
  const text = await page.evaluate((scores) => {
    const interval = { low: 0, high: 0.39 };
    return ['completed', 'in_progress', 'failed'].map((status) => [
      intervalPlot({ ...scores, pass_rate_interval: interval }, status).textContent,
      intervalPlot({ ...scores, pass_rate: null, pass_rate_interval: null }, status).textContent,
    ]);
  }, scores);
  assert.deepEqual(text, [
    ['not judged', 'no verdicts'],
    ['not judged', 'no verdict yet'],
    ['not judged', 'no verdicts'],
  ]);
});

test('names that differ look different, and an emoji stays one', async () => {
  const names = ['Shop', 'Sh\u200bop', 'Shop\u2060', '\ufeffShop', 'Sho\u061cp', 'Shop\u200e', 'Shop\u{e0041}', '👩\u200d💻'];
  for (const name of names) await server.post('/v1/projects', { name });
  const page = await open(browser, server);
  await signIn(page, server.key);
  await visit(page, '#/simulations');
  const shown = await page.locator('main').innerText();
  for (const code of ['Sh\\u{200B}op', 'Shop\\u{2060}', '\\u{FEFF}Shop', 'Sho\\u{061C}p', 'Shop\\u{200E}', 'Shop\\u{E0041}'])
    assert.ok(shown.includes(code), `${code} in ${shown}`);
  assert.ok(shown.includes('👩\u200d💻'), shown);
  assert.ok(!/[\u200b\u2060\ufeff\u061c\u200e\u{e0041}]/u.test(shown));
});
